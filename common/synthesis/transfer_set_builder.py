"""Draw a transfer set from a diffusion model: sample, drop copies of training images, sample again, report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from diffusers import DDPMPipeline
from torch import Tensor, nn

from common.errors import InputError
from common.files.atomic import check_replaceable, is_writer
from common.synthesis.input_fingerprints import fingerprint_inputs
from common.synthesis.sample_selection import Judgement, count_kept, describe_dropped, judge_samples
from common.synthesis.sampling import sample
from common.synthesis.settings import TransferSetSettings
from common.synthesis.training_images import TrainingImages, distances_between_groups
from common.synthesis.transfer_set_report import write_reports
from common.synthesis.working_folder import WorkingFolder
from common.training.bar import counted

logger = logging.getLogger(__name__)

MAX_DRAWN = 2  # times the images asked for


class TransferSetBuilder:
    """Draws a transfer set, and reports on it.

    Written are ``images/000001.png`` and on, ``datalist.json``, ``report.json``, ``samples.csv`` with a row for every
    sample that was drawn, and ``contact_sheet.png``, which shows training images beside the samples. Samples that are
    dropped are replaced by others, until twice the number asked for have been drawn.

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
    ) -> None:
        if settings.min_confidence is not None and teacher is None:
            raise InputError("min_confidence needs a teacher: run finetune_teacher first, or leave it at null")
        self.output_dir = Path(output_dir)
        self.settings = settings
        self.pipeline = pipeline.to(device)
        self.training_images = training_images
        self.teacher = None if teacher is None else teacher.to(device)
        self.teacher_transform = teacher_transform
        self.device = device

    def build(self) -> None:
        """Draw the transfer set and write the reports.

        Raises:
            InputError: if ``output_dir`` holds something else than a transfer set, or no sample is left.
        """
        check_replaceable(self.output_dir, mark="report.json")
        inputs = fingerprint_inputs(self.pipeline, self.training_images, self.teacher, self.teacher_transform)
        folder = WorkingFolder(self.output_dir, asdict(self.settings) | inputs)
        if is_writer():
            folder.open()
        idist.barrier()
        between_groups = distances_between_groups(self.training_images, self.device)
        if not len(between_groups):
            logger.warning(
                "all training images are of one patient or exam, so that there is no other to compare with: every "
                "sample that resembles them counts as a copy"
            )
        judgements = self._draw(folder)
        if not count_kept(judgements):
            raise InputError(
                f"none of the {len(judgements)} samples is left: {describe_dropped(judgements)}. Train the diffusion "
                "model on more images or for fewer epochs if they are copies, for longer if the teacher finds nothing "
                "in them, or lower copy_threshold or min_confidence"
            )
        if is_writer():
            write_reports(folder.path, judgements, self.training_images, between_groups, folder.settings)
            folder.finish(dropped=[number for number, each in enumerate(judgements, start=1) if each.dropped])
        idist.barrier()

    def _draw(self, folder: WorkingFolder) -> list[Judgement]:
        """Draw samples until enough are kept or too many were drawn, and return what is known of each."""
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
                self._draw_batch(folder, batches + index, range(first, first + count))
            idist.barrier()
            for index in range(len(starts)):
                judgements += folder.read_judgements(batches + index)
            batches += len(starts)
        return judgements

    def _draw_batch(self, folder: WorkingFolder, batch: int, numbers: range) -> None:
        """Draw and judge the samples of these numbers, unless an earlier run has."""
        if folder.has_batch(batch, numbers):
            return
        images = sample(
            self.pipeline.unet,
            self.pipeline.scheduler,
            len(numbers),
            self.pipeline.unet.config.sample_size,
            num_inference_steps=self.settings.num_inference_steps,
            generator=_batch_generator(self.settings.seed, batch),
            batch_size=len(numbers),
        )
        images = (images * 255).round() / 255  # what is judged is what the files hold
        judgements = judge_samples(images, self.training_images, self.settings, self.teacher, self.teacher_transform)
        folder.write_batch(batch, numbers, images, judgements)


def _batch_generator(seed: int, batch: int) -> torch.Generator:
    # Sums and products of the two would give batches of different seeds the same noise.
    state = np.random.SeedSequence([seed, batch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
