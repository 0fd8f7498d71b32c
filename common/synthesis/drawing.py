"""TODO"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from diffusers import ConfigMixin, DDPMPipeline
from torch import Tensor, nn
from tqdm import tqdm

from common.errors import InputError
from common.files.atomic import check_replaceable
from common.files.fingerprints import network_fingerprint, tensor_digest
from common.synthesis.confidence import _ask
from common.synthesis.pictures import to_pictures
from common.synthesis.report import COPY, UNSURE, _count, _describe_dropped, _write_json, _write_png, _write_reports
from common.synthesis.sampling import sample
from common.synthesis.similarity import nearest
from common.synthesis.training_images import TrainingImages, distances_between_training_images
from common.synthesis.transfer_set import _file_of, _scores_of

logger = logging.getLogger(__name__)

COPY_THRESHOLD = 0.5


MAX_DRAWN = 2  # times the images asked for


def synthesize(
    pipeline: DDPMPipeline,
    output_dir: str | os.PathLike,
    number: int,
    training: TrainingImages,
    teacher: nn.Module | None = None,
    teacher_view: Callable[[Tensor], Tensor] | None = None,
    num_inference_steps: int = 25,
    batch_size: int = 16,
    seed: int = 0,
    device: str | torch.device = "cpu",
    copy_threshold: float = COPY_THRESHOLD,
    min_confidence: float | None = None,
) -> None:
    """Draw a transfer set, and report on it.

    Written are ``images/000001.png`` and on, ``datalist.json``, ``report.json``, ``samples.csv`` with a row for every
    sample that was drawn, and ``contact_sheet.png``, which shows training images beside the samples.

    A sample is a copy if its distance to the nearest training image (``similarity.nearest``) is less than
    ``copy_threshold`` times that to the nearest one of another patient. No fixed distance would do, since images of one
    kind are alike to begin with, and some are more alike than others. At 0.5, on PH2 at 64 pixels a side, 98 % or more
    of altered copies are found and none of 26 held-out images is taken for one; of compressed or noisy patches of DRIVE
    without vessels many are missed. A training image that is there twice, as of two patients, hides its copies. Samples
    that are dropped are replaced by others, until twice ``number`` have been drawn.

    The work is done in ``<output_dir>.partial``, which becomes ``output_dir`` when it is complete. A run that was cut
    off goes on where it stopped and ends with the same files. In a distributed run the ranks share the batches.

    Args:
        pipeline: what :func:`common.synthesis.folder.load_pipeline` returns.
        output_dir: the transfer set; an earlier one there is replaced.
        number: images to keep.
        training: what the model was trained on.
        teacher: says how sure it is of each sample; None leaves that out.
        teacher_view: what the teacher sees of a sample ``(C, W, H)``; None shows it as it is.
        num_inference_steps: denoising steps.
        batch_size: images denoised together; every batch has its own seed, so this is part of what fixes the images.
        seed: of the noise.
        device: where to sample.
        copy_threshold: see above; 0 drops no sample as a copy.
        min_confidence: least confidence of the teacher, see :func:`measure_confidence`; None drops no sample for it.

    Raises:
        InputError: if a number is out of range, ``min_confidence`` is given without a teacher, ``output_dir`` holds
            something else than a transfer set, or no sample is left.
    """
    counts = {"number": number, "num_inference_steps": num_inference_steps, "batch_size": batch_size}
    _check_numbers({**counts, "seed": seed}, copy_threshold, min_confidence, teacher)
    output_dir = Path(output_dir)
    check_replaceable(output_dir, mark="report.json")
    pipeline = pipeline.to(device)
    teacher = None if teacher is None else teacher.to(device)
    settings = {
        **counts,
        "seed": seed,
        "copy_threshold": copy_threshold,
        "min_confidence": min_confidence,
        "model": _hash_of(
            [network_fingerprint(pipeline.unet), _describe(pipeline.unet), _describe(pipeline.scheduler)]
        ),
        "teacher": None if teacher is None else network_fingerprint(teacher),
        "teacher_view": None
        if teacher_view is None
        else _hash_of([], [torch.as_tensor(teacher_view(training.views[0]))]),
        "training": _hash_of([*training.names, *training.groups], [*training.images, training.views]),
    }
    partial = output_dir.with_name(f"{output_dir.name}.partial")
    if idist.get_rank() == 0:
        _prepare_partial(partial, settings)
    idist.barrier()

    between = distances_between_training_images(training, device)
    if not len(between):
        logger.warning(
            "all training images are of one patient or exam, so that there is no other to compare with: every sample "
            "that resembles them counts as a copy"
        )

    def judge(images: Tensor) -> list[dict[str, Any]]:
        neighbours = nearest(images, training.images, training.groups)
        rows = [
            {"nearest": index, "distance": distance, "rival": rival, "box": box, "orientation": orientation}
            for distance, rival, index, box, orientation in zip(*(each.tolist() for each in neighbours), strict=True)
        ]
        confidences = [None] * len(rows) if teacher is None else _ask(teacher, teacher_view, images)
        for row, confidence in zip(rows, confidences, strict=True):
            row["confidence"], row["foreground"] = confidence or (None, None)
            unsure = min_confidence is not None and row["confidence"] < min_confidence
            row["dropped"] = COPY if row["distance"] < copy_threshold * row["rival"] else UNSURE if unsure else ""
        return rows

    def draw(batch: int, first: int, count: int) -> None:
        """Draw and judge ``count`` samples, numbered from ``first``, unless an earlier run has."""
        paths = [partial / _file_of(first + place) for place in range(count)]
        if _scores_of(partial, batch).is_file() and all(path.is_file() for path in paths):
            return
        images = sample(
            pipeline.unet,
            pipeline.scheduler,
            count,
            pipeline.unet.config.sample_size,
            num_inference_steps=num_inference_steps,
            generator=_batch_generator(seed, batch),
            batch_size=batch_size,
        )
        images = (images * 255).round() / 255  # what is judged is what the files hold
        for picture, path in zip(to_pictures(images), paths, strict=True):
            _write_png(picture, path)
        _write_json(judge(images), _scores_of(partial, batch))

    rows: list[dict[str, Any]] = []
    batches = 0
    while (missing := min(number - _count(rows, ""), MAX_DRAWN * number - len(rows))) > 0:
        sizes = [min(batch_size, missing - start) for start in range(0, missing, batch_size)]
        mine = range(idist.get_rank(), len(sizes), idist.get_world_size())
        for index in tqdm(mine, desc="synthesizing", unit=" batches", disable=idist.get_rank() != 0):
            draw(batches + index, len(rows) + 1 + index * batch_size, sizes[index])
        idist.barrier()
        for index in range(len(sizes)):
            rows += json.loads(_scores_of(partial, batches + index).read_text(encoding="utf-8"))
        batches += len(sizes)

    if not _count(rows, ""):
        raise InputError(
            f"none of the {len(rows)} samples is left: {_describe_dropped(rows)}. Train the diffusion model on more "
            "images or for fewer epochs if they are copies, for longer if the teacher finds nothing in them, or lower "
            "copy_threshold or min_confidence"
        )
    if idist.get_rank() == 0:
        for index, row in enumerate(rows, start=1):
            row |= {"sample": index, "file": "" if row["dropped"] else _file_of(index)}
        _write_reports(partial, rows, training, between, settings)
        _put_in_place(partial, output_dir)
    idist.barrier()


def _check_numbers(
    counts: Mapping[str, int], copy_threshold: float, min_confidence: float | None, teacher: nn.Module | None
) -> None:
    for name, value in counts.items():
        least = 0 if name == "seed" else 1
        if value < least:
            raise InputError(f"{name} must be at least {least}, got {value}")
    if not 0 <= copy_threshold <= 1:
        raise InputError(f"copy_threshold must lie between 0 and 1, got {copy_threshold}")
    if min_confidence is not None:
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence must lie between 0 and 1, got {min_confidence}")
        if teacher is None:
            raise InputError("min_confidence needs a teacher: run finetune_teacher first, or leave it at null")


def _hash_of(texts: Iterable[str], tensors: Iterable[Tensor] = ()) -> str:
    digest = hashlib.sha256("\n".join(texts).encode())
    for tensor in tensors:
        digest.update(tensor_digest(tensor))
    return digest.hexdigest()


def _describe(part: ConfigMixin) -> str:
    """Return the config of a network or scheduler, without what diffusers notes for itself, in any order."""
    return json.dumps({key: value for key, value in part.config.items() if not key.startswith("_")}, sort_keys=True)


def _batch_generator(seed: int, index: int) -> torch.Generator:
    # Sums and products of the two would give batches of different seeds the same noise.
    state = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _prepare_partial(partial: Path, settings: dict[str, Any]) -> None:
    """Keep what a run with the same settings left, start over otherwise."""
    record = partial / "settings.json"
    if partial.exists():
        try:
            resumable = json.loads(record.read_text(encoding="utf-8")) == settings
        except (OSError, ValueError):
            resumable = False
        if resumable:
            logger.info("going on with the images in %s", partial)
            return
        logger.warning("%s was left by a run with other settings, models or training images: starting over", partial)
        shutil.rmtree(partial)
    (partial / "images").mkdir(parents=True)
    (partial / "scores").mkdir()
    _write_json(settings, record)


def _put_in_place(finished: Path, folder: Path) -> None:
    """Move a finished folder into its place; the one that was there goes only after that."""
    outdated = folder.with_name(f"{folder.name}.outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if folder.exists():
        folder.rename(outdated)
    finished.rename(folder)
    shutil.rmtree(outdated, ignore_errors=True)
