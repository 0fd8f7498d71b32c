"""Read a transfer set."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from common.datasets.issues import Faults
from common.datasets.readers.images import read_image
from common.datasets.splits import repeat
from common.errors import InputError


def transfer_set(
    folder: str | os.PathLike, in_channels: int, num_transfer: int | None = None, length: int | None = None
) -> list[dict[str, str]]:
    """Return the images of a transfer set as a MONAI datalist.

    Args:
        folder: what synthesize wrote.
        in_channels: channels that the images must have.
        num_transfer: number of images to use, the first so many; ``None`` takes all.
        length: of the datalist, for which images are repeated, so that transfer sets of several sizes can be compared
            with equal steps; ``None`` has each once.

    Raises:
        InputError: if the folder is no transfer set, is empty, or lacks a file that its ``datalist.json`` lists, or if
            ``num_transfer`` is out of range or ``length`` is less than it, and if images cannot be read, have another
            number of channels, or are not all of one size; all at once.
    """
    folder = Path(folder)
    listing = folder / "datalist.json"
    if not listing.is_file():
        raise InputError(f"there is no transfer set in {folder} (no datalist.json): run synthesize first")
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))["training"]
        files = [folder / entry["image"] for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listing} is damaged ({error!r}): run synthesize again") from error
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        what = f"{len(missing)} of its images are missing, first {missing[0]}" if missing else "it lists no images"
        raise InputError(f"{folder} is no complete transfer set: {what}; run synthesize again")
    if num_transfer is not None and not 1 <= num_transfer <= len(files):
        raise InputError(
            f"num_transfer must be between 1 and the {len(files)} images of the transfer set in {folder}, got "
            f"{num_transfer}; synthesize draws more with a larger num_images, but where its report.json counts many "
            "copies of training images, take more labelled images or a shorter train_diffusion"
        )
    _check_alike(folder, files, in_channels)
    entries = [{"image": str(file)} for file in files[:num_transfer]]
    if length is None:
        return entries
    if length < len(entries):
        raise InputError(f"transfer_length: must be at least the {len(entries)} images that are used, got {length}")
    return repeat(entries, length)


def _check_alike(folder: Path, files: list[Path], in_channels: int) -> None:
    faults = Faults("transfer set", folder)
    found = {}
    for file in files:
        with faults.collect():
            picture = read_image(file)
            found[file.relative_to(folder).as_posix()] = (len(picture.getbands()), picture.size)
    sizes = Counter(size for _, size in found.values())
    for name, (channels, size) in found.items():
        if channels != in_channels:
            what = f"{channels} channel{'s' * (channels > 1)}"
            faults.add(f"{name}: has {what}, expected {in_channels}; run synthesize again")
        [(usual, _)] = sizes.most_common(1)
        if size != usual:
            each, others = ("{} x {}".format(*pixels) for pixels in (size, usual))
            faults.add(f"{name}: is {each}, most others are {others} pixels; run synthesize again")
    faults.raise_if_any()


def _file_of(index: int) -> str:
    return f"images/{index:06d}.png"


def _scores_of(partial: Path, batch: int) -> Path:
    return partial / f"scores/{batch:06d}.json"
