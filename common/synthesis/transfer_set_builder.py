"""Draw a transfer set from a diffusion model: sample, drop copies and what is no image, sample again, report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from diffusers import DDPMPipeline
from torch import Tensor, nn

from common.errors import InputError
from common.files.atomic import check_replaceable, is_writer
from common.synthesis.drawn_labels import split_labels
from common.synthesis.input_fingerprints import fingerprint_inputs
from common.synthesis.observer import Observer
from common.synthesis.realism import Reference, look_at_training_images, measure_realism
from common.synthesis.sample_selection import Judgement, count_kept, describe_dropped, is_strange, judge_samples
from common.synthesis.sampling import sample
from common.synthesis.settings import TransferSetSettings
from common.synthesis.training_images import TrainingImages, distances_between_groups
from common.synthesis.transfer_set_report import write_reports
from common.synthesis.working_folder import WorkingFolder
from common.training.bar import counted

logger = logging.getLogger(__name__)

MAX_DRAWN = 2  # times the images asked for
JUDGED_BY = ["features", "spectra"]  # what was drawn by a version that knew less is not gone on with


class TransferSetBuilder:
    """Draws a transfer set, and reports on it.

    Written are ``images/000001.png`` and on, ``labels`` like them where the model draws these, too, ``datalist.json``,
    ``report.json``, ``samples.csv`` with a row for every sample that was drawn, and ``contact_sheet.png``, which shows
    training images beside the samples. Samples that are dropped are replaced by others, until twice the number asked
    for have been drawn.

    A run that was killed goes on where it stopped and ends with the same files, see :class:`WorkingFolder`. In a
    distributed run the ranks share the batches.

    Args:
        output_dir: the transfer set; an earlier one there is replaced.
        settings: how many images, and which to drop.
        pipeline: what :func:`common.synthesis.diffusion_folder.load_pipeline` returns.
        training_images: what the model was trained on.
        teacher: says how sure it is of each sample; None leaves that out.
        teacher_transform: applied to a sample ``(C, W, H)`` before the teacher gets it; None for nothing.
        device: where to sample.
        classes: of the labels that the model draws, the background first; None if it draws images alone.

    Raises:
        InputError: if ``min_confidence`` is given without a teacher.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        settings: TransferSetSettings,
        pipeline: DDPMPipeline,
        training_images: TrainingImages,
        teacher: nn.Module | None = None,
        teacher_transform: Callable[[Tensor], Tensor] | None = None,
        device: str | torch.device = "cpu",
        classes: Sequence[str] | None = None,
    ) -> None:
        if settings.min_confidence is not None and teacher is None:
            raise InputError("min_confidence needs a teacher: run finetune_teacher first, or leave it at null")
        self.output_dir = Path(output_dir)
        self.settings = settings
        self.pipeline = pipeline.to(device)
        self.training_images = training_images
        self.teacher = teacher
        self.teacher_transform = teacher_transform
        self.observer = Observer(teacher, teacher_transform, device)
        self.device = device
        self.classes = classes

    def build(self) -> None:
        """Draw the transfer set and write the reports.

        Raises:
            InputError: if ``output_dir`` holds something else than a transfer set, no sample is left, or more than half
                are no images of the kind that the model was trained on.
        """
        check_replaceable(self.output_dir, mark="report.json")
        inputs = fingerprint_inputs(self.pipeline, self.training_images, self.teacher, self.teacher_transform)
        kinds = {"classes": self.classes, "judged_by": JUDGED_BY}
        folder = WorkingFolder(self.output_dir, asdict(self.settings) | inputs | kinds)
        if is_writer():
            folder.open()
        idist.barrier()
        between_groups = distances_between_groups(self.training_images, self.device)
        if not len(between_groups):
            logger.warning(
                "all training images are of one patient or exam, so that there is no other to compare with: every "
                "sample that resembles them counts as a copy"
            )
        reference = self._look_at_training_images()
        judgements, features = self._draw(folder, reference)
        if not count_kept(judgements):
            raise InputError(
                f"none of the {len(judgements)} samples is left: {describe_dropped(judgements)}. Train the diffusion "
                "model on more images or for fewer epochs if they are copies, for longer if the teacher finds nothing "
                "in them, or lower copy_threshold or min_confidence"
            )
        if is_writer():
            realism = measure_realism(reference.real, features, [not each.dropped for each in judgements])
            write_reports(
                folder.path,
                judgements,
                self.training_images,
                between_groups,
                realism,
                folder.settings,
                classes=self.classes,
                training_foregrounds=reference.foregrounds,
            )
            folder.finish(dropped=[number for number, each in enumerate(judgements, start=1) if each.dropped])
        idist.barrier()

    def _look_at_training_images(self) -> Reference:
        reference = look_at_training_images(self.training_images, self.observer)
        if reference.real.usual is None and self.settings.max_strangeness is not None:
            logger.warning(
                "there is one training image, or all are alike: what is no image of this kind cannot be told, and "
                "max_strangeness drops nothing"
            )
        return reference

    def _draw(self, folder: WorkingFolder, reference: Reference) -> tuple[list[Judgement], Tensor]:
        """Draw samples until enough are kept or too many were drawn; return what is known of each, and its place."""
        number, batch_size = self.settings.num_images, self.settings.batch_size
        rank, world_size = idist.get_rank(), idist.get_world_size()
        judgements: list[Judgement] = []
        batches = 0
        while (missing := min(number - count_kept(judgements), MAX_DRAWN * number - len(judgements))) > 0:
            starts = range(0, missing, batch_size)
            mine = range(rank, len(starts), world_size)
            for index in counted(mine, "batch"):
                first = len(judgements) + 1 + starts[index]
                count = min(batch_size, missing - starts[index])
                self._draw_batch(folder, reference, batches + index, range(first, first + count))
            idist.barrier()
            for index in range(len(starts)):
                judgements += folder.read_judgements(batches + index)
            batches += len(starts)
            self._check_real(judgements)
        return judgements, torch.cat([folder.read_features(batch) for batch in range(batches)])

    def _check_real(self, judgements: Sequence[Judgement]) -> None:
        """Stop where most samples are no images, or say that they are.

        Raises:
            InputError: if more than half are, unless ``allow_unrealistic`` is set.
        """
        strange = sum(is_strange(self.settings, each.strangeness) for each in judgements)
        if 2 * strange <= len(judgements):
            return
        found = (
            f"{strange} of {len(judgements)} samples are no images of the kind that the diffusion model was trained "
            f"on: they are more than {self.settings.max_strangeness:g} times (max_strangeness) as far from the "
            "training images as these are from each other"
        )
        if not self.settings.allow_unrealistic:
            raise InputError(
                f"{found}. Train the diffusion model for longer (--epochs, or --samples_per_epoch) or on more images; "
                "--allow_unrealistic true goes on, with them"
            )
        logger.warning(f"{found}; they are kept, since allow_unrealistic is set")

    def _draw_batch(self, folder: WorkingFolder, reference: Reference, batch: int, numbers: range) -> None:
        """Draw and judge the samples of these numbers, unless an earlier run has."""
        if folder.has_batch(batch, numbers):
            return
        samples = sample(
            self.pipeline.unet,
            self.pipeline.scheduler,
            len(numbers),
            self.pipeline.unet.config.sample_size,
            num_inference_steps=self.settings.num_inference_steps,
            generator=_batch_generator(self.settings.seed, batch),
            batch_size=len(numbers),
        )
        drawn = split_labels(samples, self.training_images.crops.shape[1])
        images = (drawn.images * 255).round() / 255  # what is judged is what the files hold
        observation = self.observer.observe(images)
        places = reference.space.place(observation)
        strangeness = reference.real.strangeness(places)
        judgements = judge_samples(images, self.training_images, self.settings, observation, strangeness)
        folder.write_batch(batch, numbers, drawn._replace(images=images), places, judgements)


def _batch_generator(seed: int, batch: int) -> torch.Generator:
    # Sums and products of the two would give batches of different seeds the same noise.
    state = np.random.SeedSequence([seed, batch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
