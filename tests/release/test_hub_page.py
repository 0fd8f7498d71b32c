"""The front page of a release: what a hub indexes of it, its picture, and code that runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from integration import environment
from PIL import Image
from students import change_json, write_student

from common.errors import InputError
from common.release import hub_page
from common.release.hub_page import PICTURE

SAM = "facebook/sam-vit-base"
TAUGHT = {"teacher": SAM, "fine_tuned": True, "method": "task_specific_kd", "phantoms": False}


@pytest.fixture
def weights(tmp_path) -> Path:
    """A student that was measured on phantoms, with a picture of one."""
    path = write_student("drive", tmp_path / "run", provenance={**TAUGHT, "phantoms": True})
    change_json(path.parent / "evaluation" / "student" / "summary.json", phantoms=True)
    overlays = path.parent / "evaluation" / "student" / "overlays"
    overlays.mkdir()
    Image.new("RGB", (8, 8), "red").save(overlays / "case_1.png")
    Image.new("RGB", (8, 8), "blue").save(overlays / "case_2.png")
    return path


def front_matter(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_the_hubs_own_reader_finds_what_it_indexes(released):
    data = ModelCard.load(released / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("monai", "image-segmentation", "apache-2.0")
    assert data.metrics == ["dice", "iou", "hd95"]
    assert {"monai", "medical", "phantoms"} <= set(data.tags)
    results = {result.metric_name: result for result in data.eval_results}
    assert sorted(results) == sorted(f"{name}, {label}" for name in data.metrics for label in ("vessel", "mean"))
    assert 0.5 < results["dice, vessel"].metric_value < 1
    assert (results["dice, mean"].dataset_name, results["dice, mean"].dataset_type) == ("DRIVE", "drive")


class TestIndexed:
    def test_a_teacher_of_the_hub_is_linked_and_data_that_somebody_owns_keep_their_terms(self, release, tmp_path):
        found = front_matter(release("drive", write_student("drive", tmp_path / "run", provenance=TAUGHT)))
        assert found["base_model"] == SAM
        assert found["datasets"] == ["DRIVE"]
        assert found["license"] == "other"
        assert found["license_link"] == "docs/data_license.txt"
        assert "phantoms" not in found["tags"]

    @pytest.mark.parametrize("teacher", ["embedded", None])
    def test_what_is_not_on_the_hub_is_not_linked(self, teacher, release, tmp_path):
        known = {**TAUGHT, "teacher": teacher, "method": "scratch" if teacher is None else TAUGHT["method"]}
        found = front_matter(release("drive", write_student("drive", tmp_path / "run", provenance=known)))
        assert "base_model" not in found

    def test_phantoms_are_called_phantoms(self, release, weights):
        folder = release("drive", weights)
        found = front_matter(folder)
        assert "datasets" not in found
        assert found["model-index"][0]["results"][0]["dataset"]["name"] == "DRIVE phantoms, drawn by a program"
        assert "**It was trained on phantoms**" in (folder / "README.md").read_text(encoding="utf-8")

    def test_where_it_is_not_known_the_terms_of_the_data_are_named(self, release, tmp_path):
        assert front_matter(release("drive", write_student("drive", tmp_path / "run")))["license"] == "other"


class TestPicture:
    def test_a_phantom_is_shown_by_itself(self, release, weights):
        folder = release("drive", weights)
        first = weights.parent / "evaluation" / "student" / "overlays" / "case_1.png"
        assert (folder / PICTURE).read_bytes() == first.read_bytes()
        assert f"]({PICTURE})" in (folder / "README.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize("phantoms", [False, ...])
    def test_a_patient_never_is(self, phantoms, release, weights):
        change_json(weights.parent / "evaluation" / "student" / "summary.json", phantoms=phantoms)
        folder = release("drive", weights)
        assert not (folder / PICTURE).exists()
        assert PICTURE not in (folder / "README.md").read_text(encoding="utf-8")

    def test_one_that_is_given_is(self, release, tmp_path):
        Image.new("RGB", (8, 8), "green").save(tmp_path / "mine.png")
        weights = write_student("drive", tmp_path / "run")
        folder = release("drive", weights, picture=str(tmp_path / "mine.png"))
        assert (folder / PICTURE).read_bytes() == (tmp_path / "mine.png").read_bytes()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "does not exist; expected a PNG file"),
            (b"", "is no PNG file, or damaged"),
            (b"\x89PNG\r\n\x1a\n cut", "is no PNG file, or damaged"),
            (b"GIF89a", "is no PNG file, or damaged"),
            (bytes(2_000_001), "has more than 2 MB"),
        ],
    )
    def test_another_one_is_refused_before_anything_is_written(self, content, message, release, tmp_path):
        path = tmp_path / "mine.png"
        if content is not None:
            path.write_bytes(content)
        weights = write_student("drive", tmp_path / "run")
        with pytest.raises(InputError, match=rf"^--picture: {re.escape(str(path))} {message}"):
            release("drive", weights, picture=str(path))
        assert not (tmp_path / "dist" / "drive_segmentation").exists()


@pytest.mark.parametrize("number", [0, 1], ids=["torch", "monai"])
def test_its_code_runs_as_it_stands(number, released):
    text = (released / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[number]
    assert len([line for line in code.splitlines() if line]) <= 5
    check = "print(tuple(mask.shape), mask.dtype)" if number == 0 else "print(type(network).__name__)"
    kept = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + check],
        cwd=released, env={**kept, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ("(1, 128, 128) torch.int64" if number == 0 else "ViTSegmenter")


@pytest.mark.parametrize(("shape", "side"), [("16*n", 128), ("24*n", 144), ("256*n", 256), (64, 64)])
def test_the_image_of_its_example_is_one_that_the_student_takes(shape, side):
    assert hub_page._suitable_side(shape) == side
