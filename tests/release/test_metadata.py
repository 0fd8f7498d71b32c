"""The metadata of a release: what was measured, what it needs, and what it is."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from integration import refused
from students import PLAIN_STUDENT, bundle_of, write_student

from common.release import release_bundle


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_student("drive", tmp_path / "run")


def metadata_of(folder: Path) -> dict:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


def test_what_a_source_says_stays(weights, release):
    metadata = metadata_of(release("drive", weights))
    for key in ("authors", "copyright", "data_source", "intended_use", "references", "schema"):
        assert metadata[key]


def test_a_version_goes_into_the_changelog(weights, release):
    metadata = metadata_of(release("drive", weights, version="0.2.0", changes="more labels"))
    assert metadata["version"] == "0.2.0"
    assert next(iter(metadata["changelog"].items())) == ("0.2.0", "more labels")
    assert "0.1.0" in metadata["changelog"]


def test_packages_are_those_that_it_needs(tmp_path, release):
    metadata = metadata_of(release("chaos", write_student("chaos", tmp_path / "chaos")))
    needed = {"einops", "fire", "nibabel", "pillow", "pydicom", "pytorch-ignite", "pyyaml"}
    assert metadata["required_packages_version"].keys() == needed
    assert metadata["pytorch_version"] == torch.__version__.split("+")[0]
    assert "optional_packages_version" not in metadata, "MONAI would take it for the required ones"


def test_classes_are_those_of_the_task(tmp_path, release):
    weights = write_student("kidneyus", tmp_path / "kidney", task="capsule", annotator=1)
    folder = release("kidneyus", weights)
    pred = metadata_of(folder)["network_data_format"]["outputs"]["pred"]
    assert pred["num_channels"] == 2
    assert pred["channel_def"] == {"0": "background", "1": "kidney"}
    metadata = metadata_of(folder)
    assert metadata["label_classes"] == "single channel data, 0 is background, 1 is kidney"
    assert metadata["task"] == "Segmentation of kidney"
    assert "| task | capsule |" in (folder / "docs" / "README.md").read_text()


def test_images_are_those_of_the_modality(tmp_path, release):
    settings = {"modality": "ct", "window": [-160, 240], "percentiles": [1, 99]}
    metadata = metadata_of(release("chaos", write_student("chaos", tmp_path / "chaos", **settings)))
    assert metadata["network_data_format"]["inputs"]["image"]["modality"] == "CT"
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "liver"}
    assert metadata["image_classes"].startswith("axial slice of a CT volume")


def test_another_network_is_called_by_its_name(tmp_path, release):
    unet = {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 2,
        "channels": [4, 8, 8],
        "strides": [2, 2],
    }
    metadata = metadata_of(release("ph2", write_student("ph2", tmp_path / "unet", unet), student_def=unet))
    assert metadata["description"].startswith("A UNet (")
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["16*n", "16*n"]


def test_a_network_for_one_size_promises_no_other(tmp_path):
    """With its exports, since these promise sizes too."""
    unetr = {
        "_target_": "UNETR", "spatial_dims": 2, "in_channels": 3, "out_channels": 2, "img_size": [64, 64],
        "feature_size": 4, "hidden_size": 24, "mlp_dim": 48, "num_heads": 2,
    }  # fmt: skip
    weights = write_student("ph2", tmp_path / "unetr", unetr)
    folder = release_bundle(str(bundle_of("ph2")), str(weights), tmp_path / "dist", student_def=unetr)
    formats = metadata_of(folder)["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == formats["outputs"]["pred"]["spatial_shape"] == [64, 64]
    text = " ".join((folder / "docs" / "README.md").read_text().split())
    assert "of 64 x 64 pixels" in text
    assert "they agree to 1e-4, for batches of any size." in text
    images = torch.rand(3, 3, 64, 64)
    session = onnxruntime.InferenceSession(folder / "models" / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [3, 64, 64]
    found = torch.from_numpy(session.run(None, {"image": images.numpy()})[0])
    expected = torch.jit.load(folder / "models" / "model.ts")(images).detach()
    assert float((found - expected).abs().max()) < 1e-4
    assert float(expected.std()) > 0.01, "a test of nothing"


def test_a_network_for_large_images_promises_no_small_ones(tmp_path, release):
    deep = {
        "_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 2,
        "channels": [4, 4, 4, 4, 4, 4], "strides": [2, 2, 2, 2, 2],
    }  # fmt: skip
    metadata = metadata_of(release("ph2", write_student("ph2", tmp_path / "unet", deep), student_def=deep))
    shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert shape == [64, 64], "five halvings leave nothing of 16 pixels"


def test_a_network_of_other_classes_is_refused(tmp_path, release):
    with refused("student_def", "tells 3 classes apart, but there are 2"):
        definition = {**PLAIN_STUDENT, "num_classes": 3}
        release("drive", write_student("drive", tmp_path / "three", definition), student_def=definition)
