"""What inference finds in a user's folder: inputs, what is left out and why, and what is no image."""

from __future__ import annotations

import logging
import os
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from common.datasets.readers.file_kinds import kind_of
from common.datasets.readers.folder_walk import FolderWalk
from common.errors import InputError
from common.files.atomic import LOCK_NAME

logger = logging.getLogger(__name__)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_RUN_LOGS = (Path("logs", "inference.log"), Path("logs", "predict.log"))  # one is in the output folder of inference
_RESULTS = ("_mask.png", "_mask.nii.gz", "_mask.dcm", "_overlay.png")  # how what is written there may end


class InputFiles(ABC):
    """The inputs in a folder and below it, or one input; nothing that lies there is passed over without a word.

    - Inputs are found by name, and by their first bytes where the name does not tell. They are not read yet, but for
      the first ones, until one of them can be: where none can, work does not begin.
    - Images that are no inputs, such as a volume among pictures, and what cannot be opened are left out: inference
      names them and ends with an error, after all masks have been written.
    - What is no image, such as tables and hidden files, is passed over, and so are labels, and masks of an earlier
      inference: what is named as such in its output folder, or beside the image itself. The log counts them, but for
      what an inference keeps for itself.

    Args:
        path: a folder, or one input.
        key: what the user knows the path by.

    Attributes:
        root: what the results' folders are relative to, for ``SaveImaged``'s ``data_root_dir``.
        found: the inputs, in order.
        left_out: what else is there and should not be overlooked, each with the reason.
        passed_over: files that are no images, and labels.
        earlier_masks: masks of an earlier inference, or what is named as these.

    Raises:
        InputError: if the path does not exist or cannot be opened, holds no input that can be read, or holds two inputs
            whose results would overwrite each other.
    """

    noun: ClassVar[str]  # what an input is called
    expected: ClassVar[str]  # what inputs look like
    formats: ClassVar[str]  # the same in a few words
    input_kind: ClassVar[str]  # of the files among them
    mask_suffix: ClassVar[str]  # how the names of results end
    label_folders: ClassVar[frozenset[str]] = frozenset()  # names of folders that hold labels

    def __init__(self, path: str | os.PathLike, key: str = "dataset_dir") -> None:
        self.path = absolute(path)
        self.key = key
        if not self.path.exists():
            raise InputError(f"{key}: {self.path} does not exist; expected {self.expected}")
        if not self.path.is_dir() and not self.path.is_file():
            raise InputError(f"{key}: {self.path} is neither a file nor a folder; expected {self.expected}")
        self.root = self.root_of(path)
        self.found: list[Path] = []
        self.left_out: dict[Path, str] = {}
        self.passed_over: list[Path] = []
        self.earlier_masks: list[Path] = []
        if self.path.is_file():
            self.found.append(self.path)
        else:
            self._look_around()
        self._refuse_same_names()
        self._read_first()

    @classmethod
    def root_of(cls, path: str | os.PathLike) -> Path:
        """Return what results are named relative to; the path need not exist, as it does not at a server."""
        path = absolute(path)
        return path.parent if path.is_file() or cls.parts_of(path) else path

    @classmethod
    def parts_of(cls, folder: Path) -> list[Path]:
        """Return the files of a folder that make it one input.

        Raises:
            OSError: if a file cannot be opened.
        """
        return []

    @abstractmethod
    def check(self, path: Path) -> None:
        """Read an input to its last value.

        Raises:
            InputError: if that fails.
        """

    def unread_parts(self, path: Path) -> str | None:
        """Return what of an input is left out where not all of it is segmented."""
        return None

    def remarks(self, paths: Sequence[Path]) -> list[str]:
        """Return what a user should know of inputs that have been segmented."""
        return []

    @property
    def entries(self) -> list[dict[str, str]]:
        """The inputs as a MONAI datalist."""
        return [{"image": str(path)} for path in self.found]

    def name_of(self, path: Path) -> str:
        """Return a path relative to the folder."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def short(self, path: Path) -> str:
        """Return a path as the user finds it in the folder, in one line, whatever is in its name."""
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), self.name_of(path))

    def check_all(self) -> None:
        """Read every input, and leave out those that fail."""
        self._leave_out_unreadable(self.found)

    def log_passed_over(self) -> None:
        """Count the files that are no inputs."""
        kinds = {"not to be segmented": self.passed_over, "named as masks or overlays": self.earlier_masks}
        for what, files in kinds.items():
            if files:
                number = f"{len(files)} {'file' if len(files) == 1 else 'files'} {what}"
                logger.info(f"passed over in {self.path}: {number}, such as {self.short(files[0])}")

    def _look_around(self) -> None:
        walk = FolderWalk(self.path)
        if self.path in walk.closed:
            raise InputError(f"{self.key}: {walk.closed[self.path]}")
        self.left_out.update(walk.closed)
        runs = {folder for folder in walk.folders for log in _RUN_LOGS if (folder / log).is_file()}
        self.passed_over += walk.hidden
        for folder, files in walk.folders.items():
            if folder.name in self.label_folders:
                self.passed_over += files
                continue
            written = not runs.isdisjoint((folder, *folder.parents))
            results = {file for file in files if written and file.name.endswith(_RESULTS)}
            self.earlier_masks += results
            try:
                parts = set(self.parts_of(folder)) - results
            except OSError as error:
                self.left_out[folder] = f"{folder}: {error.filename} cannot be opened ({error.strerror})"
                continue
            if parts:
                self.found.append(folder)
            for file in files:
                if file not in parts | results:
                    self._sort(file)
        own = {*(folder / LOCK_NAME for folder in runs), *(folder / log.parent for folder in runs for log in _RUN_LOGS)}
        self.passed_over = [path for path in self.passed_over if own.isdisjoint((path, path.parent))]
        self._set_earlier_masks_aside()

    def _sort(self, file: Path) -> None:
        try:
            kind = kind_of(file)
        except OSError as error:
            self.left_out[file] = f"{file}: cannot be opened ({error.strerror})"
            return
        if kind == self.input_kind:
            self.found.append(file)
        elif kind is None:
            self.passed_over.append(file)
        else:
            self.left_out[file] = f"{file}: is a {kind}; expected {self.formats}"

    def _set_earlier_masks_aside(self) -> None:
        """Take masks out that lie beside their image."""
        named = set(map(without_suffix, self.found))
        for path in list(self.found):
            image = path.with_name(path.name.removesuffix(self.mask_suffix))
            if image != path and image in named:
                self.found.remove(path)
                self.earlier_masks.append(path)
        self.earlier_masks.sort()

    def _refuse_same_names(self) -> None:
        """Refuse inputs whose results would have the same name, also where capitals make no difference.

        Raises:
            InputError: if more than one of them can be read.
        """
        same = defaultdict(list)
        for path in self.found:
            same[str(without_suffix(path)).casefold()].append(path)
        twice = []
        for paths in same.values():
            if len(paths) > 1:
                self._leave_out_unreadable(paths)
                twice += [paths] if len(set(paths) - self.left_out.keys()) > 1 else []
        if twice:
            names = ", ".join(self.short(without_suffix(paths[0])) for paths in twice[:5])
            raise InputError(f"{self.key}: {self.path} holds several {self.noun}s named {names}; rename them")

    def _read_first(self) -> None:
        """Read inputs until one of them can be.

        Raises:
            InputError: if there is none.
        """
        while self.found:
            first = self.found[0]
            self._leave_out_unreadable([first])
            if first not in self.left_out:
                return
        if self.path in self.left_out:
            raise InputError(f"{self.key}: {self.left_out[self.path]}")
        for reason in self.left_out.values():
            logger.error(f"left out: {reason}")
        self.log_passed_over()
        why = f" ({len(self.left_out)} left out, first {next(iter(self.left_out.values()))})" if self.left_out else ""
        raise InputError(f"{self.key}: {self.path} holds no readable {self.noun}{why}; expected {self.expected}")

    def _leave_out_unreadable(self, paths: Sequence[Path]) -> None:
        for path in list(paths):
            try:
                self.check(path)
            except InputError as error:
                self.left_out[path] = str(error)
        self.found = [path for path in self.found if path not in self.left_out]


def absolute(path: str | os.PathLike) -> Path:
    """Return the absolute path, links and all."""
    return Path(os.path.abspath(Path(path).expanduser()))


def without_suffix(path: Path) -> Path:
    """Return the path without the suffix that ``SaveImaged`` drops to name the result; folders have none."""
    if path.is_dir():
        return path
    name, suffix = os.path.splitext(path.name)
    return path.with_name(os.path.splitext(name)[0] if suffix.lower() == ".gz" else name)
