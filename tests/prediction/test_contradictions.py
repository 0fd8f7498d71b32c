"""Where weights, a bundle and the command line say different things of a student, none of them is believed silently."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from integration import BUNDLES, TINY_STUDENT, refused, tiny_student
from monai.bundle import ConfigParser
from monai.networks.nets import UNETR
from tiny_weights import CLASSES, facts_of

from common.files.weights import save_weights
from common.prediction.student import open_student
from common.students.describing import describe

PREPARED = {"teacher": "embedded", "fine_tuned": True, "method": "task_specific_kd"}
EARLIER = {"in_channels": 3, "classes": CLASSES["ph2"]}  # without a size


@pytest.fixture
def write(tmp_path):
    """Return what writes weights of the tiny student with a provenance of these facts."""

    def write_weights(facts, network=None, name="model.pt") -> Path:
        save_weights(network or tiny_student(), tmp_path / name, facts)
        return tmp_path / name

    return write_weights


def bundle_of(folder: Path, **changed) -> Path:
    """Write the bundle of PH2 with the tiny student, and other values of some keys."""
    shutil.copytree(BUNDLES / "ph2_segmentation", folder)
    path = folder / "configs" / "inference.yaml"
    config = ConfigParser.load_config_file(str(path))
    config |= {"network_def": dict(TINY_STUDENT), **changed}
    ConfigParser.export_config_file(config, str(path), fmt="yaml")
    return folder


class TestBundle:
    @pytest.fixture
    def weights(self, write) -> Path:
        return write({**facts_of("ph2"), "network": describe(tiny_student()), "initial": None})

    def test_one_that_weights_do_not_need_is_said_to_have_no_effect(self, weights, tmp_path, caplog):
        bundle = bundle_of(tmp_path / "ph2_segmentation")
        assert open_student(weights, bundle).recipe.size == 64
        assert f"--bundle {bundle} has no effect: {weights} says all of it itself" in caplog.messages

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("drive", "its sees is crops, and .*model.pt was trained with images"),
            ("busi", "its in_channels is 1, and .*model.pt was trained with 3"),
            ("autooral", r"its classes is \['background', 'ulcer'\], and .* with \['background', 'lesion'\]"),
        ],
    )
    def test_one_of_other_students_is_refused(self, weights, name, said):
        with refused(f"--bundle .*{name}_segmentation: {said}"):
            open_student(weights, BUNDLES / f"{name}_segmentation")

    def test_one_of_other_students_is_refused_also_where_weights_need_one(self, write):
        with refused("its in_channels is 1, and .*model.pt was trained with 3"):
            open_student(write(EARLIER), BUNDLES / "busi_segmentation", size=64)


class TestSize:
    def test_one_that_only_the_command_line_knows_is_held_against_that_of_the_bundle(self, write, tmp_path, caplog):
        weights, bundle = write(EARLIER), bundle_of(tmp_path / "ph2_segmentation")
        assert open_student(weights, bundle, size=64).recipe.size == 64
        assert f"--size 64: {weights} does not say its size, and that of {bundle} is 256" in caplog.text
        caplog.clear()
        open_student(weights, bundle, size=256)
        assert not caplog.records

    def test_one_that_the_positions_in_the_weights_contradict_is_refused(self, write, tmp_path):
        arguments = {"in_channels": 3, "out_channels": 2, "img_size": 64, "feature_size": 4, "hidden_size": 24}
        arguments |= {"mlp_dim": 32, "num_heads": 2, "spatial_dims": 2}
        weights = write(EARLIER, UNETR(**arguments))
        bundle = bundle_of(tmp_path / "ph2_segmentation", network_def={"_target_": "UNETR", **arguments})
        with refused("does not take images of 3 channels and 96 x 96 pixels", "are those of 64 x 64 pixels"):
            open_student(weights, bundle, size=96)
        assert open_student(weights, bundle, size=64).recipe.size == 64


class TestWeightsOfDistill:
    def test_they_know_their_size(self, write, caplog):
        weights = write({**facts_of("ph2"), "network": describe(tiny_student()), **PREPARED}, name="distilled.pt")
        assert open_student(weights).recipe.size == 64
        assert f"{weights} is distilled, and not trained on labels yet" in caplog.text
        with refused("--size 96: .*distilled.pt was trained with 64"):
            open_student(weights, size=96)

    @pytest.mark.parametrize("method", ["mae", "mocov3", "scratch", "task_agnostic_kd"])
    def test_those_whose_decoder_has_learned_nothing_are_refused(self, write, tmp_path, method):
        weights = write({"teacher": None, "fine_tuned": False, "method": method}, name="distilled.pt")
        with refused(f"has not learned to segment: it is prepared by the method {method}", "take the model.pt"):
            open_student(weights, bundle_of(tmp_path / "ph2_segmentation"), size=64)

    @pytest.mark.parametrize("facts", [{"initial": "0a1b"}, {"dataset": "ph2"}, {"phantoms": False}])
    def test_weights_that_a_training_made_of_them_are_none(self, write, caplog, facts):
        known = {**facts_of("ph2"), "network": describe(tiny_student()), **PREPARED, "fine_tuned": False, **facts}
        open_student(write(known))
        assert not caplog.records
