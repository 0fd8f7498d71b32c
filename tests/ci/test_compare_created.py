"""Bundles that `create` makes of plain folders are compared with those made by hand: data, figures and table."""

from __future__ import annotations

from pathlib import Path

import compare_created
import nibabel
import numpy as np
import pytest
from created.plain_folders import PLANS, Plan, options_of, write_official, write_plain
from created.statistics import difference, mean_dice
from integration import BUNDLES
from PIL import Image
from scipy import stats

from common.templates import FACTS

SMALL = {
    "ph2": {"num_images": 8, "image_size": (40, 50)},
    "kidneyus": {"num_exams": 6, "image_size": (60, 80)},
    "drive": {"num_training": 4, "num_test": 2, "image_size": (60, 58)},
    "chaos": {"num_patients": 5, "image_size": (24, 32), "num_slices": 8},
}


@pytest.fixture
def plain(tmp_path):
    """Return what writes a dataset in both layouts."""

    def write(name: str):
        plan = Plan(SMALL[name], PLANS[name].words)
        dataset = write_official(BUNDLES / f"{name}_segmentation", plan, tmp_path / "official")
        write_plain(dataset, tmp_path / "plain")
        return dataset, tmp_path / "plain", options_of(dataset, plan, tmp_path / "plain")

    return write


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_every_bundle_is_compared():
    assert PLANS.keys() == FACTS.keys()


class TestPlainFolders:
    def test_have_the_images_of_each_split_and_their_labels_in_black_and_white(self, plain):
        dataset, folder, options = plain("ph2")
        for split, name in (("training", "train"), ("validation", "val"), ("test", "test")):
            entries = dataset.entries(split)
            images, labels = (sorted((folder / kind / name).iterdir()) for kind in ("images", "labels"))
            assert [path.stem for path in images] == [path.stem for path in labels]
            by_content = {path.read_bytes(): path.stem for path in images}
            assert len(by_content) == len(entries) > 0
            for entry in entries:
                label = read(folder / "labels" / name / f"{by_content[Path(entry['image']).read_bytes()]}.png")
                assert set(np.unique(label)) == {0, 255}
                np.testing.assert_array_equal(label > 0, dataset.load(entry)[1] > 0)
        assert options["classes"] == "background,lesion"
        assert (options["images"], options["split"]) == (str(folder / "images"), "folder")

    def test_have_class_ids_where_there_are_several_structures(self, plain):
        _, folder, options = plain("kidneyus")
        assert options["classes"] == "background,central echo complex,medulla,cortex"
        found = set().union(*(np.unique(read(path)).tolist() for path in folder.glob("labels/*/*.png")))
        assert found == {0, 1, 2, 3}

    def test_have_fields_of_view_where_the_dataset_has(self, plain):
        _, folder, options = plain("drive")
        assert options["field_of_view"] == str(folder / "fields")
        for image in folder.glob("images/*/*"):
            field = read(folder / "fields" / image.parent.name / f"{image.stem}.png")
            assert set(np.unique(field)) == {0, 255}

    def test_have_volumes_whose_labels_lie_on_them(self, plain):
        dataset, folder, options = plain("chaos")
        volumes = sorted(folder.glob("images/*/*.nii.gz"))
        assert len(volumes) == 5
        for path in volumes:
            image = nibabel.load(path)
            label = nibabel.load(folder / "labels" / path.parent.name / path.name)
            assert image.shape == label.shape
            np.testing.assert_array_equal(image.affine, label.affine)
            assert set(np.unique(np.asarray(label.dataobj))) <= set(dataset.classes)
            liver = np.asarray(image.dataobj)[np.asarray(label.dataobj) == 1]
            assert liver.std() < np.asarray(image.dataobj).std()
        assert "left_right" not in options

    def test_are_written_once(self, plain):
        _, folder, _ = plain("ph2")
        (folder / "images" / "note.txt").write_text("mine", encoding="utf-8")
        plain("ph2")
        assert (folder / "images" / "note.txt").is_file()


class TestDifference:
    def test_is_that_of_welch(self):
        ones, others = [0.81, 0.84, 0.80], [0.79, 0.85, 0.78]
        found = difference(ones, others)
        expected = stats.ttest_ind(ones, others, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.mean == pytest.approx(np.mean(ones) - np.mean(others))
        assert found.within_chance is True

    def test_of_a_bundle_that_is_worse_with_every_seed_is_beyond_chance(self):
        found = difference([0.60, 0.61, 0.62], [0.80, 0.81, 0.82])
        assert found.within_chance is False
        assert found.high < 0

    def test_of_one_seed_cannot_be_told(self):
        assert difference([0.6], [0.8]).within_chance is None

    def test_of_equal_figures_is_within_chance(self):
        assert difference([0.5, 0.5], [0.5, 0.5]).within_chance is True


METRICS = "case,class,dice,iou,hd95\na,liver,0.5,,\na,spleen,nan,,\nb,liver,0.7,,\nb,spleen,0.9,,\n"


def test_dice_is_the_mean_over_classes_of_the_cases_that_have_them(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS, encoding="utf-8")
    assert mean_dice(tmp_path / "metrics.csv") == pytest.approx((0.6 + 0.9) / 2)


class TestTable:
    @pytest.fixture
    def finished(self, tmp_path):
        """Return what writes the metrics of a run."""

        def write(kind: str, seed: int, dice: float) -> None:
            path = tmp_path / f"{kind}_seed{seed}" / compare_created.METRICS
            path.parent.mkdir(parents=True)
            path.write_text(f"case,class,dice\na,liver,{dice}\nb,liver,{dice}\n", encoding="utf-8")

        return write

    def test_has_a_line_for_a_dataset_with_the_runs_that_are_finished(self, finished, tmp_path):
        for seed, (one, other) in enumerate([(0.8, 0.81), (0.84, 0.8)]):
            finished("hand-made", seed, one)
            finished("created", seed, other)
        finished("hand-made", 2, 0.9)  # whose counterpart is missing
        line, beyond = compare_created.row_of("chaos", tmp_path, [0, 1, 2])
        assert line.startswith("| chaos | 2 | 0.800, 0.840 | 0.810, 0.800 | -0.015 (")
        assert line.endswith("| within chance |")
        assert not beyond

    def test_does_not_judge_by_one_seed(self, finished, tmp_path):
        finished("hand-made", 0, 0.8)
        finished("created", 0, 0.7)
        line, beyond = compare_created.row_of("chaos", tmp_path, [0])
        assert line == "| chaos | 2 | 0.800 | 0.700 | -0.100 | one seed: not known |"
        assert not beyond

    def test_says_what_is_beyond_chance(self, finished, tmp_path):
        for seed in range(3):
            finished("hand-made", seed, 0.8 + seed / 100)
            finished("created", seed, 0.5 + seed / 100)
        line, beyond = compare_created.row_of("chaos", tmp_path, [0, 1, 2])
        assert line.endswith("| beyond chance |")
        assert beyond

    def test_has_no_line_for_a_dataset_that_was_not_run(self, tmp_path):
        assert compare_created.row_of("ph2", tmp_path, [0]) is None
