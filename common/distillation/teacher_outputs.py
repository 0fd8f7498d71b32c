"""TODO"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from math import ceil, prod
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data.utils import set_rnd
from monai.networks.utils import eval_mode
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from common.distillation.features import FeatureTaps, feature_shapes, resample
from common.distillation.orientations import ask_teacher, check_orientations
from common.errors import InputError
from common.files.atomic import is_writer, replace_folder
from common.files.fingerprints import data_digest, network_fingerprint, tensor_digest
from common.transforms.motion import track_moves

logger = logging.getLogger(__name__)

LOGITS_KEY = "teacher_logits"


_RECORD = "cache.json"


_FAULTS = {
    "teacher": "it is of another teacher",
    "views": "it is of other images",
    "precision": "it was made in another precision",
    "orientations": "it was asked about other orientations of the images",
    "grids": "it has other layers, or other sizes of them",
}


_HALF = np.dtype(np.float16)


_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def answer_keys(layers: Iterable[str], logits: bool = True) -> list[str]:
    """Return under what keys a sample has the teacher's answers: its logits, if any, and its features by layer."""
    return [LOGITS_KEY] * logits + [_feature_key(layer) for layer in layers]


def cached_answers(
    batch: Mapping[str, Tensor], layers: Iterable[str]
) -> tuple[Tensor | None, dict[str, Tensor]] | None:
    """Return the teacher's logits, if any, and its features by layer from a batch, or None where it has no answers."""
    keys = {layer: _feature_key(layer) for layer in layers}
    if not any(key in batch for key in keys.values()):
        return None
    return batch.get(LOGITS_KEY), {layer: batch[key] for layer, key in keys.items()}


def draw_views(dataset: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return the items of a dataset, with whatever is random about them drawn once.

    Args:
        dataset: any dataset of MONAI; where it gives a list of patches, each of them is a view.
        seed: the same seed draws the same views.
    """
    set_rnd(dataset, seed)
    items = (dataset[index] for index in range(len(dataset)))
    return [view for item in items for view in (item if isinstance(item, list) else [item])]


def with_answers(
    views: Sequence[dict[str, Any]], folder: str | os.PathLike | None, **kwargs: Any
) -> Sequence[dict[str, Any]]:
    """Return a :class:`TeacherCache`, or the views as they are where ``folder`` is None and the teacher runs live."""
    return views if folder is None else TeacherCache(views, folder, **kwargs)


class TeacherCache(Dataset):
    """The views, each with the teacher's answers under :func:`answer_keys` and an image that tracks its moves.

    A cache that is there is used if it is whole, and of this teacher and these views. Any other is replaced, with a
    warning that says why. Among several processes each asks the teacher about its share, and the first one writes.

    Args:
        views: dictionaries with an ``image`` ``(C, H, W)``, all of one shape; equal images share a row on disk.
        folder: the cache.
        teacher: moved to ``device`` to be asked, and back.
        student: features are kept on the grids of its layers, where ``FeatureAlignmentLoss`` compares them.
        pairs: teacher layer to student layer, by name.
        logits: whether the logits are kept; features always are.
        orientations: of each view, over which the answers are averaged; see :func:`ask_teacher`.
        device: where the teacher is asked.
        batch_size: how many views it is asked about at once.
        amp: whether under autocast.
        amp_kwargs: what ``torch.autocast`` takes.
        memory_format: of the images.

    Raises:
        InputError: if the folder holds something else, the disk is too small, or an answer is not finite.
    """

    def __init__(
        self,
        views: Sequence[dict[str, Any]],
        folder: str | os.PathLike,
        *,
        teacher: nn.Module,
        student: nn.Module,
        pairs: Mapping[str, str],
        logits: bool = True,
        orientations: int = 1,
        device: torch.device | str = "cpu",
        batch_size: int = 8,
        amp: bool = False,
        amp_kwargs: Mapping[str, Any] | None = None,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> None:
        check_orientations(orientations)
        self.views = views
        self.folder = Path(folder)
        self._keys = answer_keys(pairs, logits)
        self._rows, images, digests = _find_distinct(views)
        shapes = feature_shapes(student, pairs.values(), tuple(images[0].shape))
        grids = {layer: list(shape[1:]) for layer, shape in zip(pairs, shapes, strict=True)}
        amp_kwargs = dict(amp_kwargs or {})
        record = {
            "teacher": network_fingerprint(teacher),
            "views": hashlib.sha256(b"".join(digests)).hexdigest(),
            "precision": str(amp_kwargs.get("dtype", "autocast")) if amp else "float32",
            "orientations": orientations,
            "grids": grids,
        }
        self._record = record
        fault = self._find_fault(record) if is_writer() else None
        if idist.broadcast(int(fault is not None)):
            autocast = torch.autocast(torch.device(device).type, enabled=amp, **amp_kwargs)
            asking = _ask_about(
                images, teacher, grids, logits, orientations, device, batch_size, autocast, memory_format
            )
            with closing(asking) as answers:
                if is_writer():
                    level = logging.WARNING if self.folder.exists() else logging.INFO
                    logger.log(level, f"teacher cache {self.folder}: {fault}; asking about {len(images)} views")
                    self._write(answers, len(images), record)
                else:
                    for _ in answers:
                        pass  # asking is this process's share of the work
            idist.barrier()
        else:
            logger.info(f"teacher cache {self.folder}: has the answers to all {len(images)} views")
        self._arrays = {key: np.load(self._path(key), mmap_mode="r") for key in self._keys}

    @property
    def fingerprint(self) -> str:
        """A hash of the views, their labels among them, and of how the teacher was asked about them."""
        return hashlib.sha256(f"{data_digest(self.views)} {self._record}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a view with the teacher's features ``(C, h, w)`` and logits ``(C, H, W)``, in half precision."""
        view = self.views[index]
        row = self._rows[index]
        answers = {key: torch.from_numpy(np.array(array[row])) for key, array in self._arrays.items()}
        return {**view, Keys.IMAGE: track_moves(view[Keys.IMAGE]), **answers}

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _find_fault(self, record: dict[str, Any]) -> str | None:
        """Say why what is in the folder cannot be used, if it cannot."""
        if not self.folder.exists():
            return "there is none yet"
        if not self.folder.is_dir() or not all(map(_is_ours, self.folder.iterdir())):
            raise InputError(f"teacher_cache: {self.folder} exists and is no teacher cache; name another folder")
        try:
            found = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            arrays = dict(found["arrays"])
        except (OSError, ValueError, KeyError, TypeError):
            return f"{_RECORD} is missing or damaged"
        for key, fault in _FAULTS.items():
            if found.get(key) != record[key]:
                return fault
        for key in self._keys:
            try:
                array = np.load(self._path(key), mmap_mode="r")
            except (OSError, ValueError, EOFError):
                return f"{key}.npy is missing or damaged"
            if arrays.get(key) != _describe(array.dtype, array.shape, hashlib.sha256(array).hexdigest()):
                return f"{key}.npy is damaged"
        return None

    def _write(self, answers: Iterator[dict[str, np.ndarray]], count: int, record: dict[str, Any]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of no use, and in the way of the new one if space is short
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        first = next(answers)
        shapes = {key: (count, *block.shape[1:]) for key, block in first.items()}
        needed = sum(_HALF.itemsize * prod(shape) for shape in shapes.values())
        too_small = InputError(
            f"teacher_cache: {needed / 1e9:.3g} GB are needed in {self.folder}, and there is less space: make room, "
            "name a folder on another disk, or run the teacher live with --teacher_cache '$None'"
        )
        if shutil.disk_usage(self.folder.parent).free < needed:
            raise too_small
        try:
            with replace_folder(self.folder) as fresh:
                arrays = _write_arrays(fresh, shapes, chain([first], answers))
                text = json.dumps({**record, "arrays": arrays}, indent=2)
                (fresh / _RECORD).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            if error.errno in _DISK_IS_FULL:
                raise too_small from error
            raise


def _feature_key(layer: str) -> str:
    return f"teacher.{layer}"


def _is_ours(path: Path) -> bool:
    return path.name == _RECORD or (path.name.startswith("teacher") and path.suffix == ".npy")


def _find_distinct(views: Sequence[dict[str, Any]]) -> tuple[list[int], list[Tensor], list[bytes]]:
    """Return the row of every view, and the distinct images with their digests by row."""
    rows, images, places = [], [], {}
    for view in views:
        image = view[Keys.IMAGE].as_subclass(Tensor)
        digest = tensor_digest(image)
        if digest not in places:
            places[digest] = len(images)
            images.append(image)
        rows.append(places[digest])
    return rows, images, list(places)


def _ask_about(
    images: Sequence[Tensor],
    teacher: nn.Module,
    grids: Mapping[str, Sequence[int]],
    with_logits: bool,
    orientations: int,
    device: torch.device | str,
    batch_size: int,
    autocast: torch.autocast,
    memory_format: torch.memory_format,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the teacher's answers by key, in half precision and a batch of each process at a time, to every process."""
    home, world_size = next(teacher.parameters()).device, idist.get_world_size()
    taps = FeatureTaps(teacher.to(device), grids)
    start = 0
    try:
        with eval_mode(teacher), tqdm(total=len(images), desc="teacher", disable=not is_writer()) as progress:
            while start < len(images):
                left = len(images) - start
                size = min(batch_size, ceil(left / world_size))
                first = start + idist.get_rank() * size
                # Every process needs as many images: one that has none left asks about the last one again.
                batch = torch.stack([images[min(first + index, len(images) - 1)] for index in range(size)])
                with autocast:
                    batch = batch.to(device, memory_format=memory_format)
                    logits, features = ask_teacher(teacher, taps, batch, orientations)
                answers = {LOGITS_KEY: logits} if with_logits else {}
                answers |= {_feature_key(layer): resample(features[layer].float(), grids[layer]) for layer in grids}
                yield {key: _gather(key, value)[:left] for key, value in answers.items()}
                start += size * world_size
                progress.update(min(left, size * world_size))
    finally:
        taps.close()
        teacher.to(home)


def _gather(key: str, answers: Tensor) -> np.ndarray:
    halves = answers.half()
    if not halves.isfinite().all():
        raise InputError(
            f"teacher_cache: the teacher's answers ({key}) are not all finite numbers in half precision: fine-tune it "
            "again, or run it live with --teacher_cache '$None'"
        )
    return idist.all_gather(halves.contiguous()).cpu().numpy()


def _write_arrays(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], blocks: Iterable[dict[str, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Write blocks of rows to ``<key>.npy`` one after the other, and describe the files."""
    digests = {key: hashlib.sha256() for key in shapes}
    with ExitStack() as stack:
        # Ordinary writes: through a memory map, a full disk would end the process instead of raising an error.
        files = {key: stack.enter_context((folder / f"{key}.npy").open("wb")) for key in shapes}
        for key, shape in shapes.items():
            header = {"descr": _HALF.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[key], header)
        for block in blocks:
            for key, values in block.items():
                content = values.tobytes()
                files[key].write(content)
                digests[key].update(content)
    return {key: _describe(_HALF, shape, digests[key].hexdigest()) for key, shape in shapes.items()}


def _describe(dtype: np.dtype, shape: Sequence[int], digest: str) -> dict[str, Any]:
    return {"dtype": dtype.str, "shape": list(shape), "sha256": digest}
