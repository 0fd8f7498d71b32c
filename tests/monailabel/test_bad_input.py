"""What cannot be segmented is an error that the server's log names, and the server stays up."""

from __future__ import annotations

import pytest
from server import MONAIBUNDLE, make_app, monaibundle_conf, serve


def fail(server, model: str, image: str) -> str:
    """Ask for a label that cannot be had, and return the error that the server prints."""
    printed = len(server.printed())
    answer = server.ask_label(model, image)
    # MONAI Label tells a client no more than this; what it was is in its log.
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert server.get("/info/")["models"]
    errors = [line for line in server.printed()[printed:].splitlines() if "Error: " in line and line[0] not in " ["]
    return errors[-1]


@pytest.mark.parametrize(
    ("dataset", "image", "message"),
    [
        ("drive", "cut_off", "cut_off.png: cannot be read as an image, copy it again"),
        ("ph2", "text", "text.png: cannot be read as an image; copy it again"),
        ("drive", "scan", "scan.nii.gz: is a volume; expected an image"),
        ("kidneyus", "scan", "scan.nii.gz: is a volume; expected an image"),
        ("chaos", "rgb", "rgb.png: expected a volume, a NIfTI file or a folder of DICOM slices"),
    ],
)
def test_an_image_that_the_model_cannot_read(server, folders, dataset, image, message):
    error = fail(server, f"{dataset}_segmentation", image)
    assert "errors.InputError: " in error
    assert message in error


@pytest.mark.parametrize(
    ("folder", "missing"), [("without_weights", "model.pt"), ("without_inference", "inference.yaml")]
)
def test_a_bundle_without_a_file_is_left_out_and_named(server, folder, missing):
    assert folder not in server.get("/info/")["models"]
    ignored = f"Ignore {server.app / 'model' / folder} as "
    warnings = [line for line in server.printed().splitlines() if ignored in line]
    assert warnings
    assert all(missing in line for line in warnings)
    fail(server, folder, "rgb")


def test_a_bundle_without_metadata_keeps_the_server_from_starting(folders, alone, tmp_path):
    """MONAI Label reads it unconditionally; it is better than to serve labels that nobody can name."""
    bundle = next(iter(folders.values()))
    app = make_app(tmp_path / "app", [bundle], MONAIBUNDLE)
    (app / "model" / bundle.name / "configs" / "metadata.json").unlink()
    (tmp_path / "studies").mkdir()
    with (
        pytest.raises(RuntimeError, match=r"No such file or directory: '.*metadata\.json'"),
        serve(app, tmp_path / "studies", alone, **monaibundle_conf([bundle.name])),
    ):
        pass
    assert (app / "model" / bundle.name / "models" / "model.pt").is_file()
