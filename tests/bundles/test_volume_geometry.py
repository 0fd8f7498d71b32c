"""Volumes of any orientation and header, on every path through CHAOS's configs: right in every voxel, or refused."""

from __future__ import annotations

import csv
import struct
from functools import partial
from pathlib import Path
from typing import Any

import integration
import nibabel
import numpy as np
import pytest
import torch
from integration import BUNDLES, refused
from oriented import ORIENTATIONS, SHAPE, oblique_affine, registered, save, turned

BUNDLE = BUNDLES / "chaos_segmentation"
THRESHOLD = 90.5  # Hounsfield units
WINDOW = (-160, 240)
SIZE = 45  # an odd multiple of both sides of a slice, so that resizing and back loses no voxel
STEP, FIRST = (3, 5), (1, 2)  # which pixels of a resized slice have the values of the stored ones
HEADERS = ("both", "sform", "qform", "different")

load_stage = partial(integration.load_stage, bundle=BUNDLE)
run_stage = partial(integration.run_stage, bundle=BUNDLE)


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-150, 231, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def phantoms(tiny_phantoms) -> Path:
    return tiny_phantoms("chaos")


@pytest.fixture
def settings(phantoms, tmp_path) -> dict[str, Any]:
    """With a network that calls bright voxels of CT liver."""
    bias = torch.tensor([(THRESHOLD - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0])
    torch.save({"weight": torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), "bias": bias}, tmp_path / "bright.pt")
    return {
        "student_def": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "ckpt_path": tmp_path / "bright.pt",
        "modality": "ct",
        "image_size": SIZE,
        "output_dir": tmp_path / "out",
        "dataset_dir": phantoms,
    }


def save_special(folder: Path) -> None:
    """Save volumes whose shape, header or affine is out of the ordinary."""
    affine = oblique_affine()
    save(nibabel.Nifti1Image(values()[..., :1], affine), folder / "one_slice.nii")
    save(nibabel.Nifti1Image(values()[..., None], affine), folder / "four_axes.nii")
    save(nibabel.Nifti2Image(values(), affine), folder / "nifti2.nii")
    save(nibabel.Nifti1Image(values(), registered(affine)), folder / "sheared.nii", "sform")
    save(turned(values(), affine, "PIR"), folder / "neither.nii", "neither")
    steep = np.eye(4)
    steep[:3, :3] = nibabel.eulerangles.euler2mat(0.78, 0.7, -0.76) @ affine[:3, :3]
    save(nibabel.Nifti1Image(values(), steep), folder / "steep.nii")
    big = nibabel.Nifti1Header(endianness=">")
    big.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(values(), affine, big), folder / "big_endian.nii.gz")


def test_masks_have_the_voxels_shape_and_geometry_of_their_images(settings, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for index, axes in enumerate(ORIENTATIONS):
        save(turned(values(index), oblique_affine(), axes), folder / f"{axes}.nii", HEADERS[index % 4])
    save_special(folder)
    run_stage("inference", **{**settings, "dataset_dir": folder})
    images = sorted(folder.iterdir())
    assert len(images) == 48 + 7
    for path in images:
        image, mask = nibabel.load(path), nibabel.load(tmp_path / "out" / f"{path.name.split('.')[0]}_mask.nii.gz")
        assert mask.shape == image.shape, path.name
        np.testing.assert_array_equal(mask.affine, image.affine, path.name)
        for name in ("sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_y", "pixdim", "xyzt_units"):
            np.testing.assert_array_equal(mask.header[name], image.header[name], f"{path.name}: {name}")
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(mask.dataobj, np.asarray(image.dataobj) > THRESHOLD, path.name)


def test_the_network_sees_every_volume_in_lps(settings, tmp_path):
    preprocessing = load_stage("inference", **{**settings, "dataset_dir": settings["ckpt_path"].parent})
    config = preprocessing.parser.get_parsed_content("preprocessing")
    for index, axes in enumerate(ORIENTATIONS):
        path = save(turned(values(index), oblique_affine(), axes), tmp_path / f"{axes}.nii", HEADERS[index % 4])
        seen = np.asarray(config({"image": str(path)})["image"][0])[FIRST[0] :: STEP[0], FIRST[1] :: STEP[1]]
        np.testing.assert_allclose(seen, (values(index) - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), atol=1e-5)


@pytest.fixture
def entries(tmp_path) -> list[dict[str, str]]:
    """A datalist such as MONAI Label makes: each label is stored in another orientation than its image."""
    found = []
    for index, axes in enumerate(ORIENTATIONS):
        other, header = ORIENTATIONS[index - 17], HEADERS[index % 4]
        ids = (values(index) > THRESHOLD).astype(np.uint8)
        image = save(turned(values(index), oblique_affine(), axes), tmp_path / f"{axes}.nii", header)
        label = save(turned(ids, oblique_affine(), other), tmp_path / f"{axes}_label.nii", HEADERS[index // 4 % 4])
        found.append({"image": str(image), "label": str(label), "patient": axes})
    return found


def test_training_sees_labels_on_their_images(settings, entries):
    fixed = "$monai.transforms.Compose(@train::deterministic_transforms)"
    keys = {"train::dataset::data": entries, "train::dataset::transform": fixed, **settings}
    dataset = load_stage("train", **keys).parser.get_parsed_content("train::dataset")
    assert len(dataset) == len(entries) * SHAPE[2]
    for position, item in enumerate(dataset):
        index, depth = divmod(position, SHAPE[2])
        image, label = (
            np.asarray(item[key][0])[FIRST[0] :: STEP[0], FIRST[1] :: STEP[1]] for key in ("image", "label")
        )
        stored = values(index)[..., depth]
        np.testing.assert_allclose(image, (stored - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), atol=1e-5)
        np.testing.assert_array_equal(label, stored > THRESHOLD)


def test_validation_and_evaluation_find_the_prediction_on_the_label(settings, entries, tmp_path):
    run_stage("evaluate", **{"validate::dataset::data": entries, **settings})
    with (tmp_path / "out/evaluation/student/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ORIENTATIONS
    assert {(row["dice"], row["iou"], row["hd95"]) for row in rows} == {("1", "1", "0")}
    keys = {"validate::dataset::data": entries, **settings}
    for item in load_stage("train", **keys).parser.get_parsed_content("validate::dataset"):
        image, label = (
            np.asarray(item[key][0])[FIRST[0] :: STEP[0], FIRST[1] :: STEP[1]] for key in ("image", "label")
        )
        np.testing.assert_array_equal(label, image * 400 - 160 > THRESHOLD)


@pytest.mark.parametrize(("stage", "section"), [("train", "train"), ("train", "validate"), ("evaluate", "validate")])
def test_a_label_that_lies_elsewhere_is_refused_by_every_stage(settings, stage, section, tmp_path):
    image = save(turned(values(), oblique_affine(), "LPS"), tmp_path / "image.nii")
    label = save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), tmp_path / "label.nii")
    entry = {"image": str(image), "label": str(label), "patient": "1"}
    workflow = load_stage(stage, **{f"{section}::dataset::data": [entry], **settings})
    with refused(r"label\.nii: does not lie on its image .*image\.nii: they are up to .* voxels apart"):
        workflow.parser.get_parsed_content(f"{section}::dataset")[0]


def test_volumes_without_a_place_are_left_out_by_name_and_stop_no_other(settings, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.nii", "good.nii"):
        save(turned(values(), oblique_affine(), "LPS"), folder / name)
    raw = bytearray((folder / "a.nii").read_bytes())
    struct.pack_into("<12f", raw, 280, *[np.nan] * 12)
    (folder / "a.nii").write_bytes(raw)
    with refused(r"1 mask written to .*, 1 left out: a\.nii \(its sform has NaN or infinite values"):
        run_stage("inference", **{**settings, "dataset_dir": folder})
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["good_mask.nii.gz"]
