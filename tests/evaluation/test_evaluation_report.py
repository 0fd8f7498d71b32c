"""Reports: tables, summaries and pictures that say what the predictions are worth."""

from __future__ import annotations

import ast
import csv
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from measures import dice, hd95
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import HausdorffDistance, MeanDice, from_engine
from monai.transforms import AsDiscreted
from PIL import Image
from torch import nn

from common import evaluation, pictures
from common.errors import InputError
from common.evaluation.distances import SpacedHausdorffDistance
from common.evaluation.report import EvaluationReport
from common.files.fingerprints import network_fingerprint
from common.pictures.sheets import pictures_of


class Threshold(nn.Module):
    """Takes the brightness of a pixel for the certainty that it belongs to a structure."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(7))

    def forward(self, images):
        return torch.cat([0.5 - images, images - 0.5], dim=1)


def square(left: int, top: int, side: int = 8) -> torch.Tensor:
    mask = torch.zeros(1, 24, 20)
    mask[0, left : left + side, top : top + side] = 1
    return mask


PREDICTED = [square(4, 4), square(7, 4), square(2, 2)]
EXPECTED = [square(4, 4), square(4, 4, 6), torch.zeros(1, 24, 20)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a report on three cases: a hit, a miss, and one without anything to find."""
    folder = tmp_path_factory.mktemp("report") / "student"
    cases = [
        {"image": MetaTensor(image, meta={"filename_or_obj": f"/data/{name}.test.png"}), "label": label}
        for name, image, label in zip(("b", "a", "c"), PREDICTED, EXPECTED, strict=True)
    ]
    network = Threshold()
    pair = from_engine(["pred", "label"])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(cases, batch_size=2),
        network=network,
        postprocessing=AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=2),
        key_val_metric={"dice": MeanDice(include_background=False, output_transform=pair)},
        additional_metrics={"hd95": HausdorffDistance(include_background=False, percentile=95, output_transform=pair)},
        val_handlers=[EvaluationReport(folder, ["background", "vessel"], network, "student", {"patch_size": 8})],
    )
    evaluator.run()
    evaluator.run()  # a second run reports on the same cases, not on twice as many
    return folder


def test_table_has_a_row_for_each_case_and_class(report):
    with (report / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"]) for row in rows] == [
        ("b.test", "vessel"), ("a.test", "vessel"), ("c.test", "vessel"),
    ]  # fmt: skip
    for row, predicted, expected in zip(rows[:2], PREDICTED, EXPECTED, strict=False):
        a, b = predicted[0].bool().numpy(), expected[0].bool().numpy()
        assert float(row["dice"]) == pytest.approx(dice(a, b), rel=1e-5)
        assert float(row["hd95"]) == pytest.approx(hd95(a, b), rel=1e-5)
    assert not np.isfinite(float(rows[2]["hd95"]))


def test_summary_counts_cases_parameters_and_distances_to_nothing(report):
    summary = json.loads((report / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert summary["subject"] == "student"
    assert summary["cases"] == 3
    assert summary["parameters"] == 7
    assert summary["milliseconds_per_image"] >= 0
    assert summary["distance_unit"] == "px"
    assert summary["metrics"]["hd95"]["vessel"]["undefined"] == 1
    a, b = PREDICTED[1][0].bool().numpy(), EXPECTED[1][0].bool().numpy()
    assert summary["metrics"]["hd95"]["mean"]["mean"] == pytest.approx(hd95(a, b) / 2, rel=1e-5)


def test_summary_says_which_network_and_settings_it_is_about(report):
    summary = json.loads((report / "summary.json").read_text())
    assert summary["network"] == network_fingerprint(Threshold())
    assert summary["settings"] == {"patch_size": 8}
    other = Threshold()
    other.unused.data.add_(1)
    assert summary["network"] != network_fingerprint(other)


def test_agreement_of_annotators_is_in_the_summary_with_null_where_it_is_unknown(tmp_path):
    case = {"image": MetaTensor(PREDICTED[0], meta={"filename_or_obj": "a.png"}), "label": EXPECTED[0]}
    pair = from_engine(["pred", "label"])
    agreement = {"vessel": 0.9, "cortex": float("nan")}
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader([case], batch_size=1),
        network=Threshold(),
        postprocessing=AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=2),
        key_val_metric={"dice": MeanDice(include_background=False, output_transform=pair)},
        val_handlers=[EvaluationReport(tmp_path, ["background", "vessel"], Threshold(), "a", annotator_dice=agreement)],
    ).run()
    assert json.loads((tmp_path / "summary.json").read_text())["annotator_dice"] == {"vessel": 0.9, "cortex": None}


def test_classes_may_be_given_by_id(tmp_path):
    report = EvaluationReport(tmp_path, {2: "vein", 0: "background", 1: "artery"}, Threshold(), "student")
    assert report.classes == ["artery", "vein"]


def test_unknown_overlay_style_is_refused(tmp_path):
    with pytest.raises(ValueError, match="overlay_style must be one of auto, area, border, got 'outline'"):
        EvaluationReport(tmp_path, ["background", "vessel"], Threshold(), "student", overlay_style="outline")


def test_where_distances_cannot_be_measured_it_is_said_before_anything_is(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(InputError, match="SciPy, which is not installed: pip install scipy"):
        EvaluationReport(tmp_path, ["background", "vessel"], Threshold(), "student")


def test_every_case_has_its_picture(report):
    assert sorted(path.name for path in (report / "overlays").iterdir()) == ["a.test.png", "b.test.png", "c.test.png"]
    for path in (report / "overlays").iterdir():
        with Image.open(path) as sheet:
            assert list(pictures_of(sheet)) == ["image", "comparison"]


# Reports on volumes

SPACINGS = {"7": (0.8, 0.7, 5.0), "12": (1.2, 2.0, 3.0)}  # millimetres between columns, rows and slices


def box(*corners: tuple[int, int]) -> torch.Tensor:
    mask = torch.zeros(1, 24, 20, 9)
    mask[(0, *(slice(*corner) for corner in corners))] = 1
    return mask


PREDICTED_VOLUMES = [box((4, 12), (3, 9), (2, 6)), box((5, 18), (2, 15), (1, 5))]
EXPECTED_VOLUMES = [box((5, 15), (4, 10), (3, 8)), box((5, 15), (4, 14), (2, 7))]


def oblique_affine(spacing: tuple[float, ...]) -> torch.Tensor:
    """Return the affine of slices that are tilted, and stored from the back to the front."""
    cos, sin = np.cos(0.3), np.sin(0.3)
    axes = np.array([[0, cos, sin], [-1, 0, 0], [0, -sin, cos]])
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = -100, 50, 7
    return torch.tensor(affine)


def report_on_volumes(folder):
    """Write a report on two volumes in one batch, of one file name and different spacing."""
    cases = [
        {
            "image": MetaTensor(image, affine=oblique_affine(spacing), meta={"filename_or_obj": "/data/DICOM_anon"}),
            "label": MetaTensor(label, affine=oblique_affine(spacing)),
            "patient": patient,
        }
        for (patient, spacing), image, label in zip(SPACINGS.items(), PREDICTED_VOLUMES, EXPECTED_VOLUMES, strict=True)
    ]
    network = Threshold()
    pair = from_engine(["pred", "label"])
    distance = SpacedHausdorffDistance(include_background=False, percentile=95, output_transform=pair)
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(cases, batch_size=2),
        network=network,
        postprocessing=AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=2),
        key_val_metric={"dice": MeanDice(include_background=False, output_transform=pair)},
        additional_metrics={"hd95": distance},
        val_handlers=[
            EvaluationReport(
                folder, ["background", "liver"], network, "student", case_key="patient", distance_unit="mm"
            )
        ],
    ).run()


@pytest.fixture(scope="module")
def volume_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "student"
    report_on_volumes(folder)
    return folder


def test_the_log_counts_volumes_as_such(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    report_on_volumes(tmp_path)
    assert "student on 2 volumes: dice" in caplog.text


def test_volumes_are_named_by_the_key_and_measured_in_millimetres(volume_report):
    with (volume_report / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == list(SPACINGS)
    for row, predicted, expected in zip(rows, PREDICTED_VOLUMES, EXPECTED_VOLUMES, strict=True):
        a, b = predicted[0].bool().numpy(), expected[0].bool().numpy()
        assert float(row["dice"]) == pytest.approx(dice(a, b), rel=1e-5)
        assert float(row["hd95"]) == pytest.approx(hd95(a, b, SPACINGS[row["case"]]), rel=1e-5)
        assert float(row["hd95"]) != pytest.approx(hd95(a, b), rel=0.05), "the same in voxels: not a test"
    summary = json.loads((volume_report / "summary.json").read_text())
    assert summary["distance_unit"] == "mm"
    assert summary["metrics"]["hd95"]["liver"]["mean"] == pytest.approx(
        np.mean([float(row["hd95"]) for row in rows]), rel=1e-4
    )


def test_every_volume_has_its_picture(volume_report):
    shown_in = {}
    for path in (volume_report / "overlays").iterdir():
        with Image.open(path) as sheet:
            shown_in[path.name] = np.asarray(pictures_of(sheet)["image"].resize((24, 20), Image.Resampling.NEAREST))
    assert shown_in.keys() == {"7.png", "12.png"}
    for picture, predicted in zip((shown_in["7.png"], shown_in["12.png"]), PREDICTED_VOLUMES, strict=True):
        shown = picture[..., 0] > 127
        assert (shown == predicted[0, ..., 4].bool().numpy().T).all(), "a slice through both boxes"


# Where it runs


@pytest.mark.parametrize(
    "path",
    [*sorted(Path(evaluation.__file__).parent.glob("*.py")), *sorted(Path(pictures.__file__).parent.glob("*.py"))],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_it_is_imported_where_a_student_alone_is_installed(path):
    imported = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert not imported & {"scipy", "matplotlib", "transformers", "peft", "diffusers"}
