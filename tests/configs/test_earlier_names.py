"""Keys by the names that they had in earlier versions."""

from __future__ import annotations

import pytest

from common.configs.command_line import corrected_arguments
from common.configs.earlier_names import with_current_names
from common.errors import InputError


def test_a_key_is_given_to_each_that_it_has_become(caplog):
    configs = [{"crop_size": 256}, {"sample_size": 128, "epochs": 3}]
    given = {"patch_size": 64, "epochs": 1}
    assert with_current_names(given, configs) == {"crop_size": 64, "sample_size": 64, "epochs": 1}
    assert caplog.messages == ["--patch_size: is called --crop_size and --sample_size now"]


def test_a_key_that_a_config_has_keeps_its_name():
    assert with_current_names({"patch_size": 64}, [{"patch_size": 1, "crop_size": 2}]) == {"patch_size": 64}


def test_a_key_by_both_names_is_refused():
    with pytest.raises(InputError, match="--resized: is called --whole_images now, which is given too"):
        with_current_names({"resized": True, "whole_images": False}, [{"whole_images": False}])


def test_a_stage_that_is_run_alone_takes_it_too(tmp_path):
    config = tmp_path / "stage.yaml"
    config.write_text("image_size: 256\nwhole_images: true\n")
    words = ["--config_file", str(config), "--patch_size", "64", "--resized", "false"]
    assert corrected_arguments(words) == [f"--config_file={config}", "--image_size=64", "--whole_images=False"]
