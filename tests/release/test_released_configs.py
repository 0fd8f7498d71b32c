"""Configs of a release: they say what the student was trained with, and name nothing that stays behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import TINY_STUDENT, refused
from monai.bundle import ConfigParser
from students import NAMES, bundle_of, size_key

from common.release.configs import STAGES, name_package, released_configs, source_config

RECORDED = "$provenance.recorded(@ckpt_path, '{key}', 96)"


def configs_of(name: str) -> Path:
    return bundle_of(name) / "configs"


def load(name: str, stage: str) -> dict[str, Any]:
    return ConfigParser.load_config_file(str(configs_of(name) / f"{stage}.yaml"))


PACKAGE = "scripts_0123abcd"


def release_configs(configs: Path, settings: dict[str, Any], *provenance: dict[str, Any]) -> dict[str, str]:
    return name_package(released_configs(configs, settings, *provenance), PACKAGE)


def renamed(value: Any) -> Any:
    return json.loads(json.dumps(value).replace("common.", f"{PACKAGE}."))


def size_of(texts: dict[str, str], name: str, stage: str) -> int:
    """Return what a stage of a release shows the student, where the weights at hand say nothing of their own."""
    config = ConfigParser(yaml.safe_load(texts[f"{stage}.yaml"].replace(PACKAGE, "common")))
    if stage != "train":
        config["ckpt_path"] = "absent.pt"
    return config.get_parsed_content(size_key(name))


@pytest.mark.parametrize("name", NAMES)
class TestReleased:
    @pytest.fixture
    def texts(self, name) -> dict[str, str]:
        settings = {size_key(name): 96, "split_seed": 3, "student_def": TINY_STUDENT, "learning_rate": 0.01}
        return release_configs(configs_of(name), settings)

    def test_nothing_that_stays_behind_is_named(self, texts):
        elsewhere = r"\bcommon\b[./]|bundles/|teacher|distill|synthesi|diffusion|lora|\bsam\b|demo"
        for file, text in texts.items():
            assert re.findall(elsewhere, text, re.IGNORECASE) == [], file

    def test_it_is_the_source_but_for_what_is_set(self, name, texts):
        own = {
            "inference": {"network_def", "initialize", "run"},
            "train": {"initial_weights", "student", "initialize", "run", "student_def", "learning_rate"},
            "evaluate": {"network", "subject", "pretrained", "initialize", "run", "student_def"},
        }
        for stage in STAGES:
            source, found = renamed(load(name, stage)), yaml.safe_load(texts[f"{stage}.yaml"])
            changed = {key for key in source | found if source.get(key) != found.get(key)}
            assert changed <= {"bundle_root", "imports", "split_seed", size_key(name)} | own[stage]
            assert list(found) == [key for key in source if key in found], "the order of the keys"

    def test_nothing_is_read_or_written_before_it_runs(self, name, texts):
        """So that ``monai.bundle.load`` finds the network without any data, and locks no folder."""
        for stage in STAGES:
            source, config = renamed(load(name, stage)), yaml.safe_load(texts[f"{stage}.yaml"])
            assert config["initialize"] == []
            assert config["run"][1:] == source["initialize"] + source["run"]

    def test_what_the_student_was_trained_with_is_in_every_stage(self, name, texts):
        for stage in STAGES:
            config = yaml.safe_load(texts[f"{stage}.yaml"])
            assert size_of(texts, name, stage) == 96
            network = ConfigParser(config)["network_def"]
            network = config["student_def"] if network == "@student_def" else network
            assert network["_target_"] == f"{PACKAGE}.students.vit.ViTSegmenter"
            assert network["hidden_size"] == TINY_STUDENT["hidden_size"]
        assert yaml.safe_load(texts["train.yaml"])["learning_rate"] == 0.01
        assert yaml.safe_load(texts["evaluate.yaml"])["split_seed"] == 3

    def test_an_evaluation_reads_the_student_as_inference_does(self, texts):
        inference, evaluate = (yaml.safe_load(texts[f"{stage}.yaml"]) for stage in ("inference", "evaluate"))
        assert evaluate["network"] == inference["network"]
        assert f"$import {PACKAGE}.files.weights as weights" in evaluate["imports"]
        assert not any("student_or_teacher" in line for line in evaluate["imports"])

    def test_json_says_what_yaml_says(self, texts):
        for stage in ("inference", "train"):
            assert json.loads(texts[f"{stage}.json"]) == yaml.safe_load(texts[f"{stage}.yaml"])

    def test_heads_say_what_is_needed_and_how_to_run(self, texts):
        for stage in STAGES:
            head = texts[f"{stage}.yaml"].split("\n\n")[0]
            assert re.findall(r"^# (Needs|Writes|Run):", head, re.MULTILINE) == ["Needs", "Writes", "Run"]
            assert f"--config_file configs/{stage}.yaml" in head

    def test_lines_are_no_longer_than_those_of_the_source(self, texts):
        for file, text in texts.items():
            assert file.endswith(".json") or max(map(len, text.splitlines())) <= 122, file

    def test_the_overlay_for_a_cpu_acts_on_training_and_leaves_the_student_as_it_is(self, name, texts):
        overlay = yaml.safe_load(texts["cpu.yaml"])
        source = source_config(configs_of(name), "train", {})
        assert overlay.keys() <= source.get().keys()
        assert overlay.keys() & {size_key(name), "learning_rate", "student_def", "network_def"} == set()
        assert overlay["device"] == load(name, "cpu")["device"]
        assert overlay["bfloat16_on_cpu"] == "$processes.has_bfloat16()", "asked where it trains, not where it was made"
        assert any(line.endswith(" as processes") for line in yaml.safe_load(texts["train.yaml"])["imports"])
        assert isinstance(overlay["epochs"], int)
        assert isinstance(overlay["batch_size"], int)


def test_tasks_and_modalities_are_set_where_a_stage_has_them():
    texts = release_configs(configs_of("kidneyus"), {"task": "capsule", "annotator": 2})
    for stage, where in {"train": "", "inference": "@ckpt_path", "evaluate": "@ckpt_path"}.items():
        expected = f"$provenance.recorded({where}, 'task', 'capsule')" if where else "capsule"
        assert yaml.safe_load(texts[f"{stage}.yaml"])["task"] == expected
    assert "annotator" not in yaml.safe_load(texts["inference.yaml"])
    assert yaml.safe_load(texts["train.yaml"])["annotator"] == 2
    texts = release_configs(configs_of("chaos"), {"modality": "ct", "window": [-100, 200]})
    assert "[-100, 200]" in str(yaml.safe_load(texts["inference.yaml"])["window"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (None, "$provenance.recorded(@ckpt_path, '{key}', 96)"),
        (96, "$provenance.recorded(@ckpt_path, '{key}', 96)"),
        (128, 96),
    ],
)
def test_weights_that_are_trained_further_say_their_size_themselves(name, recorded, expected):
    """Unless these were evaluated at another size than they were trained at."""
    key = size_key(name)
    texts = release_configs(configs_of(name), {key: 96}, {key: recorded} if recorded else {})
    for stage in ("inference", "evaluate"):
        found = yaml.safe_load(texts[f"{stage}.yaml"])[key]
        assert found == (expected.format(key=key) if isinstance(expected, str) else expected)
    assert yaml.safe_load(texts["train.yaml"])[key] == 96


def test_what_comes_before_stays_where_it_is(tmp_path):
    configs = shutil.copytree(configs_of("drive"), tmp_path / "configs")
    config = yaml.safe_load((configs / "train.yaml").read_text())
    config["initialize"].insert(0, "$monai.config.print_config()")
    (configs / "train.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert yaml.safe_load(release_configs(configs, {})["train.yaml"])["initialize"] == ["$monai.config.print_config()"]


class TestEdited:
    """A bundle that its user has edited, or wrote in another style."""

    @pytest.fixture
    def configs(self, tmp_path) -> Path:
        return shutil.copytree(configs_of("drive"), tmp_path / "configs")

    def test_the_style_of_the_yaml_does_not_matter(self, configs):
        expected = release_configs(configs, {"crop_size": 96})
        for path in configs.glob("*.yaml"):
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()), indent=4, sort_keys=False))
        found = release_configs(configs, {"crop_size": 96})
        for file in ("inference.yaml", "train.yaml", "evaluate.yaml", "cpu.yaml"):
            assert yaml.safe_load(found[file]) == yaml.safe_load(expected[file])

    def test_what_its_user_added_stays(self, configs):
        path = configs / "train.yaml"
        path.write_text(
            path.read_text() + "# ours\nclinic: {name: 'common ward', code: $common.files.weights}   # 3rd floor\n"
        )
        text = release_configs(configs, {})["train.yaml"]
        assert text.endswith(
            "# ours\nclinic: {name: 'common ward', code: $scripts_0123abcd.files.weights}   # 3rd floor\n"
        )

    def test_a_key_that_a_release_sets_must_be_there(self, configs):
        config = yaml.safe_load((configs / "train.yaml").read_text())
        del config["initial_weights"]
        (configs / "train.yaml").write_text(yaml.safe_dump(config))
        with refused(r"train\.yaml has no key initial_weights, which a release sets"):
            released_configs(configs, {})
