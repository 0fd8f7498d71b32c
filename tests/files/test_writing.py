"""What a user is told where nothing can be written, on real disks that are full; and nothing half-written stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from common.files.atomic import atomic_file, atomic_folder, write_json
from common.files.writing import check_writable, explained, is_disk_full

# Writes a megabyte by each of the libraries that this project writes with, and prints what it is told.
WRITE = """
import csv, resource, signal, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
from common.errors import InputError
from common.files.atomic import atomic_file, atomic_folder, write_json
from common.files.weights import save_weights

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does, once a limit is set
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
network = torch.nn.Linear(512, 512)

def weights(path):
    save_weights(network, path)

def json_file(path):
    write_json(path, noise.tolist())

def png(path):
    with atomic_file(path) as fresh:
        Image.fromarray(noise).save(fresh, format="PNG")

def table(path):
    with atomic_file(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(noise[..., 0].tolist() * 3)

def array(path):
    with atomic_folder(path) as fresh:
        np.save(fresh / "logits.npy", noise.astype(np.float64))

def tensors(path):
    with atomic_folder(path) as fresh:
        save_file(network.state_dict(), fresh / "adapter.safetensors")

for write in (weights, json_file, png, table, array, tensors):
    try:
        write(folder / write.__name__)
    except InputError as error:
        print(error)
    print(sorted(path.name for path in folder.iterdir()))
"""
WRITERS = ("weights", "json_file", "png", "table", "array", "tensors")


def check_refusals(printed: str, folder: Path) -> None:
    lines = printed.splitlines()
    expected = f"could not be written, no space left in {folder}: free some space there, or choose another output_dir"
    assert lines[::2] == [f"{name} {expected}" for name in WRITERS]
    assert lines[1::2] == ["[]"] * len(WRITERS), "something stays"


def can_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


needs_mounts = pytest.mark.skipif(not can_mount(), reason="file systems of its own need rights that this user has not")


def run_on_disk(mount: str, folder: Path | str, program: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    """Run a program where a small file system is mounted, which nothing else sees."""
    script = f'mount -t tmpfs -o size={mount} tmpfs "$0" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, str(folder), sys.executable, "-c", program]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, encoding="utf-8", check=False)


@needs_mounts
def test_a_full_disk_is_named_whatever_is_written_and_nothing_stays(tmp_path):
    done = run_on_disk("200k", tmp_path, WRITE, tmp_path)
    assert done.returncode == 0, done.stderr
    check_refusals(done.stdout, tmp_path)


def test_so_is_a_limit_of_the_size_of_files(tmp_path):
    command = [sys.executable, "-c", WRITE, str(tmp_path), "200000"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    check_refusals(done.stdout, tmp_path)


LOAD = """
import sys
import torch
from torch.utils.data import DataLoader
from common.training.failures import show_failures

show_failures()
list(DataLoader(torch.zeros(4, 512, 512), num_workers=1))
"""


@needs_mounts
def test_shared_memory_that_is_too_small_is_named_with_what_helps():
    done = run_on_disk("64k", "/dev/shm", LOAD)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: no space left in /dev/shm, by which the processes that load data hand it over: give --num_workers 0, "
        "or more of it, in Docker by docker run --shm-size=2g"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_known_by_its_number_however_deep(number):
    try:
        raise RuntimeError("writing failed") from OSError(number, "full")
    except RuntimeError as error:
        assert is_disk_full(error)  # noqa: PT017 the context is what counts
    assert not is_disk_full(OSError(errno.EIO, "broken"))


def test_something_in_the_way_is_named(tmp_path):
    (tmp_path / "model.pt").mkdir()
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"model\.pt cannot be written: Is a directory"),
        atomic_file(tmp_path / "model.pt") as fresh,
    ):
        fresh.touch()
    with pytest.raises(InputError, match=r"file/run/a\.json cannot be written: Not a directory"):
        write_json(tmp_path / "file" / "run" / "a.json", {})
    with pytest.raises(InputError, match="file/run cannot be written"), atomic_folder(tmp_path / "file" / "run"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model.pt"]


def test_an_error_about_another_file_passes(tmp_path):
    with pytest.raises(FileNotFoundError), explained(tmp_path / "copy"):
        (tmp_path / "source").read_bytes()
    with pytest.raises(PermissionError), explained(tmp_path / "copy"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/source")


def test_a_folder_is_writable_that_does_not_exist_but_can_be_made(tmp_path):
    check_writable(tmp_path / "new" / "run")
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named_with_what_is_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"--output_dir .*file/run: .*file is a file; name a folder"):
        check_writable(tmp_path / "file" / "run", "--output_dir")
    with pytest.raises(InputError, match=r"output_dir .*link: .*link is a link to nowhere; name a folder"):
        check_writable(tmp_path / "link")


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # who may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=f"no permission to write in {tmp_path}; name another folder"):
        check_writable(tmp_path / "run")
