"""One of several processes of a stage: ``python -m common.pipeline.distributed_stage``, by ``torchrun``."""

from __future__ import annotations

import os
import sys

from common.pipeline.starter import end_with_starter


def main() -> None:
    """Do what ``python -m monai.bundle run`` does with these arguments, until standard input ends."""
    end_with_starter(lambda: os._exit(1))
    from common.pipeline.stage_process import run_by_monai  # seconds, in which whoever started it may end, too

    run_by_monai(sys.argv[1:])


if __name__ == "__main__":
    main()
