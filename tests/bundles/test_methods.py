"""Every way to prepare the student, on every bundle: what it learns lands in ``distilled.pt``."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from integration import (
    BUNDLE,
    BUNDLES,
    METHOD_CONFIGS,
    assert_same,
    contained,
    load_stage,
    read_state,
    refused,
    run_stage,
    trainer_of,
    with_method,
    write_transfer,
)
from monai.bundle import ConfigParser, ConfigWorkflow

from common.datasets import find_dataset
from common.distillation.methods import METHODS
from common.distillation.teacher_outputs import output_keys
from common.files.provenance import read_provenance

FOLDERS = sorted(path for path in BUNDLES.iterdir() if (path / "configs").is_dir())
TRAINED = ("mae", "mocov3", "task_agnostic_kd")
LEARNING_RATE = 0.01  # of a step, so that four of them show
# What a method leaves of the encoder as it was.
UNTRAINED = {"mocov3": {"encoder.norm.weight", "encoder.norm.bias"}}
# Where the network that a method trains has the student's encoder.
PREFIX = {"mocov3": "encoder.encoder.", "task_agnostic_kd": "encoder."}


class Run(NamedTuple):
    """A stage that has been run, and the student that it wrote."""

    stage: ConfigWorkflow
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def keys(tiny_phantoms, tmp_path_factory):
    """Return what gives the settings of a bundle and a method, with a transfer set that has just been written."""

    def prepare(bundle: Path) -> dict[str, Any]:
        output_dir = tmp_path_factory.mktemp(bundle.name)
        write_transfer(
            output_dir, count=2, channels=find_dataset(bundle.name.removesuffix("_segmentation")).in_channels
        )
        dataset_dir = tiny_phantoms(bundle.name.removesuffix("_segmentation"))
        values = {"bundle": bundle, "dataset_dir": dataset_dir, "output_dir": output_dir, "num_validation": 1}
        return {**values, "learning_rate": LEARNING_RATE, "input_scale": 1, "head_size": 8, "decoder_depth": 1}

    return prepare


@pytest.fixture(scope="module")
def run_method(keys):
    """Return what runs a method on a bundle, once for all tests."""

    @cache
    def run(bundle: Path, method: str) -> Run:
        values = keys(bundle)
        stage = run_stage("distill", with_method(method), **values)
        return Run(stage, read_state(values["output_dir"] / "distilled.pt"))

    return run


def encoder_of(run: Run, method: str) -> dict[str, torch.Tensor]:
    """Return the encoder of the network that was trained, by the names that it has in the student."""
    state = run.stage.parser.get_parsed_content("network").state_dict()
    if method in PREFIX:
        start = PREFIX[method]
        return {f"encoder.{name.removeprefix(start)}": value for name, value in state.items() if name.startswith(start)}
    depth = len(run.stage.parser.get_parsed_content("student_def").encoder.blocks)
    renamed = {"patch_embedding.projection.": "patch_embed.", f"blocks.{depth}.": "norm."}
    renamed |= {f"blocks.{index}.": f"blocks.{index}." for index in range(depth)}
    found = {
        f"encoder.{new}{name.removeprefix(old)}": value
        for old, new in renamed.items()
        for name, value in state.items()
        if name.startswith(old)
    }
    return {**found, "encoder.pos_embed": state["patch_embedding.positions"]}


def test_every_config_is_that_of_a_method():
    assert sorted(METHOD_CONFIGS.glob("*.yaml")) == sorted(
        method.config for method in METHODS.values() if method.config
    )


@pytest.mark.parametrize("bundle", FOLDERS, ids=lambda path: path.name)
class TestWeights:
    @pytest.mark.parametrize("method", TRAINED)
    def test_the_encoder_that_was_trained_is_the_students_tensor_by_tensor(self, method, bundle, run_method):
        run = run_method(bundle, method)
        landed = {name: value for name, value in run.weights.items() if name.startswith("encoder.")}
        assert_same(dict(sorted(landed.items())), dict(sorted(encoder_of(run, method).items())))

    @pytest.mark.parametrize("method", TRAINED)
    def test_all_of_the_encoder_and_nothing_but_the_encoder_has_changed(self, method, bundle, run_method):
        """Against the student from scratch, since each method starts from the same one."""
        start, end = run_method(bundle, "scratch").weights, run_method(bundle, method).weights
        assert start.keys() == end.keys()
        changed = {name for name in start if not torch.equal(start[name], end[name])}
        encoder = {name for name in start if name.startswith("encoder.")}
        assert changed == encoder - UNTRAINED.get(method, set())

    def test_from_scratch_nothing_is_trained_and_no_input_but_the_dataset_is_needed(self, bundle, keys, tmp_path):
        values = {**keys(bundle), "output_dir": tmp_path}
        run_stage("distill", with_method("scratch"), **values)
        left = {"distilled.pt", "distilled.provenance.json", "dataset_manifest.json", "logs", ".lock"}
        assert {path.name for path in tmp_path.iterdir()} == left
        trained = load_stage("train", initial_weights=None, **values)
        with contained():
            trained.initialize()
        after = trained.parser.get_parsed_content("provenance")
        of_training = {"initial", "dataset", "bundle", "phantoms", "settings"}
        recipe = {key: value for key, value in after.items() if key not in of_training}
        known = read_provenance(tmp_path / "distilled.pt")
        assert known["method"] == "scratch"
        assert {key: known[key] for key in recipe} == {**recipe, "method": "scratch"}, "what using it takes"
        assert recipe.get("dicom_modality") == ("MR" if recipe["sees"] == "slices" else None)
        expected = trained.parser.get_parsed_content("student_def").state_dict()
        assert_same(dict(read_state(tmp_path / "distilled.pt")), dict(expected))

    @pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.config])
    def test_images_steps_and_augmentation_are_those_of_distill(self, method, bundle):
        """All but what a method that trains nothing leaves out."""
        files = [bundle / "configs/distill.yaml", METHOD_CONFIGS / f"{method}.yaml"]
        alone, laid = (ConfigParser.load_config_files([str(file) for file in files[:count]]) for count in (1, 2))
        own = {
            "scratch": {"transfer", "unlabelled"},
            "real_images": {"transfer"},
            "labelled_images": {"transfer", "unlabelled", "files"},
            "synthetic_images": {"files"},
        }.get(method, set())
        sections = {
            "transfer",
            "unlabelled",
            "labelled",
            "files",
            "preprocessing",
            "inputs",
            "augmentation",
            "dataloader",
        }
        for section in sections - own:
            assert laid["train"][section] == alone["train"][section]
        for key in (
            "epochs",
            "batch_size",
            "image_shape",
            "num_transfer",
            "transfer_length",
            "num_labels",
            "unlabelled_length",
        ):
            assert laid[key] == alone[key]
        assert (laid["student_def"] == alone["student_def"]) == (method != "unet_kd")

    def test_the_projects_own_method_is_distill_as_it_stands(self, bundle):
        files = [bundle / "configs/distill.yaml", METHOD_CONFIGS / "task_specific_kd.yaml"]
        alone, laid = (ConfigParser.load_config_files([str(file) for file in files[:count]]) for count in (1, 2))
        assert alone == laid


class TestTraining:
    @pytest.mark.parametrize("method", TRAINED)
    def test_an_epoch_goes_over_as_many_images_as_distill_does(self, method, run_method):
        stage = run_method(BUNDLE, method).stage
        dataset = stage.parser.get_parsed_content("train::dataset")
        assert len(dataset) == 4, "two synthetic images, and as many labelled ones"
        assert trainer_of(stage).state.epoch_length == 2

    @pytest.mark.parametrize(
        ("method", "warmup", "decay"),
        [("mae", 2, {(True, 0.05), (False, 0)}), ("mocov3", 5, {(True, 0.1), (False, 0.1)})],
    )
    def test_the_learning_rate_is_that_of_the_paper(self, method, warmup, decay, keys):
        """40 steps: the paper's rate for 2 images, reached in a share of the steps, and half a cosine to zero."""
        values = keys(BUNDLE)
        values.pop("learning_rate")
        parser = load_stage("distill", with_method(method), **values, epochs=20).parser
        optimizer, scheduler = (parser.get_parsed_content(name) for name in ("optimizer", "lr_scheduler"))
        peak = 1.5e-4 * 2 / 256
        rates = []
        for _ in range(40):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        rising = [peak * step / warmup for step in range(warmup)]
        falling = [peak * (1 + math.cos(math.pi * step / (40 - warmup))) / 2 for step in range(40 - warmup)]
        assert rates == pytest.approx(rising + falling, rel=1e-6, abs=1e-15)
        found = {(p.ndim > 1, group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
        assert found == decay
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert trained == {id(p) for p in parser.get_parsed_content("network").parameters() if p.requires_grad}

    def test_the_two_crops_of_an_image_are_not_alike(self, run_method):
        dataset = run_method(BUNDLE, "mocov3").stage.parser.get_parsed_content("train::dataset")
        for item in dataset:
            assert item.keys() == {"image", "second_crop", "image_id"}
            first, second = item["image"], item["second_crop"]
            assert first.shape == second.shape == (3, 32, 32)
            assert not torch.equal(first, second)

    def test_a_crop_has_the_augmentation_of_the_bundle_before_its_own(self, keys):
        parser = load_stage("distill", with_method("mocov3"), **keys(BUNDLE)).parser
        names = [type(each).__name__ for each in parser.get_parsed_content("train::crop").flatten().transforms]
        bundle = [type(each).__name__ for each in parser.get_parsed_content("train::augmentation").flatten().transforms]
        assert names[: len(bundle)] == bundle
        assert names[len(bundle)] == "RandZoomd"

    def test_the_published_encoder_is_asked_once_and_its_logits_are_not_kept(self, run_method):
        stage = run_method(BUNDLE, "task_agnostic_kd").stage
        cached = stage.parser.get_parsed_content("train::samples")
        assert set(output_keys(["encoder.neck"], logits=False)) < cached[0].keys()
        assert not (cached.folder / "teacher_logits.npy").exists()

    def test_the_published_encoder_can_be_asked_live(self, keys):
        values = keys(BUNDLE)
        run_stage("distill", with_method("task_agnostic_kd"), teacher_cache=None, **values)
        assert not (values["output_dir"] / "teacher_cache").exists()
        assert (values["output_dir"] / "distilled.pt").is_file()


class TestRefused:
    """Nothing is trained and nothing is written."""

    @pytest.fixture
    def refuse(self, keys):
        def run(message: str, method: str, **changes: Any) -> None:
            values = keys(BUNDLE)
            with refused(message):
                run_stage("distill", with_method(method), **{**values, **changes})
            assert not (values["output_dir"] / "distilled.pt").exists()
            assert not (values["output_dir"] / "checkpoints").exists()

        return run

    @pytest.mark.parametrize("method", TRAINED)
    def test_another_student(self, method, refuse):
        sizes = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": [4, 8], "strides": [2]}
        pairs = {"encoder.neck": "model.1.submodule"}
        message = "student_def: only the encoder of a ViTSegmenter can be pre-trained alone, got a UNet"
        refuse(message, method, student_def={"_target_": "UNet", **sizes}, feature_pairs=pairs)

    @pytest.mark.parametrize("method", TRAINED)
    def test_more_synthetic_images_than_there_are(self, method, refuse):
        refuse("num_transfer must be between 1 and the 2 images of .*transfer, got 3", method, num_transfer=3)

    @pytest.mark.parametrize("method", TRAINED)
    def test_an_empty_transfer_folder(self, method, refuse, tmp_path):
        (tmp_path / "transfer").mkdir()
        refuse("there is no transfer set in .*: run synthesize first", method, output_dir=tmp_path)

    def test_a_batch_of_one_image(self, refuse):
        refuse("batch_size: MoCo v3 tells the images of a batch apart, .* got 1", "mocov3", batch_size=1)

    def test_images_of_one_patch(self, refuse):
        refuse("masking_ratio: .*of the 1 patches", "mae", crop_size=16)
