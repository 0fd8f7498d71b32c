"""A release as one file, and the list of what is too large for the Model Zoo's repository."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import yaml

from common.errors import InputError

LARGE_FILES = "large_files.yml"
_LIMIT = 25 * 1000 * 1000  # bytes; the Zoo says 25 MB, and this is the stricter reading
_DATE = (1980, 1, 1, 0, 0, 0)  # the same for all, so that the same files make the same archive
_MAX_RATIO = 50  # text is compressed to a tenth
_CACHES = ("__pycache__",)  # what Python leaves where a release was run
_SEAL = "sha256 of the files of this release: "  # before a hash, in the archive's comment


def write_archive(folder: Path, path: Path, name: str) -> None:
    """Write the files of a folder to a ZIP file, below ``name``; the same files give the same bytes.

    Its comment has a hash of them, by which it is known again as it was written.
    """
    content = {}
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{file.relative_to(folder).as_posix()}", _DATE)
            entry.external_attr = 0o644 << 16
            if file.parent.name != "models":  # weights hardly get any smaller
                entry.compress_type = zipfile.ZIP_DEFLATED
            content[entry.filename] = file.read_bytes()
            archive.writestr(entry, content[entry.filename])
        archive.comment = _seal(content)


def _seal(content: Mapping[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(content):
        digest.update(f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n".encode())
    return (_SEAL + digest.hexdigest()).encode()


def write_large_files(folder: Path, url: str | None) -> list[str]:
    """List the files that are too large for the Zoo's repository in ``large_files.yml``, and return their names.

    Args:
        folder: of the release; the files stay in it.
        url: where they will be uploaded to, up to the last slash.

    Raises:
        InputError: if there are such files, and no URL is given.
    """
    large = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size > _LIMIT]
    names = [file.relative_to(folder).as_posix() for file in large]
    if large and not url:
        raise InputError(
            f"{', '.join(names)}: larger than 25 MB, so that the Model Zoo takes a link in place of each; say where "
            "you will upload them by --url https://…"
        )
    entries = [
        {
            "path": name,
            "url": f"{str(url).rstrip('/')}/{file.name}",
            "hash_val": hashlib.sha256(file.read_bytes()).hexdigest(),
            "hash_type": "sha256",
        }
        for name, file in zip(names, large, strict=True)
    ]
    if entries:
        text = yaml.safe_dump({"large_files": entries}, sort_keys=False)
        (folder / LARGE_FILES).write_text(text, encoding="utf-8")
    return names


def check_replaceable(folder: Path, archive: Path) -> None:
    """Refuse to replace anything but a release as it was written: its archive, and a folder with nothing else in it.

    Raises:
        InputError: naming what would be lost.
    """
    kept = _read_release(archive, folder.name) if archive.exists() else {}
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} exists and is no folder: choose another output_dir")
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if (file.is_file() or file.is_symlink()) and not set(_CACHES) & set(inside.parts):
            name = f"{folder.name}/{inside.as_posix()}"
            if file.is_symlink() or kept.get(name) != file.read_bytes():
                raise InputError(
                    f"{folder} exists, and {name} is not in an earlier release {archive.name} as it is now, so it is "
                    "not overwritten: choose another output_dir, or move it away"
                )


def _read_release(archive: Path, name: str) -> dict[str, bytes]:
    """Return the files of an archive by name, if it is a release of this name and as it was written."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names, comment = opened.namelist(), opened.comment
            unpacked = sum(entry.file_size for entry in opened.infolist())
            if unpacked > _MAX_RATIO * archive.stat().st_size:
                raise zipfile.BadZipFile(f"it unpacks to {unpacked:,} bytes")
            kept = {each: opened.read(each) for each in names}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:  # the last one where encrypted
        raise InputError(f"{archive} exists and is no release ({error}): choose another output_dir") from error
    if f"{name}/configs/metadata.json" not in kept:
        raise InputError(f"{archive} exists and is no release of {name}: choose another output_dir")
    if len(names) != len(kept) or comment != _seal(kept):
        raise InputError(
            f"{archive} exists, and is not as a release has written it: it may hold somebody's work. It is not "
            "overwritten: choose another output_dir, or move it away"
        )
    return kept
