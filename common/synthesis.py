"""Stage 3: the transfer set, drawn from the diffusion model, with a report on what was drawn.

Diffusion models can emit images that they were trained on (Carlini et al., 2023, arXiv 2301.13188; Somepalli et al.,
2022, arXiv 2212.03860), the more so the fewer there are. Such a copy shows a patient and is of no use as new data: it
is found, dropped, counted, and another sample is drawn in its place.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
import numpy as np
import torch
from diffusers import ConfigMixin, DDPMPipeline
from monai.data import Dataset
from monai.data.utils import set_rnd
from monai.networks.utils import eval_mode
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from tqdm import tqdm

from common.checkpoints import check_replaceable, replace_file
from common.diffusion import sample, to_pictures
from common.errors import InputError
from common.fingerprints import network_fingerprint, tensor_digest
from common.similarity import nearest, orient_back, vendi_score

logger = logging.getLogger(__name__)

COPY_THRESHOLD = 0.5
COPY, UNSURE = "copy", "low confidence"  # why a sample is dropped
MAX_DRAWN = 2  # times the images asked for

_TEACHER_BATCH = 8
_NUMBERS = ("distance", "rival", "confidence", "foreground")
_COLUMNS = ("sample", "file", "nearest", *_NUMBERS, "dropped")
_QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}
_PAIRS, _PAIRS_IN_ROW, _TILE, _LINE, _GAP = 32, 4, 128, 16, 8  # of the contact sheet; the last three in pixels


class TrainingImages(NamedTuple):
    """What the diffusion model was trained on, to compare samples with; see :func:`read_training_images`."""

    names: list[str]  # of the files
    groups: list[str]  # patient, exam or image that a file belongs to
    images: list[Tensor]  # of the files, (C, W, H) each, at the scale of the samples
    views: Tensor  # (V, C, S, S), such as the model was shown
    owners: Tensor  # (V,), which image a view is of


def read_training_images(
    entries: Sequence[Mapping[str, Any]], groups: Sequence[str | None], images: Dataset, views: Dataset, seed: int = 0
) -> TrainingImages:
    """Read the images that the diffusion model was trained on.

    Args:
        entries: a MONAI datalist.
        groups: patient or exam of each entry, None where it is unknown.
        images: gives the ``image`` ``(C, W, H)`` of each entry at the scale of the samples, in [0, 1].
        views: gives what the model was shown of each entry, as large as the samples: the whole image, or a list of
            patches.
        seed: of the transforms of ``views``.
    """
    set_rnd(views, seed=seed)
    shown = [views[index] for index in range(len(entries))]
    shown = [each if isinstance(each, list) else [each] for each in shown]
    return TrainingImages(
        names=_short_names([entry["image"] for entry in entries]),
        groups=[f"image {index}" if group is None else group for index, group in enumerate(groups)],
        images=[torch.as_tensor(images[index]["image"]) for index in range(len(entries))],
        views=torch.stack([torch.as_tensor(view["image"]) for each in shown for view in each]),
        owners=torch.tensor([index for index, each in enumerate(shown) for _ in each]),
    )


def distances_between_training_images(training: TrainingImages, device: str | torch.device = "cpu") -> Tensor:
    """Return the distance of each view to the nearest image of another group, and none if there is only one group."""
    groups = np.array(training.groups)
    allowed = torch.as_tensor(groups[training.owners][:, None] != groups[None])
    comparable = allowed.any(1)
    if not comparable.any():
        return torch.zeros(0)
    return nearest(training.views[comparable].to(device), training.images, allowed=allowed[comparable]).distances.cpu()


def measure_confidence(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return how sure a segmentation is of its structures, and the share of pixels that it takes for structures.

    The confidence is the soft Dice confidence (Borges et al., 2024, arXiv 2402.10665), averaged over the classes that
    are found: the Dice between the probabilities of a class and the pixels that get it. Background, most of a medical
    image and easily told, does not enter, while every doubtful pixel does. Where nothing is found it is 0.

    Args:
        logits: ``(B, K, H, W)``, background first.

    Returns:
        confidence and share, each ``(B,)`` in [0, 1].
    """
    probabilities = logits.float().softmax(1)[:, 1:].flatten(2)
    classes = logits.argmax(1).flatten(1)
    found = torch.stack([classes == index for index in range(1, logits.shape[1])], dim=1).float()
    dice = 2 * (probabilities * found).sum(2) / (probabilities.sum(2) + found.sum(2))
    present = found.any(2)
    confidence = (dice * present).sum(1) / present.sum(1).clamp(min=1)
    return confidence, (classes > 0).float().mean(1)


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

    A sample is a copy if its distance to the nearest training image (:func:`common.similarity.nearest`) is less than
    ``copy_threshold`` times that to the nearest one of another patient. No fixed distance would do, since images of one
    kind are alike to begin with, and some are more alike than others. At 0.5, on PH2 at 64 pixels a side, 98 % or more
    of altered copies are found and none of 26 held-out images is taken for one; of compressed or noisy patches of DRIVE
    without vessels many are missed. A training image that is there twice, as of two patients, hides its copies. Samples
    that are dropped are replaced by others, until twice ``number`` have been drawn.

    The work is done in ``<output_dir>.partial``, which becomes ``output_dir`` when it is complete. A run that was cut
    off goes on where it stopped and ends with the same files. In a distributed run the ranks share the batches.

    Args:
        pipeline: what :func:`common.diffusion.load_pipeline` returns.
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


# Settings and folders


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


def _file_of(index: int) -> str:
    return f"images/{index:06d}.png"


def _scores_of(partial: Path, batch: int) -> Path:
    return partial / f"scores/{batch:06d}.json"


def _write_png(picture: Image.Image, path: Path) -> None:
    with replace_file(path) as fresh:
        picture.save(fresh, format="PNG")


def _write_json(content: Any, path: Path) -> None:
    with replace_file(path) as fresh:
        fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _short_names(paths: Sequence[str]) -> list[str]:
    """Return the names of files, with as much of their folders as tells them apart."""
    names = [Path(path).name for path in paths]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(path).relative_to(root).as_posix() for path in paths]


# Report


@torch.no_grad()
def _ask(
    teacher: nn.Module, teacher_view: Callable[[Tensor], Tensor] | None, images: Tensor
) -> list[tuple[float, float]]:
    """Return the teacher's confidence and the share of structures of each image."""
    views = images if teacher_view is None else torch.stack([torch.as_tensor(teacher_view(image)) for image in images])
    answers = []
    with eval_mode(teacher):
        for batch in views.split(_TEACHER_BATCH):
            confidence, foreground = measure_confidence(teacher(batch))
            answers += zip(confidence.tolist(), foreground.tolist(), strict=True)
    return answers


def _count(rows: Sequence[Mapping[str, Any]], dropped: str) -> int:
    return sum(row["dropped"] == dropped for row in rows)


def _describe_dropped(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        f"{_count(rows, COPY)} are copies of training images, of {_count(rows, UNSURE)} the teacher is less sure than "
        "min_confidence"
    )


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    return {name: float(np.quantile(values, share)) for name, share in _QUANTILES.items()} if len(values) else None


def _write_reports(
    partial: Path,
    rows: Sequence[dict[str, Any]],
    training: TrainingImages,
    between: Tensor,
    settings: Mapping[str, Any],
) -> None:
    """Write the reports, and take away what does not belong to a finished transfer set."""
    kept = [row["file"] for row in rows if row["file"]]
    report = _make_report(partial, rows, kept, training, between, settings)
    _log(report)
    if len(kept) < settings["number"]:
        logger.warning(
            f"only {len(kept)} of {settings['number']} images: of {len(rows)} samples {_describe_dropped(rows)}"
        )
    with replace_file(partial / "samples.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        table.writeheader()
        for row in rows:
            numbers = {key: "" if row[key] is None else f"{row[key]:.6g}" for key in _NUMBERS}
            table.writerow({**row, **numbers, "nearest": training.names[row["nearest"]]})
    _write_png(draw_contact_sheet(partial, rows, training), partial / "contact_sheet.png")
    _write_json(report, partial / "report.json")
    _write_json({"training": [{"image": name} for name in kept]}, partial / "datalist.json")
    for row in rows:
        if row["dropped"]:
            (partial / _file_of(row["sample"])).unlink()
    shutil.rmtree(partial / "scores")
    (partial / "settings.json").unlink()


def _make_report(
    partial: Path,
    rows: Sequence[Mapping[str, Any]],
    kept: Sequence[str],
    training: TrainingImages,
    between: Tensor,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    samples = torch.stack([_read(partial / name) for name in kept])
    compared = min(len(kept), len(training.views))
    asked = [row for row in rows if row["confidence"] is not None]
    return {
        "settings": dict(settings),
        "drawn": len(rows),
        "kept": len(kept),
        "dropped": {reason: _count(rows, reason) for reason in (COPY, UNSURE)},
        "distance": {
            "samples": _quantiles([row["distance"] for row in rows]),
            "training_images": _quantiles(between.tolist()),
            "share_of_rival": _quantiles([row["distance"] / max(row["rival"], 1e-6) for row in rows]),
        },
        "diversity": {
            "images": compared,
            "samples": vendi_score(samples[:compared]),
            "training_images": vendi_score(_spread(training.views, compared)),
            "all_samples": vendi_score(samples),
        },
        "confidence": _quantiles([row["confidence"] for row in asked]),
        "foreground": _quantiles([row["foreground"] for row in asked]),
    }


def _spread(images: Tensor, count: int) -> Tensor:
    """Return ``count`` images from all over a list."""
    return images[torch.linspace(0, len(images) - 1, count).round().long()]


def _read(path: Path) -> Tensor:
    """Return a picture as ``(C, W, H)`` in [0, 1]."""
    with Image.open(path) as picture:
        pixels = torch.tensor(np.asarray(picture), dtype=torch.float32) / 255
    return (pixels[..., None] if pixels.ndim == 2 else pixels).permute(2, 1, 0)


def _log(report: Mapping[str, Any]) -> None:
    distance, diversity, confidence = report["distance"], report["diversity"], report["confidence"]
    copies, unsure = report["dropped"].values()
    between = "unknown" if distance["training_images"] is None else f"{distance['training_images']['median']:.3f}"
    sure = "not asked" if confidence is None else f"{confidence['median']:.3f} (5 % below {confidence['5 %']:.3f})"
    logger.info(
        f"transfer set: {report['kept']} of {report['drawn']} samples kept; dropped {copies} copies of training images "
        f"and {unsure} of low confidence"
    )
    logger.info(
        f"distance to the nearest training image: median {distance['samples']['median']:.3f}, least "
        f"{distance['samples']['least']:.3f}; between training images {between}; copies are nearer than "
        f"{report['settings']['copy_threshold']} times the distance to the next patient's"
    )
    logger.info(
        f"diversity (Vendi score) of {diversity['images']} samples {diversity['samples']:.1f}, of as many training "
        f"images {diversity['training_images']:.1f}; teacher's confidence {sure}"
    )


# Contact sheet


def draw_contact_sheet(
    folder: str | os.PathLike, rows: Sequence[Mapping[str, Any]], training: TrainingImages
) -> Image.Image:
    """Draw the samples that are nearest to a training image, each with the part of it that it resembles to its right.

    That part is turned or mirrored as the sample is. The most similar pairs come first.

    Args:
        folder: has ``images``.
        rows: of all samples, with ``sample``, ``nearest``, ``distance``, ``box``, ``orientation`` and ``dropped``.
        training: the training images.
    """
    shown = sorted(rows, key=lambda row: row["distance"])[:_PAIRS]
    columns = min(_PAIRS_IN_ROW, len(shown))
    width, height = 2 * _TILE + _GAP, _TILE + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(shown) // columns) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, row in enumerate(shown):
        left, top = _GAP + index % columns * width, _GAP + index // columns * height
        with Image.open(Path(folder) / _file_of(row["sample"])) as picture:
            pair = [picture.convert("RGB"), _draw_match(training.images[row["nearest"]], row).convert("RGB")]
        for place, each in enumerate(pair):
            sheet.paste(each.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left + place * _TILE, top))
        state = f"dropped: {row['dropped']}" if row["dropped"] else "kept"
        captions = [f"{row['sample']:06d}, {state}, distance {row['distance']:.3f}", training.names[row["nearest"]]]
        for line, caption in enumerate(captions):
            where = (left, top + _TILE + line * _LINE + _LINE // 2)
            draw.text(where, _shorten(caption, draw, font), "firebrick" if row["dropped"] else "black", font, "lm")
    return sheet


def _draw_match(image: Tensor, row: Mapping[str, Any]) -> Image.Image:
    """Return the part of a training image ``(C, W, H)`` that a sample resembles, lying as the sample does."""
    top, left, height, width = row["box"]
    first, last = (max(0, round(top)), max(0, round(left))), (round(top + height), round(left + width))
    part = image[:, first[0] : last[0], first[1] : last[1]]
    return to_pictures(orient_back(part, row["orientation"])[None])[0]


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> str:
    """Return the text, or as much of its end as fits below a pair."""
    if draw.textlength(text, font) <= 2 * _TILE:
        return text
    while draw.textlength(f"…{text}", font) > 2 * _TILE:
        text = text[1:]
    return f"…{text}"
