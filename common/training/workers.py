"""The processes that load data for a training."""

from __future__ import annotations

import multiprocessing
import os

from monai.data.utils import worker_init_fn


def start_worker(worker_id: int) -> None:
    """Seed a process of a ``DataLoader`` as MONAI does, and end it if the training it belongs to has been killed.

    PyTorch's processes end when their parent is gone, but take for their parent whatever it is when they begin to watch
    it. One that starts while the training is killed, as MONAI Label does to stop one, would wait forever, and with it
    whoever reads what the training prints.

    Args:
        worker_id: its number.
    """
    parent = multiprocessing.parent_process()
    if multiprocessing.get_start_method() == "fork" and parent is not None and os.getppid() != parent.pid:
        os._exit(1)  # at once: what a fork inherited is not its own to clean up
    worker_init_fn(worker_id)
