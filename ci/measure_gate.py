"""Measure the gate of synthesize: which images it takes for real ones, at the size at which they are drawn.

``python ci/measure_gate.py BUNDLE --dataset_dir DATA [--teacher FOLDER] [--size 64] [--num_labels N] [--split_seed 0]
[--overlay cpu] [--others DATA_OF_ANOTHER ...] [--diffusion FOLDER ...]``

Its measure is the strangeness of ``common/synthesis/realism.py`` among the training images, by the features of the
fine-tuned teacher in FOLDER and by grain. What is judged: held-out images (those for validation and test), as they are
and blurred; noise; images of other datasets, by their folders of pictures; and samples of diffusion models, by their
folders. A row each: how many would be kept, median and 95 % of the strangeness, precision, recall, density and
coverage.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

LIMIT = 1.5
DRAWN = 64  # samples of each model


def main() -> None:
    """Print a row for each kind of images."""
    logging.getLogger("common").setLevel(logging.WARNING)
    given = _read_options()
    from common.synthesis.diffusion_folder import load_pipeline
    from common.synthesis.observer import Observer
    from common.synthesis.realism import look_at_training_images
    from common.synthesis.sampling import sample

    parser = _parse(given)
    training = parser.get_parsed_content("training::images")
    observer = Observer(parser.get_parsed_content("teacher"), parser.get_parsed_content("teacher_transform"))
    real, space, _ = look_at_training_images(training, observer)
    data = parser.get_parsed_content("data")
    held_out = _read(parser, [*data.entries("validation"), *data.entries("test")])
    channels = held_out.shape[1]
    kinds = {
        "held-out images": held_out,
        "the same, blurred by 1 pixel": _blur(held_out, 1),
        "by 2 pixels": _blur(held_out, 2),
        "by 4 pixels": _blur(held_out, 4),
        "with noise of 10 %": (held_out + 0.1 * torch.randn_like(held_out)).clamp(0, 1),
        "noise": torch.rand_like(held_out),
        "noise with their colours": (held_out.mean((2, 3), keepdim=True) + 0.2 * torch.randn_like(held_out)).clamp(
            0, 1
        ),
    }
    kinds |= {f"images in {folder}": _read_pictures(folder, channels, given.size) for folder in given.others}
    for folder in given.diffusion:
        pipeline = load_pipeline(folder, channels)
        generator = torch.Generator().manual_seed(0)
        drawn = sample(
            pipeline.unet, pipeline.scheduler, DRAWN, pipeline.unet.config.sample_size, 20, generator, batch_size=32
        )
        kinds[f"samples of {folder}"] = drawn[:, :channels]
    print(f"{len(training.crops)} training images; kept are those of a strangeness up to {LIMIT}")
    mark = real.mark()
    print("| images | number | kept | strangeness, median | 95 % | precision | recall | density | coverage |")
    print("| --- " * 9 + "|")
    if mark:
        cells = ["training images among themselves", str(len(training.crops)), "", "", "", *_numbers(mark)]
        print("| " + " | ".join(cells) + " |")
    for name, images in kinds.items():
        features = space.place(observer.observe(images))
        strangeness = torch.tensor(real.strangeness(features))
        kept = f"{(strangeness <= LIMIT).double().mean():.0%}"
        spread = [f"{strangeness.quantile(share):.2f}" for share in (0.5, 0.95)]
        cells = [name, str(len(images)), kept, *spread, *_numbers(real.measure(features))]
        print("| " + " | ".join(cells) + " |", flush=True)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dataset_dir", required=True)
    parser.add_argument("--teacher", type=Path, help="what finetune_teacher wrote; without it, the stand-in judges")
    parser.add_argument("--pretrained", default="lite_medsam")
    parser.add_argument("--overlay", default="cpu")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--num_labels", type=int)
    parser.add_argument("--split_seed", type=int, default=0)
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    parser.add_argument("--diffusion", type=Path, nargs="*", default=[])
    return parser.parse_args()


def _parse(given: argparse.Namespace) -> ConfigParser:
    """Return the stage synthesize of the bundle, with this teacher, and a size in place of a diffusion model's."""
    parser = ConfigParser()
    configs = given.bundle / "configs"
    parser.read_config([str(configs / f"{name}.yaml") for name in ("synthesize", given.overlay)])
    values = {"num_labels": given.num_labels, "split_seed": given.split_seed, "pretrained": given.pretrained}
    values |= {"bundle_root": str(given.bundle), "dataset_dir": given.dataset_dir, "drawn_size": given.size}
    for key, value in values.items():
        parser[key] = value
    parser["data::manifest"] = None
    teacher = f"$teacher_folder.load_teacher({str(given.teacher)!r}, @pretrained, @teacher_network_def)"
    parser["teacher"] = teacher if given.teacher else None
    return parser


def _read(parser: ConfigParser, entries: list[dict]) -> torch.Tensor:
    """Return images as the training images are read, crops of their middle where samples are crops."""
    from monai.transforms import CenterSpatialCrop

    prepare, size = parser.get_parsed_content("training::preprocessing"), parser.get_parsed_content("drawn_size")
    images = [torch.as_tensor(prepare(entry)["image"]) for entry in entries]
    return torch.stack([CenterSpatialCrop([size, size])(image) for image in images])


def _read_pictures(folder: Path, channels: int, size: int) -> torch.Tensor:
    files = sorted(file for kind in ("png", "jpg", "bmp", "tif") for file in folder.rglob(f"*.{kind}"))
    found = []
    for file in [file for file in files if "mask" not in file.stem and "lesion" not in file.stem][:DRAWN]:
        with Image.open(file) as picture:
            small = picture.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BOX)
        found.append(torch.tensor(np.asarray(small)).float() / 255)
    images = torch.stack(found)
    return images[:, None].transpose(2, 3) if channels == 1 else images.permute(0, 3, 2, 1)


def _blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = round(3 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum()).expand(images.shape[1], 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    rows = F.conv2d(padded, line[:, :, None], groups=images.shape[1])
    return F.conv2d(rows, line[..., None], groups=images.shape[1])


def _numbers(measures: dict[str, float] | None) -> list[str]:
    return ["-"] * 4 if measures is None else [f"{value:.2f}" for value in measures.values()]


if __name__ == "__main__":
    main()
