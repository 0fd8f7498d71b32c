"""One of several processes of a stage: ``python -m common.pipeline.distributed_stage``, by ``torchrun``."""

from __future__ import annotations

import os
import sys
import threading


def main() -> None:
    """Do what ``python -m monai.bundle run`` does with these arguments, until standard input ends."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    from common.pipeline.stage_process import run_by_monai  # seconds, in which whoever started it may end, too

    run_by_monai(sys.argv[1:])


def _end_with_starter() -> None:
    os.read(sys.stdin.fileno(), 1)  # until the other end is closed: nothing is ever sent
    os._exit(1)


if __name__ == "__main__":
    main()
