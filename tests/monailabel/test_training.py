"""An annotator corrects a label, the server trains on it, and the next label comes from the new weights."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import torch
from monailabel.datastore.local import LocalDatastore
from monailabel.tasks.train.bundle import BundleTrainTask
from PIL import Image
from server import ROOT, Server, environment

from bundles import class_ids, read_label, run_inference, save_turned, write_pictures

# The format that the corrected label is sent in: as the server wrote it, or as 3D Slicer does.
CASES = {
    "drive": ("rgb.png", ".png"),
    "ph2": ("photo.tif", ".nrrd"),
    "autooral": ("photo.tif", ".nii.gz"),
    "kidneyus": ("grey.png", ".nrrd"),
    "busi": ("grey.png", ".png"),
    "chaos": ("scan.nii.gz", ".nii.gz"),
}
BINARY = ("ph2", "autooral", "drive")


def correct(image: Path, classes: int) -> np.ndarray:
    """Return a label ``(W, H[, D])`` that can be learned from an image's first channel."""
    values = read_label(image)
    values = (values[0] if image.suffix in (".png", ".tif") and values.ndim == 3 else values).astype(float)
    low, high = np.percentile(values, [5, 95])
    label = np.zeros(values.shape, np.uint8)
    label[values > (low + high) / 2] = classes - 1
    if classes > 2:
        label[values < low + (high - low) / 8] = 1
    return label


def save(label: np.ndarray, image: Path, path: Path) -> Path:
    """Save a label ``(W, H[, D])`` of an image in the format that the path says."""
    if label.ndim == 3:
        volume = nibabel.Nifti1Image(label, nibabel.load(image).affine)
        save_turned(volume, "PIR", path)  # as a client may that has its own idea of axes
    elif path.suffix == ".png":
        Image.fromarray(label.T).save(path)
    else:
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(label.T)), str(path))
    return path


def forget(server: Server, *images: str) -> None:
    """Take the labels of images away."""
    for image in images:
        server.request("DELETE", "/datastore/label", params={"id": image, "tag": "final"}).raise_for_status()


def agreement(label: np.ndarray, corrected: np.ndarray) -> float:
    return float((label == corrected).mean())


@pytest.mark.parametrize("dataset", CASES)
def test_the_next_label_is_nearer_to_the_corrected_one(server, folders, dataset, tmp_path):
    image, extension = CASES[dataset]
    stem, model = image.split(".")[0], f"{dataset}_segmentation"
    bundle = server.app / "model" / model
    before = read_label(server.infer(model, stem, tmp_path)[0])
    corrected = correct(server.studies / image, 1 + len(class_ids(bundle)))
    server.submit(stem, save(corrected, server.studies / image, tmp_path / f"corrected{extension}"))
    try:
        task = server.train(model, max_epochs=20, val_split=0)
    finally:
        forget(server, stem)
    assert task["status"] == "DONE", "\n".join(task["details"])

    path, _ = server.infer(model, stem, tmp_path)
    after = read_label(path)
    assert agreement(after, corrected) > agreement(before, corrected) + 0.15
    for other in (corrected[::-1], corrected[:, ::-1], corrected[::-1, ::-1]):
        assert agreement(after, corrected) > agreement(after, other) + 0.05
    # The weights that the server uses are those that lie in the folder.
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / image).symlink_to(server.studies / image)
    (mask,) = run_inference(bundle, tmp_path / "images", tmp_path / "masks").glob(f"{stem}_mask*")
    np.testing.assert_array_equal(after, read_label(mask))


@pytest.fixture
def annotated(server, folders, tmp_path):
    """Two images with corrected labels, the model they are for, and its weights; the labels are taken away again."""
    dataset = next(name for name in BINARY if name in folders)
    model = f"{dataset}_segmentation"
    for stem, image in {"rgb": "rgb.png", "photo": "photo.tif"}.items():
        label = correct(server.studies / image, 2)
        server.submit(stem, save(label, server.studies / image, tmp_path / f"{stem}_label.png"))
    yield model, server.app / "model" / model / "models" / "model.pt"
    forget(server, "rgb", "photo")


def test_training_again_and_after_a_kill_starts_with_the_weights_in_use(server, annotated):
    model, weights = annotated
    untouched = weights.read_bytes()
    printed = len(server.printed())
    started = server.post(f"/train/{model}", {"max_epochs": 100_000, "val_split": 0})
    deadline = time.monotonic() + 240
    while "train: epoch 3/100000" not in server.printed()[printed:] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert server.request("DELETE", "/train/").json()["status"] == "STOPPED"
    server.wait("train", started["id"])
    assert weights.read_bytes() == untouched

    # Validation every fourth epoch, of which there are fewer: what was trained counts.
    states = [untouched]
    for epochs, split in ((2, 0.5), (3, 0.5)):
        task = server.train(model, max_epochs=epochs, val_split=split)
        assert task["status"] == "DONE", "\n".join(task["details"])
        assert f"train: epoch {epochs}/{epochs}" in server.printed()[printed:]
        states.append(weights.read_bytes())
    assert len(set(states)) == 3
    assert [path.name for path in weights.parent.rglob("*.pt")] == ["model.pt"], "what must not be gone on with"


def test_several_gpus_are_all_used(folders, alone, tmp_path, monkeypatch, caplog, capfd):
    """Where MONAI Label finds two GPUs it takes both, unasked; two processes on the CPU stand in for them here."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    folder = next(folders[name] for name in BINARY if name in folders)
    bundle = shutil.copytree(folder, tmp_path / folder.name)
    for key, value in environment(alone).items():
        monkeypatch.setenv(key, value)
    # The server's own task lets a training import from the bundle.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(bundle), *([] if alone else [str(ROOT)])]))
    image = write_pictures(tmp_path / "studies") / "rgb.png"
    label = save(correct(image, 2), image, tmp_path / "label.png")
    datastore = LocalDatastore(str(image.parent), extensions=("*.png",))
    datastore.save_label("rgb", str(label), "final", {})
    before = (bundle / "models" / "model.pt").read_bytes()
    with caplog.at_level("INFO"):
        BundleTrainTask(str(bundle), {})({"model": bundle.name, "max_epochs": 2, "val_split": 0}, datastore)
    printed = capfd.readouterr()
    assert "'--nproc_per_node=2'" in caplog.text
    assert "Return code: 0" in caplog.text, printed.err
    assert printed.out.count("train: epoch 2/2") == 1, "one of the two tells"
    assert (bundle / "models" / "model.pt").read_bytes() != before


class TestRefused:
    """A training that is refused says why, leaves the weights alone and the server up."""

    @staticmethod
    def refuse(server: Server, model: str, **params: object) -> str:
        weights = server.app / "model" / model / "models" / "model.pt"
        before = weights.read_bytes()
        task = server.train(model, max_epochs=2, val_split=0, **params)
        assert task["status"] == "ERROR"
        assert weights.read_bytes() == before
        assert model in server.get("/info/")["models"]
        (error,) = [line for line in task["details"] if line.startswith("error: ")]
        assert not [line for line in task["details"] if "epoch 1/" in line]
        return error

    def test_a_class_that_the_model_does_not_have(self, server, annotated, tmp_path):
        model, _ = annotated
        label = correct(server.studies / "rgb.png", 2)
        label[60:70, 40:50] = 7
        server.submit("rgb", save(label, server.studies / "rgb.png", tmp_path / "wrong.png"))
        error = self.refuse(server, model)
        assert "labels/final/rgb.png: has pixels of class 7, which the model does not have" in error
        assert (server.studies / "labels" / "final" / "rgb.png").is_file()

    def test_no_label_at_all(self, server, folders):
        model = next(iter(folders.values())).name
        assert "there is no image with a label to train on; submit a label first" in self.refuse(server, model)
