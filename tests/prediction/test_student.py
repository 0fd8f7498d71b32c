"""A student is opened as it was trained, from whatever holds it, and never as another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from integration import BUNDLES, TINY_STUDENT, environment, refused, tiny_student
from monai.bundle import ConfigParser
from monai.networks.nets import UNet

from common.files.provenance import provenance_path
from common.files.weights import save_weights
from common.prediction.student import open_student
from common.students.describing import describe
from common.students.references import Reference

FACTS = {
    "sees": "images",
    "image_size": 64,
    "in_channels": 3,
    "classes": ["background", "lesion"],
    "intensity": {"range": [0, 255]},
}
EARLIER = {"image_size": 64, "in_channels": 3, "classes": ["background", "lesion"]}  # what weights said before
IMAGES = np.random.default_rng(0).random((2, 3, 64, 48), np.float32)


@pytest.fixture
def write(tmp_path, randomise):
    """Return what writes weights with a provenance of these facts; the network is in ``write.network``."""

    def write_weights(facts, network=None, name="model.pt"):
        write_weights.network = randomise(network or tiny_student())
        save_weights(write_weights.network, tmp_path / name, facts)
        return tmp_path / name

    return write_weights


def expected(network: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(IMAGES)).numpy()


@pytest.fixture
def bundle(tmp_path) -> Path:
    """The bundle of PH2 with the tiny student."""
    folder = tmp_path / "ph2_segmentation"
    shutil.copytree(BUNDLES / "ph2_segmentation", folder)
    path = folder / "configs" / "inference.yaml"
    config = ConfigParser.load_config_file(str(path))
    config["network_def"] = dict(TINY_STUDENT)
    ConfigParser.export_config_file(config, str(path), fmt="yaml")
    return folder


class TestWeightsThatSayEverything:
    @pytest.fixture
    def weights(self, write) -> Path:
        reference = Reference.of(np.random.default_rng(0).random((5, 24))).to_json()
        return write({**FACTS, "network": describe(tiny_student()), "reference": reference})

    def test_they_need_no_bundle(self, weights, write):
        student = open_student(weights)
        assert student.recipe.size == 64
        assert student.recipe.classes == ("background", "lesion")
        assert student.reference.features.shape == (5, 24)
        logits, features = student.run(IMAGES)
        np.testing.assert_allclose(logits, expected(write.network), atol=1e-5)
        assert logits.dtype == features.dtype == np.float32
        assert features.shape == (2, 24)
        assert logits.std() > 0.01, "a test of nothing"

    def test_the_folder_of_a_run_is_enough(self, weights):
        np.testing.assert_array_equal(open_student(weights.parent).run(IMAGES)[0], open_student(weights).run(IMAGES)[0])

    def test_what_they_say_comes_before_what_the_bundle_says(self, weights, bundle):
        assert open_student(weights, bundle).recipe.size == 64

    def test_another_size_than_theirs_is_refused(self, weights):
        assert open_student(weights, size=64).recipe.size == 64
        with refused("--size 128: .*model.pt was trained with 64", "leave it out"):
            open_student(weights, size=128)

    def test_a_device_that_is_not_there(self, weights):
        with refused("--device cuda:77: there is no such device"):
            open_student(weights, device="cuda:77")

    def test_an_image_that_the_network_does_not_take(self, weights):
        with refused("does not take images of .*60"):
            open_student(weights).run(IMAGES[:, :, :60, :40])


def test_a_network_of_monai_is_built_again(write):
    network = UNet(2, 3, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    weights = write({**FACTS, "network": describe(network)}, network)
    np.testing.assert_allclose(open_student(weights).run(IMAGES)[0], expected(write.network), atol=1e-5)


class TestWeightsOfBefore:
    def test_they_say_what_to_give(self, write):
        with refused("model.pt does not say network, sees, intensity", "give --bundle"):
            open_student(write(EARLIER))

    def test_the_bundle_completes_them(self, write, bundle):
        student = open_student(write(EARLIER), bundle)
        assert student.recipe.facts() == FACTS
        assert student.reference is None
        np.testing.assert_allclose(student.run(IMAGES)[0], expected(write.network), atol=1e-5)

    def test_their_size_is_theirs_and_not_that_of_the_bundle(self, write, bundle):
        assert open_student(write({**EARLIER, "image_size": 32}), bundle).recipe.size == 32

    def test_a_size_that_nobody_knows_is_asked_for(self, write, bundle):
        weights = write(None)
        with refused("do not say their image_size", "--size"):
            open_student(weights, bundle)
        student = open_student(weights, bundle, size=96)
        assert student.recipe.facts() == {**FACTS, "image_size": 96}

    def test_weights_that_were_moved_alone_say_what_to_copy(self, write, tmp_path):
        alone = tmp_path / "elsewhere" / "model.pt"
        alone.parent.mkdir()
        alone.write_bytes(write({**FACTS, "network": describe(tiny_student())}).read_bytes())
        with refused("does not say network", "model.provenance.json is not beside it", "copy it along", "--bundle"):
            open_student(alone)

    def test_provenance_of_other_weights_counts_for_nothing(self, write, bundle):
        weights = write({**FACTS, "network": describe(tiny_student())})
        record = provenance_path(weights).read_bytes()
        write(None)
        provenance_path(weights).write_bytes(record)
        with refused("does not say network"):
            open_student(weights)

    def test_a_bundle_of_another_network(self, write):
        with refused("another architecture"):
            open_student(write(EARLIER), BUNDLES / "ph2_segmentation")

    def test_a_bundle_of_other_classes(self, write, bundle):
        network = tiny_student(num_classes=3)
        weights = write({**FACTS, "network": describe(network)}, network)
        with refused("tells 3 classes apart, but there are 2"):
            open_student(weights)

    def test_a_folder_that_is_no_bundle(self, write, tmp_path):
        with refused("is not a bundle: expected a folder with configs/"):
            open_student(write(EARLIER), tmp_path)

    @pytest.mark.parametrize(
        ("name", "sees", "size_key", "intensity", "classes"),
        [
            ("drive", "crops", "crop_size", {"range": [0, 255]}, 2),
            ("kidneyus", "images", "image_size", {"range": [0, 255]}, 4),
            ("chaos", "slices", "image_size", {"percentiles": [1, 99]}, 5),
        ],
    )
    def test_every_kind_of_bundle_says_how_images_are_prepared(self, write, name, sees, size_key, intensity, classes):
        from common.prediction.bundle_facts import BundleFacts

        known = BundleFacts(BUNDLES / f"{name}_segmentation", write(None)).complete({size_key: 64})
        assert (known["sees"], known["intensity"], len(known["classes"])) == (sees, intensity, classes)

    def test_what_weights_record_decides_in_a_bundle(self, write):
        from common.prediction.bundle_facts import BundleFacts

        weights = write({"modality": "ct", "image_size": 64})
        known = BundleFacts(BUNDLES / "chaos_segmentation", weights).complete({"image_size": 64})
        assert known["classes"] == ["background", "liver"]
        assert known["intensity"] == {"window": [-160, 240]}


class TestWhatIsNoStudent:
    def test_a_file_that_is_missing(self, tmp_path):
        with refused("none.pt does not exist", "model.pt"):
            open_student(tmp_path / "none.pt")

    def test_a_folder_without_weights(self, tmp_path):
        with refused("there are no weights in this folder"):
            open_student(tmp_path)

    def test_a_file_of_another_kind(self, tmp_path):
        (tmp_path / "model.zip").write_bytes(b"")
        with refused("expected weights in .pt or .onnx"):
            open_student(tmp_path / "model.zip")

    def test_a_file_that_would_run_code(self, trap):
        path, sprung = trap
        with refused("give --bundle"):
            open_student(path)
        assert not sprung.exists()

    def test_onnx_that_is_none(self, tmp_path):
        (tmp_path / "model.onnx").write_text("nothing")
        with refused("model.onnx is damaged or no ONNX"):
            open_student(tmp_path / "model.onnx")


def test_without_pytorch_there_is_onnx_alone(tmp_path):
    """Nothing of PyTorch or MONAI is imported before weights of PyTorch are opened."""
    (tmp_path / "model.pt").write_bytes(b"")
    code = """
        import sys
        from importlib.abc import MetaPathFinder
        class Absent(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "monai"):
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Absent())
        from common.prediction.student import open_student
        import common.prediction.doubt
        try:
            open_student(sys.argv[1])
        except Exception as error:
            print(type(error).__name__, error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "model.pt")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert "InputError" in done.stdout, done.stdout + done.stderr
    assert "give a release's model.onnx" in done.stdout
