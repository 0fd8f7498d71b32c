"""What a client gets that asks the server for a model and for a label."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from bundles import class_ids, read_label, run_inference

IMAGES = {
    "drive": ("rgb.png", "photo.tif", "camera.jpg"),
    "ph2": ("rgb.png", "photo.tif", "camera.jpg"),
    "autooral": ("rgb.png", "photo.tif", "camera.jpg"),
    "kidneyus": ("grey.png", "screen.jpg"),
    "busi": ("grey.png", "screen.jpg"),
    "chaos": ("scan.nii.gz", "sideways.nii.gz", "single.nii.gz"),
}
_LPS_TO_RAS = np.diag([-1, -1, 1])


def model_of(dataset: str) -> str:
    return f"{dataset}_segmentation"


@pytest.fixture(scope="module")
def written(server, folders, tmp_path_factory):
    """Return what segments the images of a dataset without a server, and returns the folder of masks."""
    done: dict[str, Path] = {}

    def run(dataset: str) -> Path:
        if dataset not in done:
            images = tmp_path_factory.mktemp("images")
            for name in IMAGES[dataset]:
                (images / name).symlink_to(server.studies / name)
            done[dataset] = run_inference(folders[dataset], images, tmp_path_factory.mktemp("masks"))
        return done[dataset]

    return run


@pytest.fixture(params=IMAGES)
def dataset(request, folders) -> str:
    return request.param


def test_info_lists_the_model_with_its_labels_and_dimension(server, folders, dataset):
    info = server.get("/info/")
    model = info["models"][model_of(dataset)]
    assert model["labels"] == {name.lower(): value for name, value in class_ids(folders[dataset]).items()}
    assert model["type"] == "segmentation"
    # What metadata.json says of the network, which sees volumes slice by slice.
    assert model["dimension"] == 2
    assert model_of(dataset) in info["trainers"]


def assert_same_mask(label: np.ndarray, expected: np.ndarray, classes: int) -> None:
    """Compare labels that are not the same when they are turned around."""
    assert label.shape == expected.shape
    np.testing.assert_array_equal(label, expected)
    assert np.unique(label).tolist() == list(range(classes))
    for axis in range(2):
        assert (np.flip(expected, axis) != expected).mean() > 0.1, "a test of nothing"


@pytest.mark.parametrize("dataset", [name for name in IMAGES if name != "chaos"], indirect=True)
@pytest.mark.parametrize("extension", [None, ".nrrd", ".png"])
def test_labels_of_images_are_those_that_inference_writes(server, folders, written, dataset, extension, tmp_path):
    for image in IMAGES[dataset]:
        stem = image.split(".")[0]
        params = {} if extension is None else {"result_extension": extension}
        path, answer = server.infer(model_of(dataset), stem, tmp_path, **params)
        assert path.suffix == (extension or {".jpg": ".png"}.get(Path(image).suffix, Path(image).suffix))
        expected = read_label(written(dataset) / f"{stem}_mask.png")
        assert expected.shape == read_label(server.studies / image).shape[-2:]
        assert_same_mask(read_label(path), expected, 1 + len(class_ids(folders[dataset])))
        assert answer["label_names"] == {name.lower(): value for name, value in class_ids(folders[dataset]).items()}


@pytest.mark.dataset("chaos")
@pytest.mark.parametrize("image", IMAGES["chaos"])
@pytest.mark.parametrize("extension", [None, ".nii.gz", ".nrrd"])
def test_labels_of_volumes_are_those_that_inference_writes(server, folders, written, image, extension, tmp_path):
    stem = image.split(".")[0]
    params = {} if extension is None else {"result_extension": extension}
    path, _ = server.infer(model_of("chaos"), stem, tmp_path, **params)
    assert path.name.endswith(extension or ".nii.gz")
    volume = nibabel.load(server.studies / image)
    expected = nibabel.load(written("chaos") / f"{stem}_mask.nii.gz")
    assert expected.shape == volume.shape
    assert_same_mask(read_label(path), np.asarray(expected.dataobj), 1 + len(class_ids(folders["chaos"])))
    np.testing.assert_allclose(_affine(path), volume.affine, atol=1e-4)


def _affine(path: Path) -> np.ndarray:
    """Return the affine to RAS of a NIfTI or NRRD file."""
    if path.suffix != ".nrrd":
        return nibabel.load(path).affine
    header = nrrd.read_header(str(path))
    assert header["space"] == "left-posterior-superior"
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ header["space directions"].T
    affine[:3, 3] = _LPS_TO_RAS @ header["space origin"]
    return affine
