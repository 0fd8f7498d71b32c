"""Configs of a release: they say what the student was trained with, and name nothing that stays behind."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from integration import TINY_STUDENT
from monai.bundle import ConfigParser
from students import NAMES, bundle_of

from common.release.configs import STAGES, ConfigText, released_configs, source_config

TEXT = """# A config.
#
# Run:    python

imports:
- $import common.logs as logs

stage: train
size: 256                   # pixels
task: regions               # or capsule
net:                        # the student
  _target_: common.students.vit.ViTSegmenter
  depth: 12

train:
  files: "$[1,
    2]"
"""


class TestConfigText:
    def test_text_that_is_not_changed_stays_as_it_is(self):
        assert str(ConfigText(TEXT)) == TEXT

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("size", 128, "size: 128                   # pixels\n"),
            ("size", None, "size: null                   # pixels\n"),
            ("task", "capsule", "task: capsule\n"),
            ("task", "$@stage + ': #1'", "task: '$@stage + '': #1'''\n"),
            (
                "net",
                {"_target_": "UNet", "channels": [1, 2]},
                "net:\n  _target_: UNet\n  channels:\n  - 1\n  - 2\n\ntrain:",
            ),
            ("net::depth", 3, "net:\n  _target_: common.students.vit.ViTSegmenter\n  depth: 3\n\ntrain:"),
            ("net#depth", 3, "  depth: 3\n"),
        ],
    )
    def test_a_key_is_set_and_the_rest_stays(self, key, value, expected):
        text = ConfigText(TEXT)
        text.set(key, value)
        assert expected in str(text)
        parser = ConfigParser(yaml.safe_load(TEXT))
        parser[key.replace("#", "::")] = value
        assert text.config() == parser.get()
        assert str(text).startswith("# A config.\n#\n# Run:    python\n\nimports:")

    def test_a_key_is_dropped_with_all_that_it_holds(self):
        text = ConfigText(TEXT)
        text.drop("net")
        assert text.config().keys() == yaml.safe_load(TEXT).keys() - {"net"}
        assert "depth" not in str(text)

    def test_a_key_that_is_not_there_is_not_made(self):
        with pytest.raises(KeyError):
            ConfigText(TEXT).set("sizes", 1)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("stage", STAGES)
    def test_the_bundles_configs_are_understood(self, name, stage):
        source = (bundle_of(name) / "configs" / f"{stage}.yaml").read_text(encoding="utf-8")
        assert str(ConfigText(source)) == source


@pytest.mark.parametrize("name", NAMES)
class TestReleased:
    @pytest.fixture
    def texts(self, name) -> dict[str, str]:
        settings = {"patch_size": 96, "split_seed": 3, "network_def": TINY_STUDENT, "learning_rate": 0.01}
        return released_configs(bundle_of(name) / "configs", settings)

    def test_nothing_that_stays_behind_is_named(self, texts):
        elsewhere = r"\bcommon\b[./]|bundles/|teacher|distill|synthesi|diffusion|lora|\bsam\b|demo"
        for file, text in texts.items():
            text = text.replace("Fine-tune the distilled student", "")
            assert re.findall(elsewhere, text, re.IGNORECASE) == [], file

    def test_it_is_the_source_but_for_what_is_set(self, name, texts):
        for stage in STAGES:
            source = ConfigParser.load_config_file(str(bundle_of(name) / "configs" / f"{stage}.yaml"))
            renamed = yaml.safe_load(
                yaml.safe_dump(source, sort_keys=False).replace("common.", "scripts.").replace(", 'distill')", ")")
            )
            found = yaml.safe_load(texts[f"{stage}.yaml"])
            changed = {key for key in renamed | found if renamed.get(key) != found.get(key)}
            own = {"train": {"initial_weights", "initialize", "run"}, "evaluate": {"network", "pretrained"}}.get(
                stage, set()
            )
            assert changed <= {"bundle_root", "patch_size", "split_seed", "network_def", "learning_rate"} | own
            assert list(found) == [key for key in renamed if key in found], "the order of the keys"

    def test_training_looks_at_data_when_it_runs_and_not_before(self, name, texts):
        """So that ``monai.bundle.load`` finds the network without any data."""
        source = ConfigParser.load_config_file(str(bundle_of(name) / "configs" / "train.yaml"))
        config = yaml.safe_load(texts["train.yaml"])
        assert not any("@train::" in line for line in config["initialize"])
        assert config["run"][-len(source["run"]) :] == source["run"]
        done = [line.replace("scripts.", "common.") for line in config["initialize"] + config["run"]]
        assert sorted(done) == sorted(source["initialize"] + source["run"])

    def test_what_the_student_was_trained_with_is_in_every_stage(self, texts):
        for stage in STAGES:
            config = yaml.safe_load(texts[f"{stage}.yaml"])
            assert config["patch_size"] == 96
            assert config["network_def"]["_target_"] == "scripts.networks.vit.ViTSegmenter"
            assert config["network_def"]["hidden_size"] == TINY_STUDENT["hidden_size"]
        assert yaml.safe_load(texts["train.yaml"])["learning_rate"] == 0.01
        assert yaml.safe_load(texts["evaluate.yaml"])["split_seed"] == 3

    def test_json_says_what_yaml_says(self, texts):
        for stage in ("inference", "train"):
            assert json.loads(texts[f"{stage}.json"]) == yaml.safe_load(texts[f"{stage}.yaml"])

    def test_heads_say_what_is_needed_and_how_to_run(self, texts):
        for stage in STAGES:
            head = texts[f"{stage}.yaml"].split("\n\n")[0]
            assert re.findall(r"^# (Needs|Writes|Run):", head, re.MULTILINE) == ["Needs", "Writes", "Run"]
            assert f"--config_file configs/{stage}.yaml" in head
            assert not re.search(r", or$", head, re.MULTILINE)

    def test_the_overlay_for_a_cpu_acts_on_training_and_leaves_the_student_as_it_is(self, name, texts):
        overlay = yaml.safe_load(texts["cpu.yaml"])
        source = source_config(bundle_of(name) / "configs", "train", {})
        assert overlay.keys() <= source.get().keys()
        assert overlay.keys() & {"patch_size", "learning_rate", "network_def"} == set()
        assert overlay["device"] == "$torch.device('cpu')"
        assert isinstance(overlay["epochs"], int)
        assert isinstance(overlay["batch_size"], int)


def test_tasks_and_modalities_are_set_where_a_stage_has_them():
    texts = released_configs(bundle_of("kidneyus") / "configs", {"task": "capsule", "annotator": 2})
    assert {yaml.safe_load(texts[f"{stage}.yaml"])["task"] for stage in STAGES} == {"capsule"}
    assert "annotator" not in yaml.safe_load(texts["inference.yaml"])
    assert yaml.safe_load(texts["train.yaml"])["annotator"] == 2
    texts = released_configs(bundle_of("chaos") / "configs", {"modality": "ct", "window": [-100, 200]})
    assert yaml.safe_load(texts["inference.yaml"])["window"] == [-100, 200]
