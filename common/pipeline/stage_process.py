"""A stage of a bundle in a process of its own, which starts at once.

Most of a short stage is the import of PyTorch, MONAI and transformers. So the stages are forked from a server that has
imported them once (Python's ``forkserver``), and has never done anything else that a fork would inherit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, reduction, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import fire
import monai.bundle
import torch

from common.training.failures import report, show_failures
from common.training.screen import hide_loading_bars, show_own_lines

_IMPORTS = [
    "monai.bundle",
    "common.teachers.folder",
    "common.synthesis.diffusion_training",
    "common.evaluation.report",
    __name__,
]


# glibc gives large blocks back to the system after every step and pays for it in page faults: a fifth of a step.
_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)}
# The server is begun by python -c, which looks for modules in the current folder first: a user's copy.py would be taken
# for Python's. Stages get the paths of this process. Where PyTorch asks the driver whether there is a GPU, as diffusers
# has it do when it is imported, no process that is forked later could use one; so it asks NVML.
_SERVER = {**_MEMORY, "PYTHONSAFEPATH": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


def run_stage(arguments: Sequence[str], distributed: bool = False) -> int:
    """Do what ``python -m monai.bundle run`` does, in another process that ends with this one at the latest.

    Args:
        arguments: what follows ``run`` on the command line.
        distributed: one process per GPU, by ``torchrun``.

    Returns:
        The exit code, negative where a signal ended the process.
    """
    if distributed:
        return _run_distributed(arguments)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTS)
    resource_tracker.ensure_running()  # which lets Ctrl-C through again
    with _settings_of_server(), _interrupts_wait():
        forkserver.ensure_running()
    theirs, ours = context.Pipe(duplex=False)  # closed if this process is killed, too
    with theirs, ours:
        process = context.Process(target=_run, args=(list(arguments), dict(os.environ), _Output(), theirs))
        try:
            process.start()
            process.join()
        except BaseException:  # such as KeyboardInterrupt: Python would wait for the stage before it ends
            ours.close()  # also for a stage that the server, busy with its imports, is yet to begin
            if process.pid is not None:
                process.kill()
                process.join()
            raise
    assert process.exitcode is not None  # it has been joined
    return process.exitcode


def _run_distributed(arguments: Sequence[str]) -> int:
    launcher = ["-m", "common.pipeline.distributed_launcher", "--standalone", "--nnodes=1"]
    launcher.append(f"--nproc_per_node={max(torch.cuda.device_count(), 1)}")
    command = [sys.executable, "-W", "ignore", *launcher, "-m", "common.pipeline.distributed_stage", *arguments]
    with _interrupts_wait():  # also in there, and for good: it ends when its standard input is closed
        process = subprocess.Popen(command, env={**_MEMORY, **os.environ}, stdin=subprocess.PIPE)
    assert process.stdin is not None  # it is a pipe
    try:
        status = process.wait()
    except BaseException:  # such as KeyboardInterrupt
        process.stdin.close()
        process.wait()
        raise
    process.stdin.close()
    return 128 - status if status > 128 else status


@contextmanager
def _settings_of_server() -> Iterator[None]:
    """Set what glibc and Python read when a process begins, for one begun in here."""
    before = dict(os.environ)
    os.environ.update({**_SERVER, **before})
    try:
        yield
    finally:
        for name in _SERVER.keys() - before.keys():
            del os.environ[name]


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Keep Ctrl-C until the end; for processes begun in here, until they take it.

    A terminal sends it to all of them, and the server and its stages would show where in their imports it came.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Output:
    """Standard output and error of this process, for one that the server forks: the server's own may be others."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _take_output, (reduction.DupFd(1), reduction.DupFd(2))


def _take_output(*streams: Any) -> None:
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.detach(), number)


def _run(arguments: list[str], environment: dict[str, str], output: None, starter: Connection) -> None:
    threading.Thread(target=_end_with, args=[starter], daemon=True).start()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.environ.update(environment)
        # As in a process of its own. A forkserver's processes would have a forkserver start theirs, where PyTorch does
        # not notice that the stage of a DataLoader's worker was killed: it would wait forever.
        multiprocessing.set_start_method(None, force=True)
        run_by_monai(arguments)
    except KeyboardInterrupt:  # which whoever started the stage has too, and reports
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        report(type(error), error, error.__traceback__)  # multiprocessing would show its own traceback
        sys.exit(1)


def run_by_monai(arguments: Sequence[str]) -> None:
    """Do what ``python -m monai.bundle run`` does, in this process, showing what a pipeline shows.

    Args:
        arguments: what follows ``run`` on the command line.
    """
    show_own_lines()
    hide_loading_bars()
    show_failures()  # those of the config too, before the stage sees to it
    # What is shown is decided above: a logging.conf would show lines of libraries before the stage can see to it.
    command = [*arguments, "--logging_file", "False"]
    fire.Fire(monai.bundle.run, command=command, name="monai.bundle run")


def _end_with(starter: Connection) -> None:
    starter.poll(None)  # until the other end is closed: nothing is ever sent
    os._exit(1)
