"""Teacher outputs: computed once, true to the teacher, moved with the image, and never taken from a bad folder."""

from __future__ import annotations

import copy
import json
import logging
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distilling import make_trainer, record
from integration import (
    IMAGE_SIZE,
    assert_same,
    environment,
    lopsided_image,
    read_state,
    refused,
    run_stage,
    write_teacher,
    write_transfer,
)
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from monai.transforms import Compose, EnsureTyped, RandAdjustContrastd, RandAffined, RandFlipd, RandRotate90d
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from common.datasets import find_dataset
from common.distillation import teacher_outputs
from common.distillation.feature_hooks import FeatureHooks
from common.distillation.frozen_teacher import FrozenTeacher
from common.distillation.teacher_outputs import TeacherOutputs, output_keys, with_teacher_outputs
from common.errors import InputError
from common.transforms.motion import FollowImaged

PAIRS = {"encoder.neck": "encoder.norm", "encoder.layers.0": "encoder.blocks.0"}
HALF = {"rtol": 2e-3, "atol": 2e-3}  # half precision has eleven bits


@pytest.fixture
def teacher(make_teacher) -> nn.Module:
    return make_teacher(input_scale=2)


@pytest.fixture
def inputs() -> list[dict]:
    """Five distinct inputs; the first one comes again."""
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    items = [
        {"image": image, "label": (image[:1] > 0.5).float(), "labelled": index > 2}
        for index, image in enumerate(images)
    ]
    return [*items, items[0]]


@pytest.fixture
def build(teacher, student, inputs, tmp_path) -> Callable[..., TeacherOutputs]:
    """Return what opens the outputs of this teacher for these inputs, or for others where it gets any."""

    def open_outputs(folder: Path = tmp_path / "outputs", **changes: Any) -> TeacherOutputs:
        found = changes.pop("inputs", inputs)
        network, pairs = changes.pop("teacher", teacher), changes.pop("pairs", PAIRS)
        kept = {name: changes.pop(name) for name in ("logits", "batch_size") if name in changes}
        frozen = FrozenTeacher(FeatureHooks(network, pairs), **changes)
        hooks = FeatureHooks(student, pairs.values())
        return TeacherOutputs(
            found, folder, teacher=frozen, student_hooks=hooks, pairs=pairs, **{"batch_size": 2, **kept}
        )

    return open_outputs


@contextmanager
def counted(teacher: nn.Module) -> Iterator[SimpleNamespace]:
    """Count the images that a teacher runs on."""
    count = SimpleNamespace(images=0)

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        count.images += len(inputs[0])

    handle = teacher.register_forward_hook(hook)
    yield count
    handle.remove()


def run_plainly(teacher: nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a teacher on one image, without any of what is tested."""
    hooks = FeatureHooks(teacher, PAIRS)
    with torch.no_grad():
        logits = teacher.eval()(image[None])
    features = hooks.pop(image.shape[1:])
    hooks.close()
    return logits[0], {layer: feature[0] for layer, feature in features.items()}


def assert_true_to(teacher: nn.Module, outputs: TeacherOutputs) -> None:
    for each, item in zip(outputs.inputs, outputs, strict=True):
        logits, features = run_plainly(teacher, each["image"])
        assert_close(item["teacher_logits"].float(), logits, **HALF)
        for layer, feature in features.items():
            on_grid = F.interpolate(feature[None], size=(2, 2), mode="bilinear", antialias=True)[0]
            assert_close(item[f"teacher.{layer}"].float(), on_grid, **HALF)


class TestOutputs:
    def test_they_are_those_of_the_teacher_on_the_grids_of_the_student(self, build, teacher):
        assert_true_to(teacher, build())

    def test_inputs_come_as_they_are(self, build, inputs):
        for each, item in zip(inputs, build(), strict=True):
            assert item.keys() == {*each, *output_keys(PAIRS)}
            assert torch.equal(item["image"].as_tensor(), each["image"])
            assert item["label"] is each["label"]
            assert item["labelled"] is each["labelled"]

    def test_the_teacher_runs_on_every_distinct_image_once(self, build, teacher):
        with counted(teacher) as seen:
            outputs = build()
        assert seen.images == 5
        assert np.load(outputs.folder / "teacher_logits.npy").shape == (5, 2, 32, 32)

    def test_they_are_kept_in_half_precision_and_mapped(self, build):
        outputs = build()
        for key in output_keys(PAIRS):
            assert np.load(outputs.folder / f"{key}.npy").dtype == np.float16
            assert isinstance(outputs._arrays[key], np.memmap)
        assert outputs[0]["teacher_logits"].dtype == torch.float16

    def test_they_are_those_of_evaluation_mode(self, build):
        normalising = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).train()
        outputs = build(teacher=normalising, pairs={"0": "encoder.norm"})
        assert normalising[0].num_batches_tracked == 0
        expected = normalising.eval()(outputs.inputs[1]["image"][None])[0]
        assert_close(outputs[1]["teacher_logits"].float(), expected, **HALF)

    def test_nothing_random_is_drawn(self, build):
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        build()
        assert torch.equal(torch.rand(1), expected), "a run with outputs on disk would differ from one without"

    def test_outputs_beyond_half_precision_are_refused(self, build, teacher, tmp_path):
        with torch.no_grad():
            teacher.encoder.neck.layer_norm2.weight *= 1e8
        with pytest.raises(InputError, match=r"not all finite numbers in half precision: .*--teacher_outputs null"):
            build()
        assert list(tmp_path.iterdir()) == []

    def test_logits_can_be_left_out(self, build, inputs):
        outputs = build(logits=False)
        with_logits = build(folder=outputs.folder.with_name("all"))
        for item, other, each in zip(outputs, with_logits, inputs, strict=True):
            assert item.keys() == {*each, *output_keys(PAIRS, logits=False)}
            for layer in PAIRS:
                assert torch.equal(item[f"teacher.{layer}"], other[f"teacher.{layer}"])
        assert not (outputs.folder / "teacher_logits.npy").exists()

    def test_they_are_averaged_over_orientations(self, build, teacher, inputs):
        logits, _ = FrozenTeacher(FeatureHooks(teacher, PAIRS), orientations=8)(inputs[0]["image"][None])
        assert_close(build(orientations=8)[0]["teacher_logits"].float(), logits[0], **HALF)

    def test_without_a_folder_the_inputs_have_none(self, inputs):
        for each, item in zip(inputs, with_teacher_outputs(inputs, None), strict=True):
            assert item.keys() == each.keys()
            assert torch.equal(item["image"].as_tensor(), each["image"])

    def test_the_fingerprint_tells_labels_and_teachers_apart(self, build, inputs, teacher):
        prints = [build().fingerprint]
        inputs[1]["label"][0, 0, 0] += 1
        prints.append(build().fingerprint)
        change_weight(teacher, inputs, Path())
        prints.append(build().fingerprint)
        assert len(set(prints)) == 3


# Used, or refused and made anew


def test_a_folder_with_logits_serves_without_them_and_not_the_other_way_round(build, teacher):
    build(logits=False)
    with counted(teacher) as seen:
        build(logits=False)
        assert seen.images == 0
        build()
        assert seen.images == 5
        build(logits=False)
        assert seen.images == 5


def change_weight(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    with torch.no_grad():
        teacher.decoder.mask_tokens.weight[0, 0] += 1
    return {}


def change_setting(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    teacher.input_scale = 1
    return {}


def change_pixel(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    inputs[3]["image"][1, 2, 3] += 1 / 255
    return {}


def change_order(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    inputs[1], inputs[2] = inputs[2], inputs[1]
    return {}


def change_layers(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    (folder / "teacher.encoder.layers.0.npy").rename(folder / "teacher.encoder.layers.1.npy")
    return {"pairs": {"encoder.neck": "encoder.norm", "encoder.layers.1": "encoder.blocks.0"}}


def change_precision(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    return {"amp": True, "amp_kwargs": {"dtype": torch.bfloat16}}


def change_orientations(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    return {"orientations": 8}


def flip_bit(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    content = bytearray((folder / "teacher_logits.npy").read_bytes())
    content[-1000] ^= 1
    (folder / "teacher_logits.npy").write_bytes(content)
    return {}


def swap_byte_order(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    content = (folder / "teacher_logits.npy").read_bytes()
    (folder / "teacher_logits.npy").write_bytes(content.replace(b"<f2", b">f2", 1))
    return {}


def truncate(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    content = (folder / "teacher.encoder.neck.npy").read_bytes()
    (folder / "teacher.encoder.neck.npy").write_bytes(content[:-1])
    return {}


def empty(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    (folder / "teacher_logits.npy").write_bytes(b"")
    return {}


def remove_array(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    (folder / "teacher_logits.npy").unlink()
    return {}


def remove_record(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    (folder / "teacher_outputs.json").unlink()
    return {}


def damage_record(teacher: nn.Module, inputs: list[dict], folder: Path) -> dict:
    (folder / "teacher_outputs.json").write_text("[]")
    return {}


class TestRefused:
    def test_the_same_outputs_are_used_again_without_the_teacher(self, build, teacher, caplog):
        first = build()
        stamps = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
        with counted(teacher) as seen, caplog.at_level(logging.INFO):
            second = build()
        assert seen.images == 0
        assert "those of all 5 images are there" in caplog.text
        assert {path: path.stat().st_mtime_ns for path in second.folder.iterdir()} == stamps
        assert_same([dict(item) for item in first], [dict(item) for item in second])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (change_weight, "of another teacher"),
            (change_setting, "of another teacher"),
            (change_pixel, "of other images"),
            (change_order, "of other images"),
            (change_layers, "of other layers"),
            (change_precision, "another precision"),
            (change_orientations, "other orientations of the images"),
            (flip_bit, "teacher_logits.npy is damaged"),
            (swap_byte_order, "teacher_logits.npy is damaged"),
            (truncate, "teacher.encoder.neck.npy is missing or damaged"),
            (empty, "teacher_logits.npy is missing or damaged"),
            (remove_array, "teacher_logits.npy is missing or damaged"),
            (remove_record, "teacher_outputs.json is missing or damaged"),
            (damage_record, "teacher_outputs.json is missing or damaged"),
        ],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_any_others_are_refused_with_the_reason_and_made_anew(self, change, reason, build, teacher, inputs, caplog):
        folder = build().folder
        changes = change(teacher, inputs, folder)
        with caplog.at_level(logging.WARNING):
            outputs = build(**changes)
        (record,) = [record for record in caplog.records if record.name == teacher_outputs.__name__]
        assert str(folder) in record.message
        assert reason in record.message
        assert record.levelno == logging.WARNING
        with counted(teacher) as seen:
            build(**changes)
        assert seen.images == 0, "made anew, they are good"
        if not changes:
            assert_true_to(teacher, outputs)

    def test_the_first_ones_are_no_reason_to_warn(self, build, caplog):
        with caplog.at_level(logging.WARNING):
            build()
        assert caplog.text == ""

    @pytest.mark.parametrize("name", ["image.npy", "notes.txt", "images"])
    def test_a_folder_of_something_else_is_left_alone(self, name, build, tmp_path):
        folder = tmp_path / "mine"
        (folder / name).mkdir(parents=True)
        with pytest.raises(InputError, match="mine exists and holds no teacher outputs; choose another folder"):
            build(folder=folder)
        assert [path.name for path in folder.iterdir()] == [name]

    def test_the_record_says_of_what_they_are(self, build):
        record = json.loads((build().folder / "teacher_outputs.json").read_text(encoding="utf-8"))
        assert record.keys() == {"teacher", "inputs", "precision", "orientations", "grids", "arrays"}
        assert record["grids"] == {"encoder.neck": [2, 2], "encoder.layers.0": [2, 2]}
        assert record["arrays"]["teacher_logits"]["shape"] == [5, 2, 32, 32]


# A disk that is too small, a process that ends


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: what a full disk is to a process that writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


KILLED = """
import os, signal, sys
import torch
from common.distillation.feature_hooks import FeatureHooks
from common.distillation.frozen_teacher import FrozenTeacher
from common.distillation.teacher_outputs import TeacherOutputs
from common.students.vit import ViTSegmenter

def kill(module, inputs):
    global batches
    batches += 1
    if batches == 3:
        os.kill(os.getpid(), signal.SIGKILL)

batches = -1  # its grids are looked at first
torch.manual_seed(0)
network = ViTSegmenter(hidden_size=24, depth=1, num_heads=2, conv_channels=(4, 4))
hooks = FeatureHooks(network, ["encoder.norm"])
network.register_forward_pre_hook(kill)
inputs = [{"image": torch.rand(3, 32, 32)} for _ in range(8)]
TeacherOutputs(
    inputs,
    sys.argv[1],
    teacher=FrozenTeacher(hooks),
    student_hooks=hooks,
    pairs={"encoder.norm": "encoder.norm"},
    batch_size=2,
)
"""


class TestCutOff:
    def test_too_small_a_disk_is_known_before_anything_is_written(self, build, tmp_path, monkeypatch):
        needed = 5 * 2 * (2 * 32 * 32 + 2 * 32 * 2 * 2)
        usage = SimpleNamespace(free=needed - 1)
        monkeypatch.setattr(teacher_outputs.shutil, "disk_usage", lambda path: usage)
        expected = rf"2\.3e-05 GB are needed in {tmp_path / 'outputs'}.*--teacher_outputs null"
        with pytest.raises(InputError, match=expected):
            build()
        assert list(tmp_path.iterdir()) == []
        usage.free = needed
        build()

    def test_a_disk_that_fills_up_leaves_nothing_behind(self, build, tmp_path):
        pixelwise = nn.Conv2d(3, 2, 1)
        many = [{"image": torch.full((3, 128, 128), index / 64)} for index in range(64)]  # 4 MB of logits
        arguments = {"teacher": nn.Sequential(pixelwise), "pairs": {"0": "encoder.norm"}, "inputs": many}
        with largest_file(3_000_000), pytest.raises(InputError, match=r"0\.00421 GB are needed .* less space"):
            build(**arguments)
        assert list(tmp_path.iterdir()) == []
        assert torch.is_grad_enabled()
        assert len(build(**arguments)) == 64

    def test_other_errors_of_the_disk_are_not_taken_for_a_full_one(self, build, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileExistsError):
            build(folder=tmp_path / "file" / "outputs")

    def test_a_process_killed_in_the_middle_leaves_nothing_that_is_used(self, build, teacher, tmp_path):
        folder = tmp_path / "outputs"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder)], env=environment(), cwd=Path(__file__).parents[2], check=False
        )
        assert done.returncode == -9
        assert not folder.exists()
        assert [path.name.endswith(".partial") for path in tmp_path.iterdir()] == [True]
        assert_true_to(teacher, build())


# In training


AFFINE_OPTIONS = {
    "prob": 1,
    "rotate_range": 0.4,
    "scale_range": (0.2, 0.2),
    "translate_range": (4, 4),
    "mode": ["bilinear", "nearest"],
}
AFFINE = RandAffined(["image", "label"], **AFFINE_OPTIONS, padding_mode="reflection")


def augmentation(*transforms: Callable, padding_mode: str = "border") -> Compose:
    follow = FollowImaged(output_keys(PAIRS), padding_mode=padding_mode, allow_missing_keys=True)
    return Compose([*transforms, follow, EnsureTyped(["image", "label"], track_meta=False)])


def trainer_of(
    teacher: nn.Module, student: nn.Module, data: Any, transform: Compose, **options: Any
) -> SupervisedTrainer:
    transform.set_random_state(1)
    supervised = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False)
    batches = DataLoader(Dataset(data, transform), batch_size=3)
    return make_trainer(teacher, student, batches, PAIRS, epochs=2, supervised=supervised, **options)


def history_of(trainer: SupervisedTrainer) -> list[dict[str, float]]:
    history = record(trainer)
    trainer.run()
    return history


class TestTraining:
    @pytest.mark.parametrize("orientations", [1, 8])
    def test_losses_are_those_of_the_live_teacher(self, orientations, build, teacher, student, inputs):
        histories = []
        for data in (build(orientations=orientations), with_teacher_outputs(inputs, None)):
            network = copy.deepcopy(student)
            trainer = trainer_of(teacher, network, data, augmentation(), orientations=orientations)
            histories.append(history_of(trainer))
        assert len(histories[0]) == 4
        for stored, live in zip(*histories, strict=True):
            assert stored == pytest.approx(live, rel=1e-3)
            assert len(set(live.values())) == 4

    def test_the_teacher_does_not_run_and_stays_where_it_is(self, build, teacher, student, monkeypatch):
        trainer = trainer_of(teacher, student, build(), augmentation())
        monkeypatch.setattr(teacher, "to", lambda *args, **kwargs: pytest.fail("the teacher was moved"))
        with counted(teacher) as seen:
            trainer.run()
        assert seen.images == 0

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_memory_format_changes_no_result(self, channels_last, build, teacher, student, inputs):
        live = with_teacher_outputs(inputs, None)
        expected = history_of(trainer_of(teacher, copy.deepcopy(student), live, augmentation()))
        order = torch.channels_last if channels_last else torch.preserve_format
        student = student.to(memory_format=order)
        formats = []

        def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
            formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

        data = build(memory_format=order)
        trainer = trainer_of(teacher, student, data, augmentation(), to_kwargs={"memory_format": order})
        student.register_forward_pre_hook(note)
        found = history_of(trainer)
        assert formats == [channels_last] * 4
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-3)

    def test_targets_of_padded_pixels_do_not_contradict_the_teacher(self, build, inputs):
        """This student is its teacher. Images are padded with zeros, and the teacher's maps by their border."""
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
        pairs = {"0": "0"}
        hooks = FeatureHooks(network, pairs)
        outputs = TeacherOutputs(inputs, build().folder, teacher=FrozenTeacher(hooks), student_hooks=hooks, pairs=pairs)
        moving = Compose([RandAffined(["image", "label"], **AFFINE_OPTIONS, padding_mode="zeros")])
        losses = {}
        for padding_mode in ("zeros", "border"):
            follow = FollowImaged(output_keys(pairs), padding_mode=padding_mode)
            data = Dataset(outputs, Compose([moving, follow]).set_random_state(0))
            options = {"weights": {"features": None, "supervised": None}, "learning_rate": 0}
            network.requires_grad_()
            trainer = make_trainer(network, copy.deepcopy(network), DataLoader(data, batch_size=3), pairs, **options)
            losses[padding_mode] = history_of(trainer)[0]["logits"]
        assert losses["zeros"] < losses["border"] / 100, "which counts them"

    @pytest.mark.parametrize(("more", "tolerance"), [([], 1e-3), ([AFFINE], 2e-3)], ids=["flips and turns", "affine"])
    def test_outputs_follow_the_image_as_if_the_teacher_had_seen_it_moved(self, more, tolerance, build, inputs):
        """This teacher is linear, pixel by pixel: to move its outputs is to move what it sees."""
        pixelwise = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
        outputs = build(teacher=pixelwise, pairs={"0": "encoder.norm"})
        keys = ["image", "label"]
        turns = RandFlipd(keys, prob=0.5, spatial_axis=0), RandRotate90d(keys, prob=0.8)
        moving = augmentation(*turns, *more, padding_mode="reflection")
        moved = 0
        for seed in range(6):
            moving.set_random_state(seed)
            for each, item in zip(inputs, Dataset(outputs, moving), strict=True):
                live = pixelwise(item["image"][None])[0].half()
                moved += not torch.equal(item["image"], each["image"])
                assert_close(item["teacher_logits"].float(), live.float(), rtol=tolerance, atol=tolerance)
        assert moved > 10

    def test_augmentation_leaves_the_inputs_as_they_are(self, build, inputs):
        before = copy.deepcopy(inputs)
        flip = RandFlipd(["image", "label"], prob=1, spatial_axis=0)
        dataset = Dataset(build(), augmentation(flip, RandAdjustContrastd("image", prob=1, gamma=(2, 3))))
        for item in dataset:
            assert type(item["image"]) is type(item["label"]) is Tensor
        assert_same(before, inputs)


# As a stage


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "DRIVE"
    return find_dataset("drive").write_phantoms(folder, num_training=4, num_test=1, image_size=IMAGE_SIZE)


class TestStage:
    def distil(self, dataset_dir: Path, output_dir: Path, **values: Any) -> tuple[dict[str, Tensor], str]:
        """Run the stage, and return the student and what the log says of this run."""
        if not output_dir.exists():
            write_teacher(output_dir)
            write_transfer(output_dir)
        log = output_dir / "logs" / "distill.log"
        before = len(log.read_text(encoding="utf-8")) if log.exists() else 0
        run_stage("distill", dataset_dir=dataset_dir, output_dir=output_dir, **values)
        (output_dir / "checkpoints" / "distill.pt").unlink()
        return read_state(output_dir / "distilled.pt"), log.read_text(encoding="utf-8")[before:]

    def test_a_second_run_reads_the_outputs_and_ends_with_the_same_bits(self, dataset_dir, tmp_path):
        first, log = self.distil(dataset_dir, tmp_path / "run")
        assert "teacher_outputs: there are none yet; running the teacher on 8 images (4 with labels and 4" in log
        second, log = self.distil(dataset_dir, tmp_path / "run")
        assert "teacher_outputs: those of all 8 images are there" in log
        assert_same(first, second)

    def test_without_augmentation_the_student_is_that_of_the_live_teacher(self, dataset_dir, tmp_path):
        still = {"train::random_transforms": [], "optimizer::_target_": "torch.optim.SGD"}
        stored, _ = self.distil(dataset_dir, tmp_path / "stored", **still)
        live, log = self.distil(dataset_dir, tmp_path / "live", teacher_outputs=None, **still)
        assert "teacher outputs" not in log
        assert not (tmp_path / "live" / "teacher_outputs").exists()
        assert stored.keys() == live.keys()
        for name in live:
            assert_close(stored[name], live[name], rtol=1e-3, atol=1e-4)

    def test_images_that_are_not_alike_are_refused_before_training(self, dataset_dir, tmp_path):
        write_teacher(tmp_path)
        write_transfer(tmp_path)
        Image.new("L", (48, 48)).save(tmp_path / "transfer" / "images" / "000002.png")
        with refused("2 issues", r"images/000002\.png: has 1 channel, expected 3", r"000002\.png: is 48 x 48"):
            run_stage("distill", dataset_dir=dataset_dir, output_dir=tmp_path)
        assert not (tmp_path / "teacher_outputs").exists()

    def test_unlabelled_pictures_of_any_mode_are_taken(self, dataset_dir, tmp_path):
        (tmp_path / "more").mkdir()
        for mode in ("L", "RGBA"):
            Image.fromarray(lopsided_image(60, 50)).convert(mode).save(tmp_path / "more" / f"{mode}.png")
        values = {"unlabelled_dir": tmp_path / "more", "crops_per_image": 2, "epochs": 1}
        _, log = self.distil(dataset_dir, tmp_path / "run", **values)
        assert f"running the teacher on {2 * (4 + 2 * 2)} images" in log, "as many crops with a label as without"
