"""Reports: tables, intervals and pictures that say what the predictions are worth."""

from __future__ import annotations

import csv
import json
import logging
import sys

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import HausdorffDistance, MeanDice, from_engine
from monai.transforms import AsDiscreted
from PIL import Image
from scipy import stats
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import nn

from common.errors import InputError
from common.evaluation.distances import SpacedHausdorffDistance
from common.evaluation.report import EvaluationReport
from common.evaluation.subjects import load_subject
from common.evaluation.summary import summarise
from common.files.fingerprints import network_fingerprint
from common.files.weights import save_weights

# Summaries


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 1, (30, 2))


def test_mean_and_standard_deviation_are_numpys(values):
    summary = summarise(values, ["liver", "spleen"])
    assert list(summary) == ["liver", "spleen", "mean"]
    for name, column in zip(summary, [values[:, 0], values[:, 1], values.mean(axis=1)], strict=True):
        assert summary[name]["mean"] == pytest.approx(column.mean())
        assert summary[name]["sd"] == pytest.approx(column.std(ddof=1))
        assert summary[name]["undefined"] == 0


def test_interval_is_the_bootstraps(values):
    column = values[:, 0]
    low, high = summarise(values, ["liver", "spleen"])["liver"]["ci95"]
    expected = stats.bootstrap(
        (column,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    tolerance = 0.1 * (expected.high - expected.low)
    assert low == pytest.approx(expected.low, abs=tolerance)
    assert high == pytest.approx(expected.high, abs=tolerance)
    assert low < column.mean() < high


def test_interval_is_the_same_every_time(values):
    assert summarise(values, ["a", "b"]) == summarise(values, ["a", "b"])
    assert summarise(values, ["a", "b"], seed=1) != summarise(values, ["a", "b"])


def test_rows_of_a_group_are_drawn_together(values):
    repeated, groups = np.repeat(values, 4, axis=0), np.repeat(np.arange(len(values)), 4)
    once, alone = summarise(values, ["a", "b"]), summarise(repeated, ["a", "b"])
    together = summarise(repeated, ["a", "b"], groups=[f"case {number}" for number in groups])
    widths = [entry["a"]["ci95"][1] - entry["a"]["ci95"][0] for entry in (once, alone, together)]
    assert widths[2] == pytest.approx(widths[0], rel=0.1)
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.1), "four times as many rows, if they were independent"
    assert together["a"]["mean"] == pytest.approx(values[:, 0].mean())


def test_groups_of_several_sizes_weigh_what_they_hold():
    values, groups = np.array([[0.0], [0.0], [0.0], [1.0]]), ["a", "a", "a", "b"]
    entry = summarise(values, ["c"], groups=groups)["c"]
    assert entry["mean"] == 0.25
    assert entry["ci95"] == [0, 1], "the four draws of two groups are aa, ab, ba and bb"


def test_undefined_values_are_counted_and_left_out():
    values = np.array([[1.0, np.inf], [3.0, 5.0], [np.nan, np.nan]])
    summary = summarise(values, ["a", "b"])
    assert [summary[name]["undefined"] for name in ("a", "b", "mean")] == [1, 2, 1]
    assert [summary[name]["mean"] for name in ("a", "b")] == [2, 5]
    assert summary["mean"]["mean"] == (1 + 4) / 2  # the first case has only one class


def test_metric_that_is_nowhere_defined_is_null_and_not_nan():
    summary = summarise(np.full((3, 1), np.nan), ["a"])
    assert summary["a"] == {"mean": None, "sd": None, "ci95": None, "undefined": 3}
    json.dumps(summary, allow_nan=False)


def test_single_case_has_no_spread():
    entry = summarise(np.array([[0.8]]), ["a"])["a"]
    assert entry == {"mean": 0.8, "sd": 0.0, "ci95": [0.8, 0.8], "undefined": 0}


# Reports


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


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def hd95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...] | None = None) -> float:
    edges = [mask & ~binary_erosion(mask) for mask in (a, b)]
    there = distance_transform_edt(~edges[1], sampling=spacing)[edges[0]]
    back = distance_transform_edt(~edges[0], sampling=spacing)[edges[1]]
    return max(np.percentile(there, 95), np.percentile(back, 95))


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


def test_unknown_overlay_style_is_refused(tmp_path):
    with pytest.raises(ValueError, match="overlay_style must be one of area, border, got 'outline'"):
        EvaluationReport(tmp_path, ["background", "vessel"], Threshold(), "student", overlay_style="outline")


def test_where_distances_cannot_be_measured_it_is_said_before_anything_is(tmp_path, monkeypatch):
    monkeypatch.setattr("common.evaluation.report.find_spec", lambda name: None)
    with pytest.raises(InputError, match="SciPy, which is not installed: pip install scipy"):
        EvaluationReport(tmp_path, ["background", "vessel"], Threshold(), "student")


def test_every_case_has_its_picture(report):
    assert sorted(path.name for path in (report / "overlays").iterdir()) == ["a.test.png", "b.test.png", "c.test.png"]


def test_time_is_reported_per_image(tmp_path):
    """A batch of two that takes twice as long is as fast."""
    report = EvaluationReport(tmp_path, ["background", "vessel"], Threshold(), "student")
    clock = iter([0.0, 0.2, 1.0, 1.2])
    engine = type("Engine", (), {"state": type("State", (), {"batch": {"image": torch.zeros(2, 1, 4, 4)}})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.perf_counter", lambda: next(clock))
        for _ in range(2):
            report.start_clock(engine)
            report.stop_clock(engine)
    assert np.median(report.seconds) == pytest.approx(0.1)


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
    pictures = {path.name: np.asarray(Image.open(path)) for path in (volume_report / "overlays").iterdir()}
    assert pictures.keys() == {"7.png", "12.png"}
    for picture, predicted in zip((pictures["7.png"], pictures["12.png"]), PREDICTED_VOLUMES, strict=True):
        shown = picture[:, :24, 0] > 127
        assert (shown == predicted[0, ..., 4].bool().numpy().T).all(), "a slice through both boxes"


# What is evaluated


def test_student_is_loaded_from_its_checkpoint(tmp_path):
    trained = Threshold()
    trained.unused.data += 3
    save_weights(trained, tmp_path / "model.pt")
    loaded = load_subject("student", Threshold(), tmp_path / "model.pt", tmp_path / "teacher", "embedded")
    assert torch.equal(loaded.unused, trained.unused)


def test_missing_student_is_named_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"model\.pt does not exist: run train first"):
        load_subject("student", Threshold(), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_missing_teacher_is_named_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(InputError, match="run finetune_teacher first"):
        load_subject("teacher", Threshold(), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_unknown_subject_is_named(tmp_path):
    with pytest.raises(InputError, match="subject: expected student or teacher, got 'pupil'"):
        load_subject("pupil", Threshold(), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_a_teacher_where_there_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="subject: there is no teacher here; take the student"):
        load_subject("teacher", Threshold(), tmp_path / "model.pt")


def test_a_teacher_where_its_packages_are_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "common.lora", None)
    with pytest.raises(InputError, match=r"subject: a teacher cannot be evaluated here \(.*common\.lora"):
        load_subject("teacher", Threshold(), tmp_path / "model.pt", tmp_path / "teacher", "embedded")
