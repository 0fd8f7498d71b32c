"""``torchrun`` for a pipeline: ``python -m common.pipeline.distributed_launcher``.

It ends with whoever started it, as its processes (:mod:`common.pipeline.distributed_stage`) do. They say themselves why
they failed; its own account of that, in many lines, is left out.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from common.pipeline.starter import end_with_starter
from common.training.failures import report


def main() -> None:
    """Take the arguments of ``torchrun``, and end when standard input does.

    Raises:
        SystemExit: with the exit code of the process that failed first, and 128 more than the signal that ended it.
    """
    sys.excepthook = report
    end_with_starter(lambda: os.kill(os.getpid(), signal.SIGTERM))  # which it hands on
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)
    try:
        torchrun(sys.argv[1:])
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        sys.exit(status if status > 0 else 128 - status)


if __name__ == "__main__":
    main()
