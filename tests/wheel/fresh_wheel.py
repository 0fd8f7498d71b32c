"""The four commands as somebody has them who installed the wheel; run by ci/test_wheel.sh.

The name of this file keeps it out of the ordinary suite, which has no such environments. Tests are in the order in
which commands are given: each begins with what those before it wrote.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
WITH_TORCH, WITHOUT_TORCH = ROOT / ".venv-wheel", ROOT / ".venv-onnx"
NAMES = [f"wound {number:02}" for number in range(12)]
NEW = ["new 1", "new ä"]
WIDTH, HEIGHT = 96, 72
TINY = {
    "image_size": 64, "sample_size": 32, "epochs": 1, "val_interval": 1, "samples_per_epoch": 4, "batch_size": 4,
    "num_images": 4, "num_inference_steps": 2, "diffusion_channels": "32,32,32,32",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """An empty folder with photographs and masks in it."""
    place = tmp_path_factory.mktemp("user")
    random = np.random.default_rng(0)
    for folder in ("photos", "masks", "new photos"):
        (place / folder).mkdir()
    for name in NAMES:
        image, mask = draw_wound(random)
        Image.fromarray(image).save(place / "photos" / f"{name}.png")
        Image.fromarray(mask).save(place / "masks" / f"{name}.png")
    for name in NEW:
        Image.fromarray(draw_wound(random)[0]).save(place / "new photos" / f"{name}.png")
    return place


def draw_wound(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a photograph ``(72, 96, 3)`` and its mask ``(72, 96)``, 255 in the wound."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    radii, centre = random.uniform((14, 10), (24, 18)), random.uniform((34, 28), (62, 44))
    inside = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
    image = np.where(inside[..., None], (150, 50, 50), (220, 180, 160)) + random.normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(image, 0, 255).astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


def give(place: Path, *words: object, environment: Path = WITH_TORCH) -> subprocess.CompletedProcess[str]:
    """Give a command, without a terminal, to what is installed in an environment, in a folder."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    variables |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    command = [str(environment / "bin" / "task-distill"), *map(str, words)]
    return subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True, timeout=900, check=False)


def succeed(place: Path, *words: object, environment: Path = WITH_TORCH) -> str:
    """Give a command that must succeed, and return what it printed; that it made no bar in a log is checked, too."""
    done = give(place, *words, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    return done.stdout


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*_mask.png"))}


def test_it_is_installed_and_comes_from_no_other_place(place):
    for environment in (WITH_TORCH, WITHOUT_TORCH):
        assert re.fullmatch(r"task-distill \d+\.\d+\.\d+\n", succeed(place, "--version", environment=environment))
        code = "import common; print(common.__file__)"
        command = [environment / "bin" / "python", "-c", code]
        found = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout
        assert found.startswith(str(environment))


def test_help_says_which_commands_there_are(place):
    printed = succeed(place, environment=WITHOUT_TORCH)
    for name in ("create", "check", "pipeline", "predict", "list"):
        assert f"\n  {name} " in printed
    assert succeed(place, "help", "predict", environment=WITHOUT_TORCH) == succeed(place, "predict", "--help")


def test_create_says_what_it_chose_and_writes_a_bundle(place):
    options = ("--images", "photos/", "--labels", "masks/", "--classes", "background,wound", "--output_dir", ".")
    printed = succeed(place, "create", "wounds", *options)
    assert re.search(r"^images +12 images in ", printed, re.MULTILINE)
    assert re.search(r"^labels +black and white", printed, re.MULTILINE)
    assert "task-distill check wounds_segmentation" in printed
    bundle = place / "wounds_segmentation"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="ascii"))
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "wound"}
    assert Image.open(bundle / "docs" / "labels.png").width > WIDTH
    page = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    for name in ("PH2", "DRIVE", "CHAOS", "BUSI"):  # nobody else's data
        assert name not in page + json.dumps(metadata)


def test_a_bundle_that_is_there_is_not_overwritten(place):
    options = ("--images", "photos/", "--labels", "masks/", "--classes", "background,wound")
    done = give(place, "create", "wounds", *options)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*wounds_segmentation exists; .*--overwrite.*\n", done.stderr)


def test_check_finds_the_data_by_itself(place):
    printed = succeed(place, "check", "wounds_segmentation")
    assert ": no errors; read 1 note above\n" in printed
    assert re.search(r"^wound +1\d\.\d %  +12 +8$", printed, re.MULTILINE)
    assert (place / "wounds_segmentation" / "eval" / "check.png").is_file()


def test_pipeline_trains_a_student_on_the_cpu(place):
    overrides = [word for key, value in TINY.items() for word in (f"--{key}", value)]
    printed = succeed(place, "pipeline", "wounds_segmentation", "--output_dir", "runs/wounds", *overrides)
    assert "[7/7] evaluate" in printed
    assert re.search(r"^student +0\.\d{3}", printed, re.MULTILINE)
    assert "task-distill predict" in printed.splitlines()[-1]
    assert (place / "runs" / "wounds" / "model.pt").is_file()
    recorded = json.loads((place / "runs" / "wounds" / "model.provenance.json").read_text(encoding="utf-8"))
    assert recorded["provenance"]["classes"] == ["background", "wound"]


def test_predict_writes_masks_overlays_and_a_table(place):
    weights = ("--weights", "runs/wounds/model.pt")
    printed = succeed(place, "predict", "new photos", *weights, "--output_dir", "new masks", "--overlays", "--table")
    assert printed.splitlines()[-1] == "2 masks written to new masks"
    masks = masks_in(place / "new masks")
    assert [mask.shape for mask in masks.values()] == [(HEIGHT, WIDTH)] * len(NEW)
    assert set(np.unique(list(masks.values()))) <= {0, 1}
    assert len(list((place / "new masks").glob("*_overlay.png"))) == len(NEW)
    with open(place / "new masks" / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {f"{name}.png" for name in NEW}
    assert [row["doubt"] for row in rows] == sorted((row["doubt"] for row in rows), reverse=True)


def test_predict_names_what_it_had_to_leave_out(place):
    some = place / "some photos"
    some.mkdir()
    (some / "good.png").write_bytes((place / "new photos" / f"{NEW[0]}.png").read_bytes())
    (some / "bad.png").write_bytes(b"no picture")
    done = give(place, "predict", some, "--weights", "runs/wounds/model.pt", "--output_dir", "some masks")
    assert done.returncode == 1
    assert "bad.png" in done.stderr
    assert list(masks_in(place / "some masks")) == ["good_mask.png"]


def test_a_released_student_gives_the_same_masks_without_pytorch(place):
    weights = ("--weights", "runs/wounds/model.pt")
    succeed(place, "release", "wounds_segmentation", *weights, "--output_dir", "dist")
    onnx = place / "dist" / "wounds_segmentation" / "models" / "model.onnx"
    options = ("--weights", onnx, "--output_dir", "onnx masks", "--table")
    printed = succeed(place, "predict", "new photos", *options, environment=WITHOUT_TORCH)
    assert printed.splitlines()[-1] == "2 masks written to onnx masks"
    found, expected = masks_in(place / "onnx masks"), masks_in(place / "new masks")
    assert found.keys() == expected.keys()
    assert np.mean(np.stack(list(found.values())) == np.stack(list(expected.values()))) > 0.9999
    missing = give(place, "predict", "new photos", *weights, "--output_dir", "x", environment=WITHOUT_TORCH)
    assert missing.returncode == 1
    assert re.fullmatch(r"error: .*PyTorch.*\n", missing.stderr), missing.stderr


def test_list_says_what_a_bundle_has(place):
    assert "wounds_segmentation " in succeed(place, "list", "bundles")
    assert re.search(r"^epochs +60", succeed(place, "list", "keys", "wounds_segmentation", "train"), re.MULTILINE)
