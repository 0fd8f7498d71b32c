"""Copies of the bundles, made small enough to be trained within seconds, and pictures to use them on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

DATASETS = ("drive", "ph2", "autooral", "kidneyus", "busi", "chaos")
_TINY = {"hidden_size": 24, "depth": 1, "num_heads": 2, "conv_channels": [8, 8]}
_SETTINGS = {"crop_size": 64, "image_size": 64, "samples_per_epoch": 64, "batch_size": 4, "num_workers": 1}
_SETTINGS["learning_rate"] = 0.01


def tiny_copy(bundle: Path, parent: Path) -> Path:
    """Copy a bundle folder, let its student be tiny, and give it random weights with which it finds every class."""
    copy = parent / bundle.name
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    for path in (*copy.glob("configs/inference.*"), *copy.glob("configs/train.*")):  # the app takes JSON first
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        student = config["network_def"] if isinstance(config["network_def"], dict) else config["student_def"]
        student.update(_TINY)
        config.update({key: value for key, value in _SETTINGS.items() if key in config})
        dump = json.dumps if path.suffix == ".json" else yaml.safe_dump
        path.write_text(dump(config, sort_keys=False), encoding="utf-8")
    (copy / "models").mkdir()
    torch.save(_weights(copy), copy / "models" / "model.pt")
    return copy


@contextmanager
def import_from(bundle: Path) -> Iterator[None]:
    """Let this process import the modules of a release, of which copies have their own by the same names."""
    before = list(sys.path)
    sys.path.insert(0, str(bundle))
    try:
        yield
    finally:
        sys.path[:] = before
        for name in [name for name in sys.modules if name.startswith("scripts_")]:
            del sys.modules[name]


def _weights(bundle: Path) -> dict[str, torch.Tensor]:
    """Return weights with which no class has more pixels of a picture than the others together."""
    with import_from(bundle):
        config = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml")))
        torch.manual_seed(0)
        network = config.get_parsed_content("network_def").eval()
    pixels = torch.tensor(picture(64, 64).transpose(2, 1, 0) / 255, dtype=torch.float32)
    pixels = pixels[: config.get_parsed_content("in_channels")][None]
    with torch.no_grad():
        network.head.weight.mul_(5)
        logits = network(pixels).flatten(2)
        classes = logits.shape[1]
        shift = torch.zeros(classes)
        for _ in range(200):  # until every class is the likeliest somewhere
            share = (logits + shift[:, None]).argmax(1).flatten().bincount(minlength=classes) / logits.shape[-1]
            shift -= 0.3 * (share - 1 / classes)
        network.head.bias.add_(shift.repeat_interleave(4))
    return network.state_dict()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return an RGB picture ``(H, W, 3)`` in which no two axes or directions look alike."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / [[[height]], [[width]]]
    red = 60 + 150 * (rows < 0.5) * (columns < 0.35)
    green = 40 + 180 * (columns - 0.7) ** 2 + 60 * (rows > 0.8)
    blue = 200 * ((rows - 0.25) ** 2 + (columns - 0.75) ** 2 < 0.03) + 40 * rows
    noise = rng.integers(-15, 16, (height, width, 3))
    return np.clip(np.stack([red, green, blue], axis=-1) + noise, 0, 255).astype(np.uint8)


def write_volume(path: Path, axes: str, shape: tuple[int, int, int] = (70, 54, 5), seed: int = 0) -> None:
    """Write a NIfTI volume of axial slices.

    Args:
        path: the file.
        axes: where its axes run, such as "RPS".
        shape: number of voxels to the left, to the back and to the head.
        seed: of the noise.
    """
    columns, rows, depth = shape
    slices = [picture(rows, columns, seed + index)[..., 0].T * (0.8 + 0.15 * index) for index in range(depth)]
    affine = np.diag([-1.5, -1.25, 3.0, 1.0])
    affine[:3, 3] = (40, 30, 12)
    volume = nibabel.Nifti1Image(np.stack(slices, axis=-1).astype(np.float32), affine)
    save_turned(volume, axes, path)


def save_turned(volume: nibabel.Nifti1Image, axes: str, path: Path) -> None:
    """Save a volume with its axes running elsewhere; each voxel stays where it is in the patient."""
    now, then = nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(axes)
    nibabel.save(volume.as_reoriented(nibabel.orientations.ornt_transform(now, then)), path)


def write_pictures(folder: Path, *wanted: str) -> Path:
    """Write a folder of pictures and volumes, and of files that are damaged or none; of those wanted, if any are."""
    folder.mkdir(parents=True)
    Image.fromarray(picture(100, 120)).save(folder / "rgb.png")
    Image.fromarray(picture(75, 130, 1)).save(folder / "photo.tif")
    Image.fromarray(picture(90, 140, 2)[..., 1]).save(folder / "grey.png")
    Image.fromarray(picture(85, 110, 3)).save(folder / "camera.jpg")
    Image.fromarray(picture(95, 70, 4)[..., 1]).save(folder / "screen.jpg")
    write_volume(folder / "scan.nii.gz", "LAS")
    write_volume(folder / "sideways.nii.gz", "SRP", seed=9)
    write_volume(folder / "single.nii.gz", "LPS", shape=(70, 54, 1))
    (folder / "cut_off.png").write_bytes((folder / "rgb.png").read_bytes()[:500])
    (folder / "text.png").write_text("no image")
    for path in folder.iterdir():
        if wanted and path.name not in wanted:
            path.unlink()
    return folder


def run_inference(bundle: Path, images: Path, output_dir: Path) -> Path:
    """Segment images as ``python -m monai.bundle run`` does, but in this process, and return the folder of masks."""
    threads, hook = torch.get_num_threads(), sys.excepthook
    torch.set_num_threads(1)  # as the server's, so that masks are the same bit for bit
    try:
        with import_from(bundle):
            places = {"bundle_root": str(bundle), "dataset_dir": str(images), "output_dir": str(output_dir)}
            config = str(bundle / "configs" / "inference.yaml")
            workflow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, **places)
            workflow.initialize()
            workflow.run()
            workflow.finalize()
    finally:
        torch.set_num_threads(threads)
        sys.excepthook = hook
    return output_dir


def read_label(path: Path) -> np.ndarray:
    """Return the values of a label ``(W, H[, D])`` in the order of the file."""
    name = path.name.lower()
    if name.endswith(".nrrd"):
        import nrrd

        return nrrd.read(str(path))[0]
    if name.endswith((".nii", ".nii.gz")):
        return np.asarray(nibabel.load(path).dataobj)
    return np.asarray(Image.open(path)).T


def class_ids(bundle: Path) -> dict[str, int]:
    """Return the ids of the structures by name, as metadata.json says."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return {name: int(value) for value, name in channels.items() if name != "background"}
