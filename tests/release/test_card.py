"""The model card says what is known of the student, and the rest of the source's page as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from students import NAMES, bundle_of, change_json, write_student

SAM = "facebook/sam-vit-base"
STAND_IN = {"teacher": "embedded", "fine_tuned": True, "method": "task_specific_kd"}
PUBLISHED = {**STAND_IN, "teacher": SAM}


def one_line(text: str) -> str:
    return " ".join(text.split())


def summary_of(weights: Path) -> Path:
    return weights.parent / "evaluation" / "student" / "summary.json"


@pytest.fixture
def card(release, tmp_path):
    """Return what releases a student of a provenance, and returns its card and its metadata."""

    def write(provenance: dict | None = None, measured_on_phantoms: bool | None = None, **options) -> tuple[str, dict]:
        weights = write_student("drive", tmp_path / "run", provenance=provenance)
        if measured_on_phantoms is not None:
            change_json(summary_of(weights), phantoms=measured_on_phantoms)
        folder = release("drive", weights, **options)
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        return (folder / "docs" / "README.md").read_text(encoding="utf-8"), metadata

    return write


class TestTeacher:
    def test_a_stand_in_is_called_one(self, card):
        text, metadata = card(STAND_IN)
        assert "- **Teacher**: **a stand-in**" in text
        assert text.startswith("# Retinal vessel segmentation, distilled from a stand-in teacher\n")
        assert "stand-in teacher" in metadata["description"]
        for claim in (text.split("## References")[0], metadata["name"], metadata["description"]):
            assert "distilled from SAM" not in claim
            assert "distilled from a Segment Anything Model" not in claim

    def test_a_published_model_is_named(self, card):
        text, metadata = card(PUBLISHED)
        assert f"- **Teacher**: {SAM}." in text
        assert f"distilled from {SAM}, fine-tuned with LoRA" in one_line(text)
        assert "taught the student on images drawn by a diffusion model" in one_line(text)
        assert metadata["name"] == f"Retinal vessel segmentation, distilled from {SAM}"

    def test_what_its_base_was_trained_on_is_said_where_it_is_known(self, card):
        known = {"licence": "Apache-2.0", "trained_on": "photographs", "overlap": "DRIVE is not in it"}
        text, _ = card({**PUBLISHED, "teacher_card": known})
        assert f"- **Teacher**: {SAM} (Apache-2.0), trained on photographs; DRIVE is not in it." in one_line(text)

    def test_one_that_taught_as_it_was_published_is_not_said_to_have_been_fine_tuned(self, card):
        text, _ = card({"teacher": SAM, "fine_tuned": False, "method": "task_agnostic_kd"})
        assert f"distilled from {SAM} as it was published, and fine-tuned on labelled images" in one_line(text)
        assert "LoRA" not in text.split("## Data")[0]

    def test_nor_is_one_that_the_user_states(self, card):
        text, _ = card(teacher=SAM)
        assert f"distilled from {SAM}, and fine-tuned on labelled images" in one_line(text)
        assert "LoRA" not in text.split("## Data")[0]

    @pytest.mark.parametrize(
        ("provenance", "said"),
        [
            ({}, "unknown: it was not recorded"),
            ({"teacher": None, "method": None}, "none."),
            ({"teacher": None, "method": "mae"}, "none."),
        ],
    )
    def test_without_a_record_no_teacher_is_claimed(self, provenance, said, card):
        text, metadata = card(provenance)
        assert metadata["name"] == "Retinal vessel segmentation"
        assert f"- **Teacher**: {said}" in text
        assert "distilled from" not in text.split("## References")[0]
        assert ("after MAE pre-training" in metadata["description"]) == (provenance.get("method") == "mae")


class TestData:
    @pytest.mark.parametrize(
        ("phantoms", "data", "measured"),
        [
            (True, "- **Data**: **phantoms**: images drawn by a program", "Measured on 5 phantoms, which are drawn"),
            (False, "- **Data**: DRIVE, ", "Measured on 5 held-out cases: mean"),
            (None, "was not recorded.", "held-out cases (whether real ones or phantoms, drawn by a program, was not"),
        ],
    )
    def test_phantoms_are_called_phantoms_and_nothing_else_is(self, phantoms, data, measured, card):
        text, _ = card({} if phantoms is None else {"teacher": None, "phantoms": phantoms}, phantoms)
        assert data in one_line(text).split("| setting |")[0]
        assert measured in one_line(text)
        assert ("of no use on real images" in one_line(text)) == (phantoms is True)

    def test_what_it_was_trained_on_and_what_it_was_measured_on_are_two_things(self, card):
        text, _ = card({"teacher": None, "phantoms": True}, measured_on_phantoms=False)
        assert "- **Data**: **phantoms**" in one_line(text)
        assert "Measured on 5 held-out cases: mean" in one_line(text)

    @pytest.mark.parametrize(
        ("phantoms", "data"),
        [
            (True, "**phantoms**: images drawn by a program, none of a patient."),
            (False, "images of one's own, whose source whoever released this has not stated; the table says how many"),
            (None, "images of one's own; whether they were real"),
        ],
    )
    def test_a_source_that_nobody_filled_in_is_said_to_be_unknown(self, phantoms, data, card, tmp_path):
        bundle = Path(shutil.copytree(bundle_of("drive"), tmp_path / "drive_segmentation"))
        change_json(bundle / "configs" / "metadata.json", data_source="not stated: fill in")
        text, _ = card({"teacher": None, "phantoms": phantoms}, bundle=bundle)
        training = one_line(text.split("## Training")[1].split("## Performance")[0])
        assert training.startswith(f"- **Data**: {data}")
        assert "fill in" not in training

    def test_the_user_may_say_what_it_was_trained_on(self, card):
        said = "20 photographs of our clinic"
        assert f"- **Data**: {said} (as stated by whoever released it).\n" in card(trained_on=said)[0]
        text, _ = card({"phantoms": True}, trained_on=said, version="0.2.0", changes="phantoms")
        assert f"{said} (as stated by whoever released it); **phantoms**" in one_line(text)


class TestNumbers:
    def test_metrics_are_those_of_the_summary(self, card, tmp_path):
        text, metadata = card()
        summary = json.loads(summary_of(tmp_path / "run" / "model.pt").read_text(encoding="utf-8"))
        for name in ("dice", "iou", "hd95"):
            mean = summary["metrics"][name]["vessel"]["mean"]
            assert metadata["eval_metrics"][f"vessel_{name}"] == pytest.approx(mean, abs=1e-4)
        assert f"| vessel | {summary['metrics']['dice']['vessel']['mean']:.3f} ± " in text
        assert "Cases without a distance, since prediction or label is empty: vessel (1), mean (1)." in one_line(text)

    def test_settings_of_the_training_are_told(self, card):
        text, _ = card({"settings": {"num_labels": None, "seed": 7, "learning_rate": 0.001, "crop_size": 64}})
        assert "| labelled training images | all |\n" in text
        assert "| seed of the training | 7 |\n" in text
        assert text.count("pixels a side of what it saw") == 1
        assert "fine-tuning were not recorded" not in one_line(text)

    def test_without_them_the_card_says_so(self, card):
        text, _ = card()
        assert "- The settings of the fine-tuning were not recorded" in text
        assert "| pixels a side of what it saw | 64 |" in text


@pytest.mark.parametrize("name", NAMES)
def test_sections_of_the_source_are_there_word_for_word(name, release, tmp_path):
    """So they must not speak of what stays behind."""
    folder = release(name, write_student(name, tmp_path / "run"))
    text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    page = (bundle_of(name) / "docs" / "README.md").read_text(encoding="utf-8")
    for title in ("Data", "Preprocessing", "Intended use", "References", "License"):
        section = page.split(f"\n## {title}\n")[1].split("\n## ")[0].strip("\n")
        assert f"\n## {title}\n{section}\n" in text
        if title != "References":
            elsewhere = (
                "common.",
                "-m common",
                "teacher",
                "distil",
                "synthes",
                "demo",
                "--overlay",
                "finetune_teacher",
            )
            assert [word for word in elsewhere if word in section.lower()] == [], section


def test_a_page_that_was_reworded_is_copied_as_it_is(release, tmp_path):
    """Edited by its user, with sentences that no release has seen before."""
    bundle = shutil.copytree(bundle_of("drive"), tmp_path / "drive_segmentation")
    page = bundle / "docs" / "README.md"
    ours = "Every stage of our `cpu.yaml` teaches; python -m common is what the teacher need be told."
    page.write_text(
        page.read_text(encoding="utf-8").replace("\n## Network", f"\n{ours}\n\n## Network"), encoding="utf-8"
    )
    folder = release("drive", write_student("drive", tmp_path / "run"), bundle=bundle)
    assert ours in (folder / "docs" / "README.md").read_text(encoding="utf-8")


def test_it_says_how_to_run_and_what_for(card):
    text, _ = card(PUBLISHED)
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        *("Description", "Training", "Performance", "Data", "Preprocessing", "Network", "How to run it"),
        *("Intended use", "References", "License"),
    ]
    assert "monailabel start_server" in text
    assert "--config_file configs/inference.yaml" in text
    assert max(map(len, text.splitlines())) <= 200
    assert "\n\n\n" not in text
