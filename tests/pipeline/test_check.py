"""``python -m common check``: values come from the bundle, and what is wrong is said in one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from integration import BUNDLE, run_python
from monai.bundle import ConfigParser

from common.__main__ import main
from common.errors import InputError
from common.pipeline.check import check_bundle

BUNDLES = sorted(path for path in BUNDLE.parent.glob("*_segmentation"))
FILES = ["check.json", "check.png", "dataset_manifest.json"]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class TestBundles:
    @pytest.fixture
    def bundle(self, tmp_path) -> Path:
        """A CHAOS bundle of nothing but what the check reads."""
        configs = tmp_path / "chaos_segmentation" / "configs"
        configs.mkdir(parents=True)
        values = {"modality": "t1_out", "num_validation": "$1 + @more", "more": 1, "num_labels": 5, "epochs": 60}
        values["data"] = {
            "_target_": "common.datasets.chaos.ChaosDataset",
            "root": "@dataset_dir",
            "modality": "@modality",
            "num_validation": "@num_validation",
            "num_labels": "@num_labels",
            "manifest": "$@output_dir + '/manifest.json'",
        }
        (configs / "train.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        return configs.parent

    def test_values_of_the_keys_are_those_of_its_training(self, bundle, tiny_phantoms):
        summary = check_bundle(bundle, tiny_phantoms("chaos"))
        expected = {"modality": "t1_out", "split_seed": 0, "num_validation": 2, "num_labels": 5}
        assert summary["settings"] == expected
        assert summary["splits"]["training"]["images"] == 5
        assert files_in(bundle / "eval") == FILES

    def test_what_is_given_counts_more(self, bundle, tiny_phantoms, tmp_path):
        summary = check_bundle(bundle, tiny_phantoms("chaos"), tmp_path / "out", modality="ct", num_labels=None)
        expected = {"modality": "ct", "split_seed": 0, "num_validation": 2, "num_labels": None}
        assert summary["settings"] == expected
        assert not (bundle / "eval").exists()
        assert files_in(tmp_path / "out") == FILES

    @pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
    def test_of_the_project_pass_on_their_phantoms(self, bundle, tiny_phantoms, tmp_path):
        folder = tiny_phantoms(bundle.name.removesuffix("_segmentation"))
        summary = check_bundle(bundle, folder, tmp_path, num_validation=1)  # phantoms are fewer than real images
        config = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "train.yaml")))
        for key in ("split_seed", "num_labels"):
            assert summary["settings"][key] == config.get_parsed_content(key)
        assert len(summary["classes"]) == config.get_parsed_content("num_classes")

    def test_that_do_not_exist_are_refused(self, bundle, tmp_path):
        with pytest.raises(InputError, match=r"nowhere is not a bundle: expected .*segmentation$"):
            check_bundle(tmp_path / "nowhere", tmp_path)
        (tmp_path / "lung_segmentation" / "configs").mkdir(parents=True)
        with pytest.raises(InputError, match=r"there is no config .*lung_segmentation.configs.train\.yaml"):
            check_bundle(tmp_path / "lung_segmentation", tmp_path)
        (tmp_path / "lung_segmentation" / "configs" / "train.yaml").write_text("epochs: 3\n")
        with pytest.raises(InputError, match="data: expected the dataset of the config"):
            check_bundle(tmp_path / "lung_segmentation", tmp_path)

    def test_what_has_been_checked_is_not_decoded_again(self, bundle, tiny_phantoms, monkeypatch):
        summary = check_bundle(bundle, tiny_phantoms("chaos"))
        monkeypatch.setattr("common.datasets.chaos.check_scan", None)
        assert check_bundle(bundle, tiny_phantoms("chaos")) == summary

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"task": "regions"}, "--task: there is no such key; .* modality, num_validation, num_labels$"),
            ({"seed": 3}, "--seed: there is no such key"),
            ({"a": 1, "b": 2}, "--a: there is no such key; --b: there is no such key"),
            ({"modality": "mr"}, "modality: expected ct, t1_in, t1_out, t2, got 'mr'"),
            ({"modality": ["ct", "t2"]}, r"modality: expected ct, .*, got \['ct', 't2'\]"),
            ({"num_validation": "two"}, "num_validation: expected a whole number of at least 0, got 'two'"),
            ({"num_labels": True}, "num_labels: expected a whole number of at least 1, or null, got True"),
            ({"num_labels": 99}, "num_labels must be between 1 and the 20 training slices available, got 99"),
        ],
    )
    def test_keys_that_are_wrong_are_refused(self, bundle, tiny_phantoms, keys, message, tmp_path):
        with pytest.raises(InputError, match=message):
            check_bundle(bundle, tiny_phantoms("chaos"), tmp_path / "out", **keys)
        assert not (tmp_path / "out").exists()


class TestCommandLine:
    """What a user sees: the report, or one line that begins with ``error:``, no traceback, and an exit code."""

    @pytest.fixture
    def call(self, monkeypatch) -> Callable[..., None]:
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)

        def run(*arguments: str | Path) -> None:
            monkeypatch.setattr(sys, "argv", ["task-distill", "check", *map(str, arguments)])
            main()

        return run

    def test_a_sound_dataset(self, call, tiny_phantoms, tmp_path, capsys):
        keys = ("--num_labels", "2", "--num_validation", "1", "--split_seed", "4")
        call(BUNDLE, "--dataset_dir", tiny_phantoms("drive"), "--output_dir", tmp_path / "out", *keys)
        printed = capsys.readouterr().out
        assert f"drive in {tiny_phantoms('drive')}: no issues" in printed
        assert "None" not in printed
        summary = json.loads((tmp_path / "out" / "check.json").read_text())
        assert summary["settings"] == {"split_seed": 4, "num_validation": 1, "num_labels": 2}
        assert [count["images"] for count in summary["splits"].values()] == [2, 1, 3]
        assert files_in(tmp_path / "out") == FILES

    def test_a_dataset_with_issues(self, tiny_phantoms, tmp_path):
        broken = Path(shutil.copytree(tiny_phantoms("drive"), tmp_path / "broken"))
        (broken / "training" / "1st_manual" / "21_manual1.gif").unlink()
        image = broken / "test" / "images" / "01_test.tif"
        image.write_bytes(image.read_bytes()[:2000])
        options = ("--dataset_dir", broken, "--output_dir", tmp_path / "out", "--num_labels", "77")
        done = run_python("common", "check", BUNDLE, *options)
        assert done.returncode != 0
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, printed
        assert printed.count("error: ") == 1, printed
        said = printed[printed.index("error: ") :]
        assert said.startswith(f"error: DRIVE in {broken}: 3 issues\n")
        for part in ("21_training.tif: no label", "01_test.tif: cannot be", "num_labels must"):
            assert part in said
        assert not (tmp_path / "out").exists()

    def test_a_mistyped_key(self, call, tiny_phantoms):
        message = "^--num_label: there is no such key; the split of this dataset depends on .*num_labels"
        with pytest.raises(InputError, match=message):
            call(BUNDLE, "--dataset_dir", tiny_phantoms("drive"), "--num_label", "3")

    def test_a_bundle_that_does_not_exist(self, call, tiny_phantoms, tmp_path):
        with pytest.raises(InputError, match="nowhere is not a bundle: expected a folder with configs/"):
            call(tmp_path / "nowhere", "--dataset_dir", tiny_phantoms("drive"))

    def test_no_dataset(self, call):
        with pytest.raises(InputError, match=r"^--dataset_dir is missing: .* since /data/DRIVE, which .*drive_seg"):
            call(BUNDLE)

    def test_the_dataset_that_the_bundle_names(self, call, tiny_phantoms, tmp_path, capsys):
        bundle = Path(shutil.copytree(BUNDLE, tmp_path / "own_segmentation"))
        train = bundle / "configs" / "train.yaml"
        text = train.read_text().replace("dataset_dir: /data/DRIVE", f"dataset_dir: {tiny_phantoms('drive')}")
        train.write_text(text)
        call(bundle, "--num_validation", "1")
        assert f"drive in {tiny_phantoms('drive')}: no issues" in capsys.readouterr().out
        assert files_in(bundle / "eval") == FILES
