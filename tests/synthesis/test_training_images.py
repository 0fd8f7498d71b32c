"""What the diffusion model was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.transforms import Compose, EnsureTyped, LoadImaged, RandSpatialCropSamplesd, ScaleIntensityRanged
from PIL import Image
from textures import small_textures
from transfer_sets import make_training_images

from common.synthesis import training_images
from common.synthesis.training_images import distances_between_groups, read_training_images


@pytest.fixture
def entries(tmp_path):
    entries = []
    for index, size in enumerate([(40, 30), (36, 50)]):
        pixels = np.random.default_rng(index).integers(0, 256, size, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        entries.append({"image": str(tmp_path / f"{index}.png")})
    return entries


@pytest.fixture
def dataset(entries):
    load = Compose(
        [
            LoadImaged(keys="image", reader="PILReader", ensure_channel_first=True),
            ScaleIntensityRanged(keys="image", a_min=0, a_max=255, b_min=0, b_max=1),
            EnsureTyped(keys="image", track_meta=False),
        ]
    )
    return Dataset(entries, load)


def test_they_are_read_with_the_crops_that_the_model_was_shown(entries, dataset):
    crops = RandSpatialCropSamplesd(keys="image", roi_size=(16, 16), num_samples=3)
    training = read_training_images(entries, ["A", None], dataset, crops, seed=3)
    assert training.names == ["0.png", "1.png"]
    assert training.groups[0] == "A"
    assert len(set(training.groups)) == 2
    assert [tuple(image.shape) for image in training.images] == [(1, 30, 40), (1, 50, 36)]  # columns, then rows
    assert training.crops.shape == (6, 1, 16, 16)
    assert training.crop_sources.tolist() == [0, 0, 0, 1, 1, 1]
    for crop, source in zip(training.crops, training.crop_sources, strict=True):
        windows = training.images[source].unfold(1, 16, 1).unfold(2, 16, 1)
        assert (windows == crop[:, None, None]).all((0, 3, 4)).any()
    again = read_training_images(entries, ["A", None], dataset, crops, seed=3)
    assert torch.equal(again.crops, training.crops)


def test_whole_images_are_their_own_crops(entries, dataset):
    training = read_training_images(entries[:1] * 2, ["A", "A"], Dataset(entries[:1] * 2, dataset.transform))
    assert torch.equal(training.crops, torch.stack(training.images))
    assert training.crop_sources.tolist() == [0, 1]


def test_files_of_one_name_are_told_apart_by_their_folders():
    paths = ["/data/MR/1/i01.dcm", "/data/MR/2/i01.dcm"]
    assert training_images._short_names(paths) == ["1/i01.dcm", "2/i01.dcm"]


def test_they_are_compared_with_those_of_other_patients():
    first, second = small_textures(2)
    images = torch.stack([first, first + 0.01 * small_textures(1, seed=1)[0], second])
    one_each = distances_between_groups(make_training_images(images))
    by_patient = distances_between_groups(make_training_images(images, ["A", "A", "B"]))
    assert one_each[:2].max() < 0.02
    assert by_patient.min() > 0.1
    assert len(distances_between_groups(make_training_images(images, ["A"] * 3))) == 0
