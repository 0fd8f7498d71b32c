"""The teacher's outputs for all inputs, computed once and kept on disk.

A folder of teacher outputs has an array for the logits, one for each layer's features, and a record of what they are
of.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from torch import Tensor

from common.distillation.feature_hooks import FeatureHooks, resample
from common.distillation.frozen_teacher import FrozenTeacher
from common.distillation.inputs import TrackedInputs, find_distinct
from common.distillation.outputs_record import why_not_usable, write_record
from common.distillation.stored_arrays import bytes_of, open_arrays, write_arrays
from common.errors import InputError
from common.files.atomic import atomic_folder, is_writer
from common.files.fingerprints import data_digest, network_fingerprint
from common.files.writing import is_disk_full
from common.training.bar import this_bar

logger = logging.getLogger(__name__)

LABELLED_KEY = "labelled"
_LOGITS_KEY = "teacher_logits"


def output_keys(layers: Iterable[str], logits: bool = True) -> list[str]:
    """Return under what keys a sample has the teacher's outputs: its logits, if any, and its features by layer."""
    return [_LOGITS_KEY] * logits + [_feature_key(layer) for layer in layers]


def outputs_in(batch: Mapping[str, Tensor], layers: Iterable[str]) -> tuple[Tensor | None, dict[str, Tensor]] | None:
    """Return the teacher's logits, if any, and its features by layer from a batch, or None where it has no outputs."""
    keys = {layer: _feature_key(layer) for layer in layers}
    if not any(key in batch for key in (_LOGITS_KEY, *keys.values())):
        return None
    return batch.get(_LOGITS_KEY), {layer: batch[key] for layer, key in keys.items()}


def with_teacher_outputs(
    inputs: Sequence[dict[str, Any]], folder: str | os.PathLike | None, **kwargs: Any
) -> TrackedInputs:
    """Return :class:`TeacherOutputs`, or the inputs without any where ``folder`` is None and the teacher runs live."""
    return TrackedInputs(inputs) if folder is None else TeacherOutputs(inputs, folder, **kwargs)


class TeacherOutputs(TrackedInputs):
    """Inputs, each with the teacher's outputs under :func:`output_keys`.

    Outputs that are in the folder are used if they are complete, and of this teacher and these inputs. Any others are
    replaced, with a warning that says why. Among several processes each computes its share, and the first one writes.

    Args:
        inputs: dictionaries with an ``image`` ``(C, H, W)``, all of one shape; equal images share a row on disk.
        folder: of the outputs.
        teacher: computes them.
        student_hooks: features are kept on the grids of these layers, where ``FeatureAlignmentLoss`` compares them.
        pairs: teacher layer to student layer, by name.
        logits: whether the logits are kept; features always are.
        batch_size: how many images the teacher gets at once.

    Raises:
        InputError: if the folder holds something else, the disk is too small, or an output is not finite.
    """

    def __init__(
        self,
        inputs: Sequence[dict[str, Any]],
        folder: str | os.PathLike,
        *,
        teacher: FrozenTeacher,
        student_hooks: FeatureHooks,
        pairs: Mapping[str, str],
        logits: bool = True,
        batch_size: int = 8,
    ) -> None:
        super().__init__(inputs)
        self.folder = Path(folder)
        distinct = find_distinct(inputs)
        shapes = student_hooks.shapes(tuple(distinct.images[0].shape))
        grids = {theirs: list(shapes[ours][1:]) for theirs, ours in pairs.items()}
        self._rows = distinct.rows
        self._record: dict[str, Any] = {
            "teacher": network_fingerprint(teacher.network),
            "inputs": distinct.fingerprint,
            "precision": teacher.precision,
            "orientations": teacher.orientations,
            "grids": grids,
        }
        keys = output_keys(pairs, logits)
        count = len(distinct.images)
        reason = why_not_usable(self.folder, self._record, keys) if is_writer() else None
        if idist.broadcast(int(reason is not None)):
            with closing(_compute(distinct.images, teacher, grids, logits, batch_size)) as blocks:
                if is_writer():
                    level = logging.WARNING if self.folder.exists() else logging.INFO
                    what = self._describe_inputs(count)
                    logger.log(level, f"teacher outputs {self.folder}: {reason}; running the teacher on {what}")
                    self._write(blocks, count)
                else:
                    for _ in blocks:
                        pass  # to compute them is this process's share of the work
            idist.barrier()
        else:
            logger.info(f"teacher outputs {self.folder}: those of all {count} images are there")
        self._arrays = open_arrays(self.folder, keys)

    @property
    def fingerprint(self) -> str:
        """A hash of the inputs, their labels among them, and of what the outputs are of."""
        return hashlib.sha256(f"{data_digest(self.inputs)} {self._record}".encode()).hexdigest()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an input with the teacher's features ``(C, h, w)`` and logits ``(C, H, W)``, in half precision."""
        row = self._rows[index]
        outputs = {key: torch.from_numpy(np.array(array[row])) for key, array in self._arrays.items()}
        return {**super().__getitem__(index), **outputs}

    def _describe_inputs(self, count: int) -> str:
        """Say how many images the teacher sees, and which."""
        labelled = {row for row, each in zip(self._rows, self.inputs, strict=True) if each.get(LABELLED_KEY)}
        orientations = self._record["orientations"]
        each = f", each in {orientations} orientations" if orientations > 1 else ""
        return f"{count} images ({len(labelled)} with labels and {count - len(labelled)} without{each})"

    def _write(self, blocks: Iterator[dict[str, np.ndarray]], count: int) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of no use, and in the way of the new one if space is short
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        first = next(blocks)
        shapes = {key: (count, *block.shape[1:]) for key, block in first.items()}
        needed = bytes_of(shapes.values())
        too_small = InputError(
            f"teacher_outputs: {needed / 1e9:.3g} GB are needed in {self.folder}, and there is less space: make room, "
            "name a folder on another disk, or run the teacher live with --teacher_outputs null"
        )
        if shutil.disk_usage(self.folder.parent).free < needed:
            raise too_small
        try:
            with atomic_folder(self.folder) as fresh:
                write_record(fresh, self._record, write_arrays(fresh, shapes, chain([first], blocks)))
        except InputError as error:
            if is_disk_full(error):
                raise too_small from error
            raise


def _feature_key(layer: str) -> str:
    return f"teacher.{layer}"


def _compute(
    images: Sequence[Tensor],
    teacher: FrozenTeacher,
    grids: Mapping[str, Sequence[int]],
    with_logits: bool,
    batch_size: int,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield the teacher's outputs by key, in half precision and a batch of each process at a time, to every process."""
    world_size, start = idist.get_world_size(), 0
    with teacher.borrowed():
        while start < len(images):
            left = len(images) - start
            size = min(batch_size, ceil(left / world_size))
            first = start + idist.get_rank() * size
            # Every process needs as many images: one that has none left takes the last one again.
            batch = torch.stack([images[min(first + index, len(images) - 1)] for index in range(size)])
            logits, features = teacher(batch)
            outputs = {_LOGITS_KEY: logits} if with_logits else {}
            outputs |= {_feature_key(layer): resample(features[layer].float(), grids[layer]) for layer in grids}
            yield {key: _gather(key, value)[:left] for key, value in outputs.items()}
            start += size * world_size
            this_bar().update(0.0, f"teacher's outputs, image {min(start, len(images))}/{len(images)}")


def _gather(key: str, outputs: Tensor) -> np.ndarray:
    halves = outputs.half()
    if not halves.isfinite().all():
        raise InputError(
            f"teacher_outputs: the teacher's outputs ({key}) are not all finite numbers in half precision: fine-tune "
            "it again, or run it live with --teacher_outputs null"
        )
    return idist.all_gather(halves.contiguous()).cpu().numpy()
