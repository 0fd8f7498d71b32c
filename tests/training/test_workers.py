"""Processes that load data: seeded as MONAI's, and gone when the training they belong to is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from integration import alive
from monai.data import DataLoader, Dataset
from monai.transforms import RandScaleIntensity
from monai.utils import set_determinism

from common.training.workers import start_worker

# A training whose one worker is slow to start, and says its number first.
TRAINING = """
import multiprocessing, os, sys, time
from monai.data import DataLoader
from common.training.workers import start_worker

def slowly(worker_id):
    with open(sys.argv[1], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(1)
    start_worker(worker_id)

multiprocessing.set_start_method("fork")  # as by default on Linux
list(DataLoader(list(range(1000)), num_workers=1, worker_init_fn=slowly))
"""


def test_a_worker_that_starts_while_its_training_is_killed_ends_too(tmp_path):
    number = tmp_path / "number"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", TRAINING, str(number)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as run:
        _wait(lambda: number.is_file() and number.read_text(), 60)
        run.send_signal(signal.SIGKILL)
        # It has the pipe of the one that was killed: whoever reads that waits for it.
        assert run.communicate(timeout=120) == (b"", None)
    _wait(lambda: not alive(int(number.read_text())), 10)


def _wait(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_are_seeded_as_those_of_monai():
    def drawn(**kwargs: object) -> list[float]:
        set_determinism(0)
        dataset = Dataset([float(value) for value in range(1, 9)], RandScaleIntensity(factors=0.5, prob=1))
        loader = DataLoader(dataset, num_workers=2, **kwargs)
        return [float(value) for value in loader]

    try:
        assert drawn(worker_init_fn=start_worker) == drawn()
    finally:
        set_determinism(None)
