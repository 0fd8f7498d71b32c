"""Files that must not be trusted: they would run code, fill the memory, lead elsewhere or say what cannot be."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import torch


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def _pickled(path: Path, sprung: Path) -> None:
    torch.save({"weight": Trap(sprung)}, path)


def _pickled_in_the_old_format(path: Path, sprung: Path) -> None:
    torch.save({"weight": Trap(sprung)}, path, _use_new_zipfile_serialization=False)


def _pickled_by_python(path: Path, sprung: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(sprung)))


def _tar_with_a_way_out(path: Path, sprung: Path) -> None:
    """PyTorch's first format was a tar archive, of which it extracts a member."""
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle", f"../{sprung.name}"):
            member = tarfile.TarInfo(name)
            content = pickle.dumps(Trap(sprung))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _zip_with_a_way_out(path: Path, sprung: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../{sprung.name}/data.pkl", pickle.dumps(Trap(sprung)))
        archive.writestr(f"../../{sprung.name}", b"outside")
        archive.writestr("model/../../data.pkl", pickle.dumps(Trap(sprung)))


def _compressed(path: Path, sprung: Path) -> None:
    """A checkpoint whose values are zeros, packed to a thousandth."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(8_000_000)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))


def _one_value_for_many(path: Path, sprung: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(10**6, 10**6)}, path)


def _sparse(path: Path, sprung: Path) -> None:
    torch.save({"weight": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,))}, path)


def _link_to_a_system_file(path: Path, sprung: Path) -> None:
    path.symlink_to("/etc/passwd")


def _pipe(path: Path, sprung: Path) -> None:
    os.mkfifo(path)


def _link_to_a_pipe(path: Path, sprung: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


CHECKPOINTS = {
    make.__name__.lstrip("_"): make
    for make in (
        *(_pickled, _pickled_in_the_old_format, _pickled_by_python, _tar_with_a_way_out, _zip_with_a_way_out),
        *(_compressed, _one_value_for_many, _sparse, _link_to_a_system_file, _pipe, _link_to_a_pipe),
    )
}  # by name, what writes one to a path; code in it would make the folder that is given too


def safetensors(*tensors: tuple[int, int], length: int | None = None) -> bytes:
    """Return a file whose tensors lie between these offsets, and whose header claims a length."""
    names = {f"t{i}": {"dtype": "F32", "shape": [4], "data_offsets": list(ends)} for i, ends in enumerate(tensors)}
    header = json.dumps(names).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(32)


SAFETENSORS = {
    "a header of 8 EB": safetensors((0, 16), length=2**63 - 1),
    "tensors that overlap": safetensors((0, 16), (8, 24)),
    "tensors beyond the end": safetensors((0, 16), (10**15, 10**15 + 16)),
    "a header that is no JSON": struct.pack("<Q", 8) + b"notjson!" + bytes(32),
    "nothing": b"",
}
JSONS = {
    "nested too deeply": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "no text": b"\xff\xfe\x00",
    "cut off": b'{"a": ',
    "a list": b"[]",
    "null": b"null",
}
