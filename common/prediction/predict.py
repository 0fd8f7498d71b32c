"""The command ``predict``: images in, masks out, with a student as its weights say that it wants them."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from common.datasets.readers.image_files import ImageFiles
from common.datasets.readers.input_files import InputFiles
from common.datasets.readers.pictures import read_picture
from common.errors import InputError
from common.evaluation.outcome import MAX_NAMED, Outcome
from common.files.writing import explained
from common.files.written import WrittenFiles
from common.prediction.base import Student
from common.prediction.colours import Colours
from common.prediction.picture import PictureSegmenter
from common.prediction.results import Results
from common.prediction.student import open_student
from common.prediction.table import NAME, Table
from common.training import logs

logger = logging.getLogger(__name__)
_LOG = "predict"
_OVERLAP = 0.5
_MOST_NAMED = 3  # images that a person should look at first


def predict(
    images: str | os.PathLike,
    weights: str | os.PathLike,
    output_dir: str | os.PathLike,
    format: Literal["auto", "png", "nifti", "dicom-seg"] = "auto",
    overlays: bool = False,
    table: bool = False,
    palette: bool = False,
    probabilities: bool = False,
    bundle: str | os.PathLike | None = None,
    size: int | None = None,
    overlap: float | None = None,
    device: str | None = None,
) -> None:
    """Segment images with a student: one mask for each, in its size and place, class ids as values.

    The student is used as its weights say: images are resized to the size that it was trained with, or seen crop by
    crop, and masks are resized back. One image that cannot be read, or whose mask cannot be written, stops no other;
    the last line says how many masks there are and what was left out.

    Args:
        images: a folder of pictures at any depth, or one picture; for a student of slices NIfTI files, folders of DICOM
            slices, or a folder with any number of both.
        weights: model.pt of a training, the folder of a release or of a run, or model.onnx of a release, for which
            PyTorch is not needed.
        output_dir: where masks are written, in the folders of the input: <image>_mask.png, or <volume>_mask.nii.gz. One
            run at a time; only what predict wrote is replaced.
        format: of masks; auto is png for pictures and nifti for volumes. nifti of a picture has pixels of 1 mm;
            dicom-seg is one DICOM Segmentation for each DICOM series, and takes highdicom.
        overlays: write <image>_overlay.png, the image with its mask drawn on it; of a volume, one slice.
        table: write predictions.csv, with the size of each structure in pixels, and in square millimetres and
            millilitres where these are known; with the confidence of the student, how far the image is from those that
            it was trained on, and the doubt that follows. The most doubtful images come first.
        palette: give PNG masks colours for viewers; their values stay class ids.
        probabilities: write <image>_probabilities.npz, the probability of each class for each pixel, float16.
        bundle: folder of the bundle that the weights were trained with, where they do not say enough themselves.
        size: width and height in pixels that the student was trained with, where its weights do not say it.
        overlap: of neighbouring crops, as a share of their size, by default 0.5; less is faster. For students of crops
            alone.
        device: to run PyTorch on, such as cpu or cuda:1; by default a GPU where there is one.

    Raises:
        InputError: if there is nothing to segment, the weights cannot be used, or, after all other masks have been
            written, if any image was left out.
    """
    if overlap is not None and not 0 <= overlap < 1:
        raise InputError(f"--overlap: expected a share from 0 to below 1, got {overlap}")
    student = open_student(weights, bundle, size=size, device=device)
    if overlap is not None and student.recipe.sees != "crops":
        raise InputError(f"--overlap: is of crops, and the student sees whole {student.recipe.sees}; leave it out")
    inputs = _find(images, student)
    logs.start(output_dir, _LOG)
    try:
        written = WrittenFiles(Path(output_dir))
        results = Results(inputs, written, student.recipe, format, palette)
        path = written.folder / NAME
        results.check_free(overlays, probabilities, [path] if table else [])
        results.say_if_among_images()
        run = _Run(student, inputs, results, _OVERLAP if overlap is None else overlap, overlays, probabilities)
        if table:
            with explained(path):
                path.unlink(missing_ok=True)  # it would be of other masks if this run were cut off
        try:
            run.segment_all()
            if table:
                run.table.write(path, written)
        finally:
            written.warn_of_earlier()
        run.report()
    finally:
        logs.stop(output_dir)
    run.outcome.raise_if_incomplete()
    print(run.outcome.count())


def _find(images: str | os.PathLike, student: Student) -> InputFiles:
    if student.recipe.sees != "slices":
        return ImageFiles(images, key="images")
    from common.datasets.readers.volume_files import VolumeFiles  # here because pictures need no pydicom

    return VolumeFiles(images, key="images", dicom_modality=student.recipe.dicom_modality)


def _volume_segmenter(student: Student, keep: bool) -> Callable[..., Any]:
    from common.prediction.volume import VolumeSegmenter  # see _find

    return VolumeSegmenter(student, keep)


class _Run:
    """Segments all inputs, and keeps what is to be said of them."""

    def __init__(
        self, student: Student, inputs: InputFiles, results: Results, overlap: float, overlays: bool, keep: bool
    ) -> None:
        of_volumes = student.recipe.sees == "slices"
        self.inputs, self.results, self.overlays, self.keep = inputs, results, overlays, keep
        self.segmenter: Callable[..., Any]
        self.segmenter = _volume_segmenter(student, keep) if of_volumes else PictureSegmenter(student, overlap, keep)
        self.segment = self._segment_volume if of_volumes else self._segment_picture
        self.outcome = Outcome(inputs, results.output_dir, f"{_LOG}.log")
        self.table = Table(student.recipe.classes, of_volumes)
        self.colours = Colours(student.recipe.in_channels)
        self.doubts: dict[Path, float] = {}
        self.seconds = 0.0

    def segment_all(self) -> None:
        """Segment input after input; one that fails is left out.

        Raises:
            InputError: if the disk is full.
        """
        start = time.monotonic()
        # The bar of a terminal says how many images a second; a file that output goes to gets none.
        for source in tqdm(
            self.inputs.found, unit=f" {self.inputs.noun}", disable=not sys.stderr.isatty(), leave=False
        ):
            try:
                self.segment(source)
            except Exception as error:
                self.outcome.leave_out(source, error)
        self.seconds = time.monotonic() - start

    def report(self) -> None:
        """Say what a user should know of the inputs, which masks to look at first, and how fast this was."""
        self.outcome.look_again()
        self.outcome.log_remarks()
        self.colours.warn()
        if len(self.outcome.left_out) > MAX_NAMED:  # more than the last line names
            self.outcome.log_reasons()
        worst = sorted(self.doubts, key=lambda source: -self.doubts[source])[:_MOST_NAMED]
        if len(self.doubts) > _MOST_NAMED:
            named = ", ".join(f"{self.inputs.short(source)} ({self.doubts[source]:.2f})" for source in worst)
            print(f"look at these first, by their doubt from 0 to 1: {named}")
        if self.doubts:
            print(f"{len(self.doubts) / max(self.seconds, 1e-9):.3g} {self.inputs.noun}s a second")

    def _segment_picture(self, source: Path) -> None:
        image = read_picture(source)
        self.colours.add(self.inputs.short(source), image)
        prediction = self.segmenter(image)
        mask = self.results.write_picture(source, prediction)
        self.outcome.written[mask] = source
        self.doubts[source] = self.table.add_picture(self.inputs.name_of(source), self._short(mask), prediction)
        if self.overlays:
            self.results.draw_picture(source, image, prediction)
        if self.keep:
            self.results.write_probabilities(source, prediction)

    def _segment_volume(self, source: Path) -> None:
        from common.datasets.readers.volume_values import read_volume_values  # see _find

        prediction = self.segmenter(*read_volume_values(source))
        mask = self.results.write_volume(source, prediction)
        self.outcome.written[mask] = source
        self.doubts[source] = self.table.add_volume(self.inputs.name_of(source), self._short(mask), prediction)
        if self.overlays:
            self.results.draw_volume(source, prediction)
        if self.keep:
            self.results.write_probabilities(source, prediction)

    def _short(self, mask: Path) -> str:
        return str(mask.relative_to(self.results.output_dir))
