"""The table of masks: how large each structure is, and which masks a person should look at first."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files.written import WrittenFiles
from common.prediction.doubt import doubt
from common.prediction.prediction import Prediction
from common.prediction.volume import VolumePrediction

NAME = "predictions.csv"
_PART = 2**20


class Table:
    """Collects a row for each picture, or for each volume and its slices.

    Args:
        classes: names by id, background first.
        of_volumes: whether lengths are known, so that areas of slices are in square millimetres too, and volumes in
            millilitres.
    """

    def __init__(self, classes: Sequence[str], of_volumes: bool = False) -> None:
        self.classes, self.of_volumes = tuple(classes), of_volumes
        self._groups: list[tuple[float, str, list[dict[str, object]]]] = []  # what belongs to one image, by its doubt

    def add_picture(self, image: str, mask: str, prediction: Prediction) -> float:
        """Add a picture, and return how much its mask should be doubted."""
        names: dict[str, object] = {"image": image, "mask": mask}
        row = names | self._pixels(_count(prediction.ids, len(self.classes))) | _judged(prediction)
        self._groups.append((prediction.doubt, image, [row]))
        return prediction.doubt

    def add_volume(self, image: str, mask: str, prediction: VolumePrediction) -> float:
        """Add a volume and its slices, and return how much its mask should be doubted.

        The confidence and the distance of a volume are the means of those slices that have a structure, or of all where
        none has.
        """
        names: dict[str, object] = {"image": image, "mask": mask}
        counts = [_count(each.ids, len(self.classes)) for each in prediction.slices]
        total, millilitres = np.sum(counts, axis=0), prediction.voxel_volume / 1000
        sure = float(np.mean([each.confidence for each in prediction.judged]))
        distances = [each.distance for each in prediction.judged if each.distance is not None]
        far = float(np.mean(distances)) if len(distances) == len(prediction.judged) else None
        whole = names | self._pixels(total) | self._sizes(total, "ml", millilitres)
        rows = [whole | _rounded(confidence=sure, distance=far, doubt=doubt(sure, far))]
        slices = zip(prediction.file_indices, counts, prediction.slices, strict=True)
        for index, count, each in sorted(slices, key=lambda part: -part[2].doubt):
            sizes = self._pixels(count) | self._sizes(count, "mm2", prediction.pixel_area)
            rows.append(names | {"slice": index} | sizes | _judged(each))
        self._groups.append((doubt(sure, far), image, rows))
        return doubt(sure, far)

    def write(self, path: Path, written: WrittenFiles) -> None:
        """Write the table as CSV in UTF-8, the most doubtful images first, as one of the files of predictions.

        Names that are no UTF-8 are written byte by byte, as the file system has them.

        Raises:
            InputError: if it cannot be written.
        """
        units = ("mm2", "ml") if self.of_volumes else ()
        sizes = [f"{name} {unit}" for name in self.classes[1:] for unit in ("pixels", *units)]
        place = ["slice"] if self.of_volumes else []
        columns = ["image", "mask", *place, *sizes, "confidence", "distance", "doubt"]
        with (
            written.new_file(path) as fresh,
            fresh.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            for _, _, rows in sorted(self._groups, key=lambda group: (-group[0], group[1])):
                writer.writerows(rows)

    def _pixels(self, counts: np.ndarray) -> dict[str, object]:
        return {f"{name} pixels": int(count) for name, count in zip(self.classes[1:], counts, strict=True)}

    def _sizes(self, counts: np.ndarray, unit: str, each: float) -> dict[str, object]:
        named = zip(self.classes[1:], counts, strict=True)
        return {f"{name} {unit}": round(float(count * each), 3) for name, count in named}


def _count(ids: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the pixels of each structure, a part after the other: ``bincount`` takes eight bytes for each pixel."""
    flat = ids.reshape(-1)
    parts = (flat[start : start + _PART] for start in range(0, flat.size, _PART))
    return sum((np.bincount(part, minlength=num_classes) for part in parts), np.zeros(num_classes, int))[1:]


def _judged(prediction: Prediction) -> dict[str, object]:
    return _rounded(confidence=prediction.confidence, distance=prediction.distance, doubt=prediction.doubt)


def _rounded(**values: float | None) -> dict[str, object]:
    return {name: "" if value is None else f"{value:.4f}" for name, value in values.items()}
