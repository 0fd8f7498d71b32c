"""What the teacher answers: asked once, true to the teacher, moved with the image, and never taken from a bad cache."""

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
from ignite.engine import Events
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
from monai.data import CacheDataset, DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandRotate90d,
    RandSpatialCropd,
    RandWeightedCropd,
)
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from common.datasets.phantoms.drive import write_phantoms
from common.distillation import teacher_outputs
from common.distillation.features import FeatureTaps
from common.distillation.losses import FeatureAlignmentLoss, LogitDistillationLoss
from common.distillation.orientations import ask_teacher
from common.distillation.teacher_outputs import TeacherCache, answer_keys, draw_views, with_answers
from common.distillation.terms import DistillationLoss
from common.distillation.trainers import DistillationTrainer
from common.errors import InputError
from common.students.vit import ViTSegmenter
from common.teachers.sam import SamTeacher
from common.transforms.motion import FollowImaged

PAIRS = {"encoder.neck": "encoder.norm", "encoder.layers.0": "encoder.blocks.0"}
HALF = {"rtol": 2e-3, "atol": 2e-3}  # half precision has eleven bits


@pytest.fixture(scope="module")
def pristine_teacher(tiny_sam_folder) -> SamTeacher:
    return SamTeacher(tiny_sam_folder, num_classes=2, input_scale=2).eval()


@pytest.fixture
def teacher(pristine_teacher) -> SamTeacher:
    return copy.deepcopy(pristine_teacher)


@pytest.fixture
def student() -> ViTSegmenter:
    torch.manual_seed(0)
    return ViTSegmenter(hidden_size=24, depth=1, num_heads=2, conv_channels=(4, 4))


@pytest.fixture
def views() -> list[dict]:
    """Five distinct views; the first one comes again."""
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    items = [
        {"image": image, "label": (image[:1] > 0.5).float(), "labelled": index > 2}
        for index, image in enumerate(images)
    ]
    return [*items, items[0]]


@pytest.fixture
def build(teacher, student, views, tmp_path) -> Callable[..., TeacherCache]:
    """Return what opens the cache of these networks and views, or one that differs as it is told."""

    def open_cache(**changes: Any) -> TeacherCache:
        arguments = {"teacher": teacher, "student": student, "pairs": PAIRS, "batch_size": 2, **changes}
        return TeacherCache(arguments.pop("views", views), arguments.pop("folder", tmp_path / "cache"), **arguments)

    return open_cache


@contextmanager
def counted(teacher: nn.Module) -> Iterator[SimpleNamespace]:
    """Count the images that a teacher is asked about."""
    count = SimpleNamespace(images=0)

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        count.images += len(inputs[0])

    handle = teacher.register_forward_hook(hook)
    yield count
    handle.remove()


def ask(teacher: nn.Module, image: Tensor, layers: dict[str, str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Ask a teacher about one image, without any of what is tested."""
    taps = FeatureTaps(teacher, layers)
    with torch.no_grad():
        logits = teacher.eval()(image[None])
    features = taps.pop(image.shape[1:])
    taps.close()
    return logits[0], {layer: feature[0] for layer, feature in features.items()}


def assert_true_to(teacher: nn.Module, cache: TeacherCache) -> None:
    for view, item in zip(cache.views, cache, strict=True):
        logits, features = ask(teacher, view["image"], PAIRS)
        assert_close(item["teacher_logits"].float(), logits, **HALF)
        for layer, feature in features.items():
            on_grid = F.interpolate(feature[None], size=(2, 2), mode="bilinear", antialias=True)[0]
            assert_close(item[f"teacher.{layer}"].float(), on_grid, **HALF)


class TestAnswers:
    def test_they_are_those_of_the_teacher_on_the_grids_of_the_student(self, build, teacher):
        assert_true_to(teacher, build())

    def test_views_come_as_they_are(self, build, views):
        for view, item in zip(views, build(), strict=True):
            assert item.keys() == {*view, *answer_keys(PAIRS)}
            assert torch.equal(item["image"].as_tensor(), view["image"])
            assert item["label"] is view["label"]
            assert item["labelled"] is view["labelled"]

    def test_the_teacher_is_asked_about_every_distinct_view_once(self, build, teacher):
        with counted(teacher) as asked:
            cache = build()
        assert asked.images == 5
        assert np.load(cache.folder / "teacher_logits.npy").shape == (5, 2, 32, 32)

    def test_they_are_kept_in_half_precision_and_mapped(self, build):
        cache = build()
        for key in answer_keys(PAIRS):
            assert np.load(cache.folder / f"{key}.npy").dtype == np.float16
            assert isinstance(cache._arrays[key], np.memmap)
        assert cache[0]["teacher_logits"].dtype == torch.float16

    def test_a_teacher_in_training_mode_is_asked_in_evaluation_mode_and_left_as_it_was(self, build, student):
        normalising = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).train()
        cache = build(teacher=normalising, pairs={"0": "encoder.norm"})
        assert normalising.training
        assert normalising[0].num_batches_tracked == 0
        expected = normalising.eval()(cache.views[1]["image"][None])[0]
        assert_close(cache[1]["teacher_logits"].float(), expected, **HALF)

    def test_nothing_random_is_drawn(self, build):
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        build()
        assert torch.equal(torch.rand(1), expected), "a run with a cache at hand would differ from one without"

    def test_answers_beyond_half_precision_are_refused(self, build, teacher, tmp_path):
        with torch.no_grad():
            teacher.encoder.neck.layer_norm2.weight *= 1e8
        with pytest.raises(InputError, match=r"not all finite numbers in half precision: .*--teacher_cache '\$None'"):
            build()
        assert list(tmp_path.iterdir()) == []

    def test_logits_can_be_left_out(self, build, teacher, views):
        cache = build(logits=False)
        with_logits = build(folder=cache.folder.with_name("whole"))
        for item, whole, view in zip(cache, with_logits, views, strict=True):
            assert item.keys() == {*view, *answer_keys(PAIRS, logits=False)}
            for layer in PAIRS:
                assert torch.equal(item[f"teacher.{layer}"], whole[f"teacher.{layer}"])
        assert not (cache.folder / "teacher_logits.npy").exists()

    def test_without_a_folder_the_views_stay_without_answers(self, views, teacher):
        assert with_answers(views, None, teacher=teacher) is views


# Used, or refused and made anew


class TestOrientations:
    """What a teacher says of an image, averaged over the ways of showing it."""

    @pytest.fixture
    def answers(self, teacher) -> Callable[..., dict[str, Tensor]]:
        taps = FeatureTaps(teacher.eval(), PAIRS)

        def answer(image: Tensor, orientations: int) -> dict[str, Tensor]:
            logits, features = ask_teacher(teacher, taps, image[None], orientations)
            return {"logits": logits[0], **{layer: feature[0] for layer, feature in features.items()}}

        return answer

    @pytest.fixture
    def image(self) -> Tensor:
        return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))

    def test_two_are_the_image_and_its_mirror_image(self, answers, image, teacher):
        plain, mirrored = (ask(teacher, each, PAIRS) for each in (image, image.flip(1)))
        found = answers(image, 2)
        assert_close(found["logits"], (plain[0] + mirrored[0].flip(1)) / 2)
        for layer in PAIRS:
            assert_close(found[layer], (plain[1][layer] + mirrored[1][layer].flip(1)) / 2)

    def test_eight_are_all_different_and_moved_back(self, answers, image, teacher):
        logits, corners = [], set()
        for mirror in (image, image.flip(1)):
            for quarters in range(4):
                shown = mirror.rot90(quarters, (1, 2))
                corners.add((shown[0, 0, 0].item(), shown[0, 0, -1].item()))
                back = ask(teacher, shown, PAIRS)[0].rot90(-quarters, (1, 2))
                logits.append(back if mirror is image else back.flip(1))
        assert len(corners) == 8
        assert_close(answers(image, 8)["logits"], torch.stack(logits).mean(0), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("move", [lambda x: x.flip(1), lambda x: x.flip(2), lambda x: x.rot90(1, (1, 2))])
    def test_with_eight_the_answers_move_with_the_image_and_with_one_they_do_not(self, move, answers, image):
        for key, answer in answers(image, 8).items():
            assert_close(answers(move(image), 8)[key], move(answer), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(answers(move(image), 1)["logits"], move(answers(image, 1)["logits"]), atol=1e-3)

    def test_the_cache_keeps_the_average(self, build, answers, views):
        item = build(orientations=8)[0]
        assert_close(item["teacher_logits"].float(), answers(views[0]["image"], 8)["logits"], **HALF)

    def test_another_number_is_refused(self, build, teacher, student, views):
        with pytest.raises(InputError, match=r"teacher_orientations: expected 1 .*, 2 .* or 8 .*, got 4"):
            build(orientations=4)
        with pytest.raises(InputError, match="teacher_orientations"):
            make_trainer(teacher, student, views, augmentation(), orientations=4)


def test_a_cache_with_logits_serves_without_them_and_not_the_other_way_round(build, teacher):
    build(logits=False)
    with counted(teacher) as asked:
        build(logits=False)
        assert asked.images == 0
        build()
        assert asked.images == 5
        build(logits=False)
        assert asked.images == 5


def change_weight(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    with torch.no_grad():
        teacher.decoder.mask_tokens.weight[0, 0] += 1
    return {}


def change_setting(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    teacher.input_scale = 1
    return {}


def change_pixel(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    views[3]["image"][1, 2, 3] += 1 / 255
    return {}


def change_order(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    views[1], views[2] = views[2], views[1]
    return {}


def change_layers(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    (folder / "teacher.encoder.layers.0.npy").rename(folder / "teacher.encoder.layers.1.npy")
    return {"pairs": {"encoder.neck": "encoder.norm", "encoder.layers.1": "encoder.blocks.0"}}


def change_precision(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    return {"amp": True, "amp_kwargs": {"dtype": torch.bfloat16}}


def change_orientations(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    return {"orientations": 8}


def flip_bit(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    content = bytearray((folder / "teacher_logits.npy").read_bytes())
    content[-1000] ^= 1
    (folder / "teacher_logits.npy").write_bytes(content)
    return {}


def swap_byte_order(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    content = (folder / "teacher_logits.npy").read_bytes()
    (folder / "teacher_logits.npy").write_bytes(content.replace(b"<f2", b">f2", 1))
    return {}


def truncate(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    content = (folder / "teacher.encoder.neck.npy").read_bytes()
    (folder / "teacher.encoder.neck.npy").write_bytes(content[:-1])
    return {}


def empty(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    (folder / "teacher_logits.npy").write_bytes(b"")
    return {}


def remove_array(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    (folder / "teacher_logits.npy").unlink()
    return {}


def remove_record(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    (folder / "cache.json").unlink()
    return {}


def damage_record(teacher: nn.Module, views: list[dict], folder: Path) -> dict:
    (folder / "cache.json").write_text("[]")
    return {}


class TestRefused:
    def test_the_same_cache_is_used_again_without_asking(self, build, teacher, caplog):
        first = build()
        stamps = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
        with counted(teacher) as asked, caplog.at_level(logging.INFO):
            second = build()
        assert asked.images == 0
        assert "has the answers to all 5 views" in caplog.text
        assert {path: path.stat().st_mtime_ns for path in second.folder.iterdir()} == stamps
        assert_same([dict(item) for item in first], [dict(item) for item in second])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (change_weight, "of another teacher"),
            (change_setting, "of another teacher"),
            (change_pixel, "of other images"),
            (change_order, "of other images"),
            (change_layers, "other layers"),
            (change_precision, "another precision"),
            (change_orientations, "other orientations of the images"),
            (flip_bit, "teacher_logits.npy is damaged"),
            (swap_byte_order, "teacher_logits.npy is damaged"),
            (truncate, "teacher.encoder.neck.npy is missing or damaged"),
            (empty, "teacher_logits.npy is missing or damaged"),
            (remove_array, "teacher_logits.npy is missing or damaged"),
            (remove_record, "cache.json is missing or damaged"),
            (damage_record, "cache.json is missing or damaged"),
        ],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_any_other_is_refused_with_the_reason_and_made_anew(self, change, reason, build, teacher, views, caplog):
        folder = build().folder
        changes = change(teacher, views, folder)
        with caplog.at_level(logging.WARNING):
            cache = build(**changes)
        (record,) = [record for record in caplog.records if record.name == "common.teacher_cache"]
        assert str(folder) in record.message
        assert reason in record.message
        assert record.levelno == logging.WARNING
        with counted(teacher) as asked:
            build(**changes)
        assert asked.images == 0, "made anew, it is good"
        if not changes:
            assert_true_to(teacher, cache)

    def test_the_first_one_is_no_reason_to_warn(self, build, caplog):
        with caplog.at_level(logging.WARNING):
            build()
        assert caplog.text == ""

    @pytest.mark.parametrize("name", ["image.npy", "notes.txt", "images"])
    def test_a_folder_of_something_else_is_left_alone(self, name, build, tmp_path):
        folder = tmp_path / "mine"
        (folder / name).mkdir(parents=True)
        with pytest.raises(InputError, match="mine exists and is no teacher cache; name another folder"):
            build(folder=folder)
        assert [path.name for path in folder.iterdir()] == [name]


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
from common.networks.vit import ViTSegmenter
from common.teacher_cache import TeacherCache

def kill(module, inputs):
    global batches
    batches += 1
    if batches == 3:
        os.kill(os.getpid(), signal.SIGKILL)

batches = 0
torch.manual_seed(0)
network = ViTSegmenter(hidden_size=24, depth=1, num_heads=2, conv_channels=(4, 4))
views = [{"image": torch.rand(3, 32, 32)} for _ in range(8)]
TeacherCache(views[:4], sys.argv[1], teacher=network, student=network, pairs={"encoder.norm": "encoder.norm"})
network.register_forward_pre_hook(kill)
batches = -1  # its grids are looked at first
TeacherCache(views, sys.argv[1], teacher=network, student=network, pairs={"encoder.norm": "encoder.norm"}, batch_size=2)
"""


class TestCutOff:
    def test_too_small_a_disk_is_known_before_anything_is_written(self, build, tmp_path, monkeypatch):
        needed = 5 * 2 * (2 * 32 * 32 + 2 * 32 * 2 * 2)
        usage = SimpleNamespace(free=needed - 1)
        monkeypatch.setattr(teacher_outputs.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(
            InputError, match=rf"2\.3e-05 GB are needed in {tmp_path / 'cache'}.*--teacher_cache '\$None'"
        ):
            build()
        assert list(tmp_path.iterdir()) == []
        usage.free = needed
        build()

    def test_a_disk_that_fills_up_leaves_nothing_behind(self, build, tmp_path):
        pixelwise = nn.Conv2d(3, 2, 1)
        many = [{"image": torch.full((3, 128, 128), index / 64)} for index in range(64)]  # 4 MB of logits
        arguments = {"teacher": nn.Sequential(pixelwise), "pairs": {"0": "encoder.norm"}, "views": many}
        with largest_file(3_000_000), pytest.raises(InputError, match=r"0\.00421 GB are needed .* there is less space"):
            build(**arguments)
        assert list(tmp_path.iterdir()) == []
        assert torch.is_grad_enabled()
        assert len(build(**arguments)) == 64

    def test_other_errors_of_the_disk_are_not_taken_for_a_full_one(self, build, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileExistsError):
            build(folder=tmp_path / "file" / "cache")

    def test_a_process_killed_while_asking_leaves_nothing_that_is_used(self, build, teacher, tmp_path):
        folder = tmp_path / "cache"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder)], env=environment(), cwd=Path(__file__).parents[2], check=False
        )
        assert done.returncode == -9
        assert not folder.exists()
        assert [path.name for path in tmp_path.iterdir()] == [".cache.partial"]
        assert_true_to(teacher, build())
        assert [path.name for path in tmp_path.iterdir()] == ["cache"]


# In training


AFFINE = RandAffined(
    ["image", "label"],
    prob=1,
    rotate_range=0.4,
    scale_range=(0.2, 0.2),
    translate_range=(4, 4),
    mode=["bilinear", "nearest"],
    padding_mode="reflection",
)


def augmentation(*transforms: Callable, padding_mode: str = "border") -> Compose:
    follow = FollowImaged(answer_keys(PAIRS), padding_mode=padding_mode, allow_missing_keys=True)
    return Compose([*transforms, follow, EnsureTyped(["image", "label"], track_meta=False)])


def make_trainer(
    teacher: nn.Module, student: nn.Module, data: Any, transform: Compose, **kwargs: Any
) -> DistillationTrainer:
    torch.manual_seed(1)
    transform.set_random_state(1)
    size = data[0]["image"].shape[-1]
    loss = DistillationLoss(
        FeatureAlignmentLoss.between(teacher, student, PAIRS, (3, size, size)),
        LogitDistillationLoss(),
        DiceCELoss(softmax=True, to_onehot_y=True, include_background=False),
    )
    return DistillationTrainer(
        teacher=teacher,
        network=student,
        loss_function=loss,
        optimizer=torch.optim.SGD([*student.parameters(), *loss.parameters()], lr=0.01),
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=DataLoader(Dataset(data, transform), batch_size=3),
        decollate=False,
        **kwargs,
    )


def record(trainer: DistillationTrainer) -> list[dict[str, float]]:
    history = []

    def note(engine: DistillationTrainer) -> None:
        history.append({name: float(value) for name, value in engine.state.output.items() if name.endswith("loss")})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    return history


class TestTraining:
    @pytest.mark.parametrize("orientations", [1, 8])
    def test_losses_are_those_of_the_live_teacher(self, orientations, build, teacher, student, views):
        histories = []
        for data in (build(orientations=orientations), views):
            network = copy.deepcopy(student)
            histories.append(record(make_trainer(teacher, network, data, augmentation(), orientations=orientations)))
        assert len(histories[0]) == 4
        for cached, live in zip(*histories, strict=True):
            assert cached == pytest.approx(live, rel=1e-3)
            assert len(set(live.values())) == 4

    def test_the_teacher_is_not_asked_and_stays_where_it_is(self, build, teacher, student, monkeypatch):
        cache = build()
        trainer = make_trainer(teacher, student, cache, augmentation())
        monkeypatch.setattr(teacher, "to", lambda *args, **kwargs: pytest.fail("the teacher was moved"))
        with counted(teacher) as asked:
            trainer.run()
        assert asked.images == 0

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_memory_format_changes_no_result(self, channels_last, build, teacher, student, views):
        expected = record(make_trainer(teacher, copy.deepcopy(student), views, augmentation()))
        order = torch.channels_last if channels_last else torch.preserve_format
        teacher, student = (network.to(memory_format=order) for network in (teacher, student))
        formats = []

        def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
            formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

        cache = build(memory_format=order)
        trainer = make_trainer(teacher, student, cache, augmentation(), to_kwargs={"memory_format": order})
        student.register_forward_pre_hook(note)
        found = record(trainer)
        assert formats == [channels_last] * 4
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-3)

    @pytest.mark.parametrize(("more", "tolerance"), [([], 1e-3), ([AFFINE], 2e-3)], ids=["flips and turns", "affine"])
    def test_answers_follow_the_image_as_if_the_teacher_had_seen_it_moved(self, more, tolerance, build, views):
        """This teacher is linear, pixel by pixel: to move its answers is to move what it is asked about."""
        pixelwise = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
        cache = build(teacher=pixelwise, pairs={"0": "encoder.norm"})
        keys = ["image", "label"]
        turns = RandFlipd(keys, prob=0.5, spatial_axis=0), RandRotate90d(keys, prob=0.8)
        moving = augmentation(*turns, *more, padding_mode="reflection")
        moved = 0
        for seed in range(6):
            moving.set_random_state(seed)
            for view, item in zip(views, Dataset(cache, moving), strict=True):
                live = pixelwise(item["image"][None])[0].half()
                moved += not torch.equal(item["image"], view["image"])
                assert_close(item["teacher_logits"].float(), live.float(), rtol=tolerance, atol=tolerance)
        assert moved > 10

    def test_augmentation_leaves_the_views_as_they_are(self, build, views):
        before = copy.deepcopy(views)
        flip = RandFlipd(["image", "label"], prob=1, spatial_axis=0)
        dataset = Dataset(build(), augmentation(flip, RandAdjustContrastd("image", prob=1, gamma=(2, 3))))
        for item in dataset:
            assert type(item["image"]) is type(item["label"]) is Tensor
        assert_same(before, views)


# Views


class TestViews:
    @pytest.fixture
    def dataset(self) -> CacheDataset:
        generator = torch.Generator().manual_seed(0)
        items = [
            {"image": torch.rand(1, 16, 16, generator=generator), "weight": torch.ones(1, 16, 16)} for _ in range(2)
        ]
        crop = Compose([RandWeightedCropd("image", w_key="weight", spatial_size=(4, 4))])
        return CacheDataset([*items, *items], crop, progress=False)

    def test_patches_are_drawn_once_by_the_seed(self, dataset):
        first, again, other = (draw_views(dataset, seed) for seed in (0, 0, 1))
        assert len(first) == 4
        assert_same([view["image"] for view in first], [view["image"] for view in again])
        assert not torch.equal(first[0]["image"], other[0]["image"])

    def test_an_image_that_comes_again_gives_another_patch(self, dataset):
        views = draw_views(dataset, 0)
        assert not torch.equal(views[0]["image"], views[2]["image"])

    def test_the_dataset_may_give_one_patch_or_a_list(self):
        images = [{"image": torch.rand(1, 8, 8)} for _ in range(3)]
        views = draw_views(Dataset(images, RandSpatialCropd("image", roi_size=(4, 4), random_size=False)), 0)
        assert [view["image"].shape for view in views] == [(1, 4, 4)] * 3


def test_the_record_says_whose_answers_these_are(build):
    record = json.loads((build().folder / "cache.json").read_text(encoding="utf-8"))
    assert record.keys() == {"teacher", "views", "precision", "orientations", "grids", "arrays"}
    assert record["grids"] == {"encoder.neck": [2, 2], "encoder.layers.0": [2, 2]}
    assert record["arrays"]["teacher_logits"]["shape"] == [5, 2, 32, 32]


# As a stage


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "DRIVE", num_training=4, num_test=1, image_size=IMAGE_SIZE)


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

    def test_a_second_run_reads_the_cache_and_ends_with_the_same_bits(self, dataset_dir, tmp_path):
        first, log = self.distil(dataset_dir, tmp_path / "run")
        assert "teacher_cache: there is none yet; asking about 8 views" in log
        second, log = self.distil(dataset_dir, tmp_path / "run")
        assert "teacher_cache: has the answers to all 8 views" in log
        assert_same(first, second)

    def test_without_augmentation_the_student_is_that_of_the_live_teacher(self, dataset_dir, tmp_path):
        still = {"train::augmentation::transforms": [], "optimizer::_target_": "torch.optim.SGD"}
        cached, _ = self.distil(dataset_dir, tmp_path / "cached", **still)
        live, log = self.distil(dataset_dir, tmp_path / "live", teacher_cache=None, **still)
        assert "teacher cache" not in log
        assert not (tmp_path / "live" / "teacher_cache").exists()
        assert cached.keys() == live.keys()
        for name in live:
            assert_close(cached[name], live[name], rtol=1e-3, atol=1e-4)

    def test_images_that_are_not_alike_are_refused_before_training(self, dataset_dir, tmp_path):
        write_teacher(tmp_path)
        write_transfer(tmp_path)
        Image.new("L", (48, 48)).save(tmp_path / "transfer" / "images" / "000002.png")
        with refused("2 faults", r"images/000002\.png: has 1 channel, expected 3", r"000002\.png: is 48 x 48"):
            run_stage("distill", dataset_dir=dataset_dir, output_dir=tmp_path)
        assert not (tmp_path / "teacher_cache").exists()

    def test_unlabelled_pictures_of_any_mode_are_taken(self, dataset_dir, tmp_path):
        (tmp_path / "more").mkdir()
        for mode in ("L", "RGBA"):
            Image.fromarray(lopsided_image(60, 50)).convert(mode).save(tmp_path / "more" / f"{mode}.png")
        values = {"unlabelled_dir": tmp_path / "more", "patches_per_image": 2, "epochs": 1}
        _, log = self.distil(dataset_dir, tmp_path / "run", **values)
        assert f"asking about {2 * (4 + 2 * 2)} views" in log, "as many patches with a label as without"
