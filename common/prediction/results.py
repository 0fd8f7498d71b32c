"""What is written of a prediction, how it is named, and in what format; each file whole, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.datasets.readers.input_files import InputFiles, without_suffix
from common.errors import InputError
from common.files.written import WrittenFiles
from common.pictures.overlay import draw_mask
from common.pictures.palette import mask_palette
from common.prediction.intensity import scale
from common.prediction.prediction import Prediction
from common.prediction.recipe import Recipe
from common.prediction.volume import VolumePrediction
from common.transforms.nifti_masks import picture_mask, volume_mask, write_compressed

logger = logging.getLogger(__name__)

FORMATS = ("auto", "png", "nifti", "dicom-seg")
_SUFFIXES = {"png": ".png", "nifti": ".nii.gz", "dicom-seg": ".dcm"}
_OVERLAY, _PROBABILITIES = "_overlay.png", "_probabilities.npz"
_MOST_SHOWN = 1600  # pixels of the longer side of an overlay


class Results:
    """Writes masks, overlays and probabilities into the folders of the input.

    Args:
        inputs: what is segmented.
        written: the files in the folder where results go.
        recipe: of the student.
        format: of masks, one of ``FORMATS``; ``auto`` is PNG for pictures, and NIfTI for volumes.
        palette: whether PNG masks have colours, which do not change their class ids.

    Raises:
        InputError: if inputs of this kind have no masks of this format.
    """

    def __init__(
        self, inputs: InputFiles, written: WrittenFiles, recipe: Recipe, format: str = "auto", palette: bool = False
    ) -> None:
        self.inputs, self.written, self.classes = inputs, written, recipe.classes
        self.output_dir = written.folder
        self.intensity = recipe.intensity
        self.format = _chosen(format, recipe.sees == "slices")
        if palette and self.format != "png":
            raise InputError(f"--palette: masks in the format {self.format} have no colours; only PNG has a palette")
        self._mask_ending = f"_mask{_SUFFIXES[self.format]}"
        self.palette = mask_palette(len(recipe.classes)) if palette else None

    def check_free(self, overlays: bool, probabilities: bool, others: Sequence[Path] = ()) -> None:
        """Refuse to begin where a result would replace what no prediction has written, or be taken for a slice.

        Args:
            overlays: whether these are going to be written.
            probabilities: whether these are.
            others: what else is.

        Raises:
            InputError: naming it.
        """
        endings = [self._mask_ending, *([_OVERLAY] if overlays else []), *([_PROBABILITIES] if probabilities else [])]
        paths = [self.path_of(source, ending) for source in self.inputs.found for ending in endings]
        self.written.refuse_foreign([*paths, *others])
        series = {source.resolve() for source in self.inputs.found if source.is_dir()}
        inside = [path for path in paths if self.format == "dicom-seg" and path.parent.resolve() in series]
        if inside:
            raise InputError(
                f"--output_dir {self.output_dir}: {inside[0]} would lie among the slices of a series, and be taken for "
                "one of them; choose another --output_dir"
            )

    def say_if_among_images(self) -> None:
        """Say where masks are going to lie, where that is beside what is segmented."""
        if self.output_dir.resolve() == self.inputs.root.resolve():
            example = self.path_of(self.inputs.found[0], self._mask_ending)
            logger.info(
                f"masks are written among the {self.inputs.noun}s in {self.output_dir}, as {example.name}; another "
                "--output_dir keeps them apart"
            )

    def path_of(self, source: Path, ending: str) -> Path:
        """Return where a result of an input is written, such as ``_mask.png``."""
        named = without_suffix(source)
        return self.output_dir / named.relative_to(self.inputs.root).with_name(named.name + ending)

    def write_picture(self, source: Path, prediction: Prediction) -> Path:
        """Write the mask of a picture, and return its path.

        Raises:
            InputError: if it cannot be written, as :meth:`WrittenFiles.new_file` has it.
        """
        path = self.path_of(source, self._mask_ending)
        with self.written.new_file(path) as fresh:
            if self.format == "nifti":
                write_compressed(picture_mask(prediction.ids), fresh)
                return path
            mask = Image.fromarray(prediction.ids)
            if self.palette is not None:
                mask.putpalette(self.palette)
            mask.save(fresh, format="PNG")
        return path

    def write_volume(self, source: Path, prediction: VolumePrediction) -> Path:
        """Write the mask of a volume, and return its path.

        Raises:
            InputError: if it cannot be written, or a DICOM series lacks what its Segmentation refers to.
        """
        if self.format == "dicom-seg" and not source.is_dir():
            raise InputError(f"{source}: is no DICOM series, of which alone there is a DICOM Segmentation")
        path = self.path_of(source, self._mask_ending)
        with self.written.new_file(path) as fresh:
            if self.format == "dicom-seg":
                from common.prediction.dicom_seg import write_segmentation  # here because pictures need no pydicom

                write_segmentation(prediction.ids, source, self.classes, fresh)
            else:
                write_compressed(volume_mask(prediction.ids, source, prediction.file_affine), fresh)
        return path

    def write_probabilities(self, source: Path, prediction: Prediction | VolumePrediction) -> None:
        """Write a NumPy archive of ``probabilities``, float16, classes before the axes of the mask, and ``classes``.

        Raises:
            InputError: if it cannot be written.
        """
        probabilities = prediction.probabilities
        assert probabilities is not None  # they were asked for
        with self.written.new_file(self.path_of(source, _PROBABILITIES)) as fresh, fresh.open("wb") as file:
            np.savez_compressed(file, probabilities=probabilities, classes=np.array(self.classes))

    def draw_picture(self, source: Path, image: Image.Image, prediction: Prediction) -> None:
        """Write a picture with its mask drawn on it.

        Raises:
            InputError: if it cannot be written.
        """
        step = -(-max(image.size) // _MOST_SHOWN)
        shown = image if image.mode in ("L", "RGB") else image.convert("RGB")
        shown = shown.reduce(step) if step > 1 else shown
        self._draw(source, np.asarray(shown), prediction.ids[::step, ::step], self.inputs.short(source))

    def draw_volume(self, source: Path, prediction: VolumePrediction) -> None:
        """Write the slice of a volume that has most of its structures, with its mask drawn on it.

        Raises:
            InputError: if it cannot be written.
        """
        sizes = [np.count_nonzero(each.ids) for each in prediction.slices]
        index = int(np.argmax(sizes)) if any(sizes) else len(sizes) // 2
        shown = (255 * scale(prediction.values[..., index], self.intensity)).astype(np.uint8).T
        title = f"{self.inputs.short(source)}, slice {prediction.file_indices[index]}"
        self._draw(source, shown, prediction.slices[index].ids.T, title)

    def _draw(self, source: Path, shown: np.ndarray, ids: np.ndarray, title: str) -> None:
        with self.written.new_file(self.path_of(source, _OVERLAY)) as fresh:
            draw_mask(shown, ids, self.classes, title).save(fresh, format="PNG")


def _chosen(format: str, of_volumes: bool) -> str:
    if format not in FORMATS:
        raise InputError(f"--format: expected one of {', '.join(FORMATS)}, got {format!r}")
    if format == "auto":
        return "nifti" if of_volumes else "png"
    if format == "png" and of_volumes:
        raise InputError("--format png: masks of volumes have as many slices as these; take nifti")
    if format == "dicom-seg":
        if not of_volumes:
            raise InputError("--format dicom-seg: there is one of DICOM series alone; take png for pictures")
        from common.prediction.dicom_seg import check_highdicom  # here because pictures need no pydicom

        check_highdicom()
    return format
