"""The distillation into a U-Net: the same, with another student."""

from __future__ import annotations

import pytest
from integration import (
    BUNDLES,
    METHOD_CONFIGS,
    read_state,
    refused,
    run_stage,
    with_method,
    write_teacher,
    write_transfer,
)
from monai.bundle import ConfigParser
from monai.networks.nets import UNet

from common.distillation.feature_hooks import FeatureHooks
from common.distillation.methods import UNET
from common.files.provenance import read_provenance

OVERLAY = ConfigParser.load_config_file(str(METHOD_CONFIGS / "unet_kd.yaml"))


@pytest.fixture
def values(tiny_phantoms, tmp_path):
    write_teacher(tmp_path)
    write_transfer(tmp_path, count=2)
    keys = {"dataset_dir": tiny_phantoms("drive"), "output_dir": tmp_path, "num_validation": 1, "num_labels": 2}
    return {**keys, "input_scale": 1, "student_def": UNET, "learning_rate": 0.01, "epochs": 1}


def test_the_student_is_that_of_the_method_unet():
    assert OVERLAY["student_def"] == UNET


@pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
def test_nothing_but_the_student_and_its_layer_differs_from_task_specific_kd(bundle):
    files = [bundle / "configs/distill.yaml", METHOD_CONFIGS / "unet_kd.yaml"]
    alone, laid = (ConfigParser.load_config_files([str(file) for file in files[:count]]) for count in (1, 2))
    changed = {key for key in laid if laid[key] != alone.get(key)}
    assert changed == {"student_def", "feature_pairs", "provenance"}
    assert laid["feature_pairs"].keys() == alone["feature_pairs"].keys(), "of the same layer of the teacher"


def test_features_are_compared_at_the_bottleneck():
    [layer] = OVERLAY["feature_pairs"].values()
    sizes = {key: value for key, value in UNET.items() if key != "_target_"}
    hooks = FeatureHooks(UNet(**{**sizes, "in_channels": 3, "out_channels": 2}), [layer])
    assert hooks.shapes((3, 64, 64)) == {layer: (UNET["channels"][-1], 4, 4)}, "as coarse as patches of 16 pixels"


def test_the_whole_student_learns_from_features_logits_and_labels(values):
    stage = run_stage("distill", with_method("unet_kd"), **values)
    weights = read_state(values["output_dir"] / "distilled.pt")
    assert weights.keys() == stage.parser.get_parsed_content("student_def").state_dict().keys()
    assert stage.parser.get_parsed_content("loss").last_terms.keys() == {"features", "logits", "supervised"}
    known = read_provenance(values["output_dir"] / "distilled.pt")
    assert (known["teacher"], known["fine_tuned"], known["method"]) == ("embedded", True, "unet_kd")
    assert known["network"]["_target_"] == "UNet"
    trained = stage.parser.get_parsed_content("student_def").named_parameters()
    still = [name for name, parameter in trained if parameter.grad is None or not parameter.grad.isfinite().all()]
    assert still == [], "it learns from its first to its last layer"


def test_a_size_that_its_stride_does_not_divide_is_refused(values):
    with refused("crop_size: the UNet does not take images of 24 x 24 pixels"):
        run_stage("distill", with_method("unet_kd"), **{**values, "crop_size": 24})
    assert not (values["output_dir"] / "distilled.pt").exists()
