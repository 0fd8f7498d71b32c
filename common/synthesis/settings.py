"""The numbers that a transfer set is drawn by."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from common.configs.checks import check


@dataclass(frozen=True)
class TransferSetSettings:
    """The numbers that a transfer set is drawn by, under the names that they have in ``synthesize.yaml``.

    A sample is a copy if its distance to the nearest training image (``copy_search.find_nearest``) is less than
    ``copy_threshold`` times that to the nearest one of another patient. No fixed distance would do, since images of one
    kind are alike to begin with, and some are more alike than others. At 0.5, on PH2 at 64 pixels a side, 98 % or more
    of altered copies are found and none of 26 held-out images is taken for one; of compressed or noisy crops of DRIVE
    without vessels many are missed. A training image that is there twice, as of two patients, hides its copies.

    Args:
        num_images: images to keep. Samples that are dropped are replaced, until twice as many have been drawn.
        num_inference_steps: denoising steps.
        batch_size: images denoised together; every batch has its own seed, so this is part of what fixes the images.
        seed: of the noise.
        copy_threshold: see above, in [0, 1]; 0 drops no sample as a copy.
        max_strangeness: of a sample, in units of how far training images are from each other, see
            ``realism.RealImages``; None drops no sample for it.
        allow_unrealistic: keep samples that are stranger, and go on where more than half are.
        min_confidence: least confidence of the teacher, in [0, 1], see ``confidence.measure_confidence``; None drops no
            sample for it.

    Raises:
        InputError: naming every number that is out of range.
    """

    num_images: int
    num_inference_steps: int = 20
    batch_size: int = 16
    seed: int = 0
    copy_threshold: float = 0.5
    max_strangeness: float | None = None
    allow_unrealistic: bool = False
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        check(**asdict(self))
