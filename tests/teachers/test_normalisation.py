"""Pixels as the weights want them: what lies beside the weights decides, or else what the user says."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch.testing import assert_close
from transformers import SamModel

from common.errors import InputError
from common.teachers import build_teacher, normalisation
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.normalisation import PixelNormalisation, read_preprocessor

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))

# As facebook/sam-vit-base has it.
SAM = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "SamImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "pad_size": {"height": 1024, "width": 1024},
    "processor_class": "SamProcessor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 1024},
}

MEDSAM = {**SAM, "do_normalize": False}  # trained on images in [0, 1]

IMAGENET_PIXELS = (IMAGES - torch.tensor(SAM["image_mean"]).view(3, 1, 1)) / torch.tensor(SAM["image_std"]).view(
    3, 1, 1
)


@pytest.fixture
def weights(tiny_sam_folder, tmp_path):
    """A folder of weights that files may be laid beside."""
    return shutil.copytree(tiny_sam_folder, tmp_path / "weights")


def lay_beside(folder, content, name="preprocessor_config.json") -> None:
    (folder / name).write_text(json.dumps(content, indent=2) + "\n")


# What lies beside the weights decides


@pytest.mark.parametrize("stated", [None, "imagenet", "none"])
class TestFileDecides:
    def test_medsams_images_stay_as_they_are(self, weights, stated):
        lay_beside(weights, MEDSAM)
        assert torch.equal(build_teacher(weights, 2, pixel_normalisation=stated).normalise(IMAGES), IMAGES)

    def test_sams_images_are_normalised(self, weights, stated):
        lay_beside(weights, SAM)
        assert torch.equal(build_teacher(weights, 2, pixel_normalisation=stated).normalise(IMAGES), IMAGENET_PIXELS)

    def test_in_a_processor_as_transformers_5_saves_it(self, weights, stated):
        lay_beside(weights, {"image_processor": MEDSAM, "processor_class": "SamProcessor"}, "processor_config.json")
        assert torch.equal(build_teacher(weights, 2, pixel_normalisation=stated).normalise(IMAGES), IMAGES)

    def test_beside_a_single_file(self, original_checkpoint, stated):
        lay_beside(original_checkpoint.parent, MEDSAM)
        assert torch.equal(build_teacher(original_checkpoint, 2, pixel_normalisation=stated).normalise(IMAGES), IMAGES)

    def test_in_the_hubs_snapshot(self, weights, monkeypatch, stated):
        lay_beside(weights, MEDSAM)

        def from_hub(source, name, **options):
            assert source == "someone/medsam-vit-base"
            return str(weights / name) if (weights / name).is_file() else None

        load = SamModel.from_pretrained
        monkeypatch.setattr(SamModel, "from_pretrained", lambda source, **options: load(weights, **options))
        monkeypatch.setattr("transformers.utils.cached_file", from_hub)
        teacher = build_teacher("someone/medsam-vit-base", 2, pixel_normalisation=stated)
        assert torch.equal(teacher.normalise(IMAGES), IMAGES)


@pytest.mark.parametrize(
    ("content", "mean", "std"),
    [
        ({}, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]}, [0.5] * 3, [0.5, 0.25, 0.5]),
        # Means of 8-bit values, which are not rescaled.
        (
            {"do_rescale": False, "image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]},
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
        ),
        ({"rescale_factor": 2 / 255, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]}, [0.5] * 3, [0.5] * 3),
        ({"do_rescale": False, "do_normalize": False}, [0] * 3, [1 / 255] * 3),
    ],
)
def test_file_is_about_8_bit_images_and_the_teacher_about_images_in_0_to_1(tmp_path, content, mean, std):
    lay_beside(tmp_path, content)
    found = read_preprocessor(tmp_path / "preprocessor_config.json").describe()
    assert found["mean"] == pytest.approx(mean)
    assert found["std"] == pytest.approx(std)


def test_processor_without_images_decides_nothing(weights):
    lay_beside(weights, {"processor_class": "SamProcessor"}, "processor_config.json")
    assert torch.equal(build_teacher(weights, 2, pixel_normalisation="none").normalise(IMAGES), IMAGES)


# Otherwise the user does


def test_without_a_file_the_key_decides(weights):
    assert torch.equal(build_teacher(weights, 2).normalise(IMAGES), IMAGENET_PIXELS)
    assert torch.equal(build_teacher(weights, 2, pixel_normalisation="imagenet").normalise(IMAGES), IMAGENET_PIXELS)
    assert torch.equal(build_teacher(weights, 2, pixel_normalisation="none").normalise(IMAGES), IMAGES)


def test_normalised_pixels_are_what_the_encoder_sees(weights):
    teacher = build_teacher(weights, 2, pixel_normalisation="none").eval()
    seen = []
    teacher.encoder.patch_embed.projection.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    teacher(IMAGES.mT)
    assert torch.equal(seen[0], IMAGES)


def test_log_says_what_decided(weights, caplog):
    caplog.set_level("INFO", logger=normalisation.__name__)
    build_teacher(weights, 2, pixel_normalisation="none")
    lay_beside(weights, SAM)
    build_teacher(weights, 2, pixel_normalisation="none")
    first, second = caplog.messages
    assert first.endswith("to [0, 1] (pixel_normalisation none)")
    assert second.endswith(f"as {weights / 'preprocessor_config.json'} says")


# A saved teacher keeps it


def test_saved_teacher_keeps_its_normalisation_whatever_lies_beside_the_base_now(weights, tmp_path):
    lay_beside(weights, MEDSAM)
    network = add_lora(build_teacher(weights, 2), rank=2).eval()
    save_teacher(network, tmp_path / "teacher")
    (weights / "preprocessor_config.json").unlink()
    loaded = load_teacher(tmp_path / "teacher")
    assert torch.equal(loaded.normalise(IMAGES), IMAGES)
    with torch.no_grad():
        assert_close(loaded(IMAGES), network(IMAGES))
    lay_beside(weights, SAM)
    assert torch.equal(load_teacher(tmp_path / "teacher").normalise(IMAGES), IMAGES)


def test_normalisation_is_no_part_of_the_weights():
    assert PixelNormalisation(SAM["image_mean"], SAM["image_std"]).state_dict() == {}


# What bad input gets


@pytest.mark.parametrize("stated", ["medsam", "", 0.5])
def test_unknown_word_is_named_with_the_known_ones(weights, stated):
    with pytest.raises(InputError, match=rf"pixel_normalisation must be one of imagenet, none, got '{stated}'"):
        build_teacher(weights, 2, pixel_normalisation=stated)


@pytest.mark.parametrize(
    "content",
    [
        {**SAM, "image_mean": [0.5]},
        {**SAM, "image_mean": None},
        {**SAM, "image_std": [0.2, 0.2, 0]},
        {**SAM, "image_std": "imagenet"},
        {**SAM, "rescale_factor": 0},
        {**SAM, "rescale_factor": "1/255"},
        ["do_normalize"],
    ],
)
def test_file_that_says_no_normalisation_is_named(weights, content):
    lay_beside(weights, content)
    with pytest.raises(InputError, match=r"preprocessor_config\.json does not say how pixels are normalised"):
        build_teacher(weights, 2)


def test_truncated_file_is_named(weights):
    (weights / "preprocessor_config.json").write_text(json.dumps(SAM)[:40])
    with pytest.raises(InputError, match=r"preprocessor_config\.json does not say .*repair or remove it"):
        build_teacher(weights, 2)


@pytest.mark.parametrize(
    ("name", "stated", "said"),
    [
        ("medsam_vit_b.pth", None, 1),
        ("medsam_vit_b.pth", "none", 0),
        ("medsam_vit_b.pth", "imagenet", 0),
        ("a.pth", None, 0),
    ],
)
def test_medsam_without_its_normalisation_is_warned_of(original_checkpoint, tmp_path, caplog, name, stated, said):
    (tmp_path / name).write_bytes(original_checkpoint.read_bytes())
    build_teacher(tmp_path / name, 2, pixel_normalisation=stated)
    assert sum("add --pixel_normalisation none" in each for each in caplog.messages) == said
