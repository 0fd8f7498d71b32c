"""The folder in which a transfer set is drawn, and from which a run that was killed goes on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.errors import InputError
from common.files.atomic import atomic_file, write_json
from common.files.json_files import read_json
from common.synthesis.drawn_labels import Drawn, to_label_picture
from common.synthesis.pictures import to_pictures, write_png
from common.synthesis.sample_selection import Judgement
from common.synthesis.transfer_set import image_name, label_name

logger = logging.getLogger(__name__)


class WorkingFolder:
    """``<output_dir>.partial``, which becomes ``output_dir`` when the transfer set is complete.

    It holds ``images``, ``labels``, ``judgements`` with a file for each batch, and ``settings.json``, by which a later
    run knows whether it may go on with them. Every file is written atomically. The lock of the run's folder keeps a
    second run out.

    Args:
        output_dir: the transfer set.
        settings: all that fixes the images, as JSON can hold it.
    """

    def __init__(self, output_dir: Path, settings: Mapping[str, Any]) -> None:
        self.output_dir = output_dir
        self.path = output_dir.with_name(f"{output_dir.name}.partial")
        self.settings = dict(settings)

    def open(self) -> None:
        """Keep what a run with the same settings left, start over otherwise."""
        if self.path.exists():
            if self._settings_found() == self.settings:
                logger.info("going on with the images in %s", self.path)
                return
            logger.warning(
                "%s was left by a run with other settings, models or training images: starting over", self.path
            )
            shutil.rmtree(self.path)
        for name in ("images", "labels", "judgements"):
            (self.path / name).mkdir(parents=True)
        write_json(self.path / "settings.json", self.settings)

    def _settings_found(self) -> Any:
        try:
            return read_json(self.path / "settings.json")
        except (OSError, ValueError):  # killed before it was written
            return None

    def has_batch(self, batch: int, numbers: Iterable[int]) -> bool:
        """Say whether a batch, and the samples of these numbers in it, were drawn and judged."""
        files = (self._judgements(batch), self._features(batch), *map(self._image, numbers))
        return all(file.is_file() for file in files)  # judgements are written last, after any labels

    def write_batch(
        self, batch: int, numbers: Sequence[int], drawn: Drawn, features: Tensor, judgements: Sequence[Judgement]
    ) -> None:
        """Write a batch.

        Args:
            batch: its number.
            numbers: those of its samples.
            drawn: the images, and their labels if there are any.
            features: ``(B, D)``.
            judgements: one for each sample.
        """
        for number, picture in zip(numbers, to_pictures(drawn.images), strict=True):
            write_png(picture, self._image(number))
        if drawn.labels is not None:
            for number, label in zip(numbers, drawn.labels, strict=True):
                write_png(to_label_picture(label), self._label(number))
        with atomic_file(self._features(batch)) as fresh:
            save_file({"features": features.contiguous()}, fresh)
        write_json(self._judgements(batch), [asdict(each) for each in judgements])

    def read_judgements(self, batch: int) -> list[Judgement]:
        """Return what is known of the samples of a batch.

        Raises:
            InputError: if its file is damaged.
        """
        path = self._judgements(batch)
        try:
            return [Judgement(**each) for each in read_json(path)]
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} cannot be read ({error}); delete {self.path}, and synthesize again") from error

    def read_features(self, batch: int) -> Tensor:
        """Return the features ``(B, D)`` of the samples of a batch.

        Raises:
            InputError: if their file is damaged.
        """
        path = self._features(batch)
        try:
            return load_file(path)["features"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(f"{path} cannot be read ({error}); delete {self.path}, and synthesize again") from error

    def finish(self, dropped: Iterable[int]) -> None:
        """Delete the samples of these numbers and the files for resuming, and move the folder to ``output_dir``.

        An earlier transfer set there is deleted only after that.
        """
        for number in dropped:
            self._image(number).unlink(missing_ok=True)
            self._label(number).unlink(missing_ok=True)
        labels = self.path / "labels"
        if labels.is_dir() and not any(labels.iterdir()):
            labels.rmdir()
        shutil.rmtree(self.path / "judgements")
        (self.path / "settings.json").unlink()
        outdated = self.output_dir.with_name(f"{self.output_dir.name}.outdated")
        shutil.rmtree(outdated, ignore_errors=True)
        if self.output_dir.exists():
            self.output_dir.rename(outdated)
        self.path.rename(self.output_dir)
        shutil.rmtree(outdated, ignore_errors=True)

    def _image(self, number: int) -> Path:
        return self.path / image_name(number)

    def _label(self, number: int) -> Path:
        return self.path / label_name(number)

    def _features(self, batch: int) -> Path:
        return self.path / f"judgements/{batch:06d}.safetensors"

    def _judgements(self, batch: int) -> Path:
        return self.path / f"judgements/{batch:06d}.json"
