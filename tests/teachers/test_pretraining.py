"""Pre-training the embedded teacher: prompts that ask for the right thing, losses by the book, weights that load."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.ndimage import find_objects
from scipy.special import expit, log_expit, softmax
from torch.testing import assert_close
from transformers import SamModel

from common.datasets.phantoms.scenes import MAX_OBJECTS
from common.errors import InputError
from common.teachers.sam import SamSegmenter
from common.teachers.stand_in.pretraining import (
    _augmented_batch,
    bounding_boxes,
    mask_losses,
    miniature_config,
    pretrain_teacher,
    prompted_loss,
    sample_points,
    semantic_loss,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def masks() -> torch.Tensor:
    """Rectangles of different sizes at different places, on a canvas that is not square."""
    masks = torch.zeros(2, 3, 40, 56)
    for index, (top, left, height, width) in enumerate(
        [(0, 0, 4, 9), (5, 20, 30, 8), (36, 50, 4, 6), (10, 3, 1, 40), (2, 2, 37, 1), (12, 30, 12, 12)]
    ):
        masks.view(6, 40, 56)[index, top : top + height, left : left + width] = 1
    return masks


# Prompts


def test_boxes_are_the_extent_of_their_masks(masks):
    boxes = bounding_boxes(masks, jitter=0).view(6, 4).numpy()
    for box, mask in zip(boxes, masks.view(6, 40, 56).numpy(), strict=True):
        rows, columns = find_objects(mask.astype(int))[0]
        assert box.tolist() == [columns.start, rows.start, columns.stop - 1, rows.stop - 1]


def test_boxes_move_in_proportion_to_their_sides_and_never_far(masks):
    exact = bounding_boxes(masks, jitter=0)
    moves = torch.stack([bounding_boxes(masks) - exact for _ in range(400)])
    sides = (exact[..., 2:] - exact[..., :2]).repeat(1, 1, 2)
    long = sides > 5
    assert_close((moves.std(0) / sides)[long], torch.full((int(long.sum()),), 0.1), rtol=0.15, atol=0)
    wild = torch.stack([bounding_boxes(masks, jitter=5) - exact for _ in range(50)])
    assert wild.abs().max() == 20


def test_points_lie_inside_their_masks_and_reach_all_of_them(masks):
    points = sample_points(masks, 300)
    assert points.shape == (2, 3, 300, 2)
    x, y = points.long().unbind(-1)
    image, mask = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    assert (masks[image[..., None], mask[..., None], y, x] == 1).all()
    reached = {tuple(point) for point in points[0, 0].tolist()}
    assert len(reached) > 30  # of 36 pixels


class Recorder:
    """Stands in for SAM: keeps what it was asked and answers with given logits."""

    def __init__(self, logits: torch.Tensor, scores: torch.Tensor) -> None:
        self.logits, self.scores = logits, scores

    def __call__(self, **asked) -> SimpleNamespace:
        self.asked = asked
        return SimpleNamespace(pred_masks=self.logits, iou_scores=self.scores)


@pytest.mark.parametrize(("prompt", "labels"), [("point", [1]), ("points", [1, 1, 1, 0, 0])])
def test_points_ask_for_what_is_inside_and_against_what_is_outside(masks, prompt, labels):
    model = Recorder(torch.zeros(2, 3, 3, 10, 14), torch.zeros(2, 3, 3))
    prompted_loss(model, torch.zeros(2, 8, 4, 4), masks, prompt)
    assert model.asked["input_labels"].tolist() == [[labels] * 3] * 2
    points = model.asked["input_points"].long()
    for image in range(2):
        for index in range(3):
            x, y = points[image, index].unbind(-1)
            assert masks[image, index, y, x].tolist() == labels


@pytest.mark.parametrize(("prompt", "several"), [("point", True), ("points", False), ("box", False)])
def test_one_point_alone_is_ambiguous(masks, prompt, several):
    model = Recorder(torch.zeros(2, 3, 3, 10, 14), torch.zeros(2, 3, 3))
    prompted_loss(model, torch.zeros(2, 8, 4, 4), masks, prompt)
    assert model.asked["multimask_output"] is several
    assert ("input_boxes" in model.asked) == (prompt == "box")


# Losses


def reference_losses(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cross-entropy + Dice of masks ``(..., H, W)``."""
    entropy = -(target * log_expit(logits) + (1 - target) * log_expit(-logits)).mean((-2, -1))
    probability = expit(logits)
    overlap, total = (probability * target).sum((-2, -1)), (probability + target).sum((-2, -1))
    return entropy + 1 - (2 * overlap + 1) / (total + 1)


def test_mask_losses_are_cross_entropy_and_dice():
    logits, masks = 3 * torch.randn(2, 3, 4, 6, 7), torch.rand(2, 3, 6, 7)
    expected = reference_losses(logits.double().numpy(), masks.double().numpy()[:, :, None])
    assert_close(mask_losses(logits, masks), torch.from_numpy(expected).float())


def test_best_of_several_answers_counts_and_every_score_is_to_be_the_iou():
    logits, masks = 3 * torch.randn(2, 3, 3, 8, 8), (torch.rand(2, 3, 8, 8) > 0.6).float()
    scores = torch.rand(2, 3, 3)
    loss, mean_iou = prompted_loss(Recorder(logits, scores), torch.zeros(2, 8, 2, 2), masks, "point")
    losses = reference_losses(logits.double().numpy(), masks.double().numpy()[:, :, None])
    predicted, truth = logits.numpy() > 0, masks.numpy()[:, :, None] > 0
    iou = (predicted & truth).sum((-2, -1)) / (predicted | truth).sum((-2, -1))
    assert loss.item() == pytest.approx(losses.min(-1).mean() + ((scores.numpy() - iou) ** 2).mean(), rel=1e-5)
    chosen = np.take_along_axis(iou, losses.argmin(-1)[..., None], axis=-1)
    assert mean_iou.item() == pytest.approx(chosen.mean(), rel=1e-5)


def test_objects_that_are_not_there_do_not_count():
    logits, masks = torch.randn(1, 2, 1, 8, 8), (torch.rand(1, 2, 8, 8) > 0.5).float()
    masks[0, 1] = 0
    scores = torch.rand(1, 2, 1)
    both, _ = prompted_loss(Recorder(logits, scores), torch.zeros(1, 8, 2, 2), masks, "box")
    alone, _ = prompted_loss(Recorder(logits[:, :1], scores[:, :1]), torch.zeros(1, 8, 2, 2), masks[:, :1], "box")
    assert_close(both, alone)


def test_scenes_without_any_object_that_was_asked_for_do_not_spoil_a_step():
    logits = torch.randn(1, 2, 1, 8, 8, requires_grad=True)
    loss, iou = prompted_loss(
        Recorder(logits, torch.rand(1, 2, 1)), torch.zeros(1, 8, 2, 2), torch.zeros(1, 2, 8, 8), "box"
    )
    loss.backward()
    assert loss.item() == iou.item() == 0
    assert not logits.grad.any()


def test_semantic_loss_is_cross_entropy_and_the_dice_of_the_structures():
    logits, kinds = 2 * torch.randn(2, 4, 6, 6), torch.randint(4, (2, 6, 6), dtype=torch.uint8)
    loss, accuracy = semantic_loss(SimpleNamespace(decode=lambda embeddings: embeddings), logits, kinds)
    probability, target = softmax(logits.double().numpy(), axis=1), np.eye(4)[kinds.numpy()].transpose(0, 3, 1, 2)
    entropy = -(target * np.log(probability)).sum(1).mean()
    overlap, total = (probability * target).sum((0, 2, 3)), (probability + target).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    assert loss.item() == pytest.approx(entropy + dice[1:].mean(), rel=1e-5)
    assert accuracy.item() == pytest.approx((logits.numpy().argmax(1) == kinds.numpy()).mean())


# Scenes


def test_image_masks_and_kinds_are_turned_and_mirrored_together():
    instances = torch.zeros(1, 16, 16, dtype=torch.uint8)
    instances[0, 2:5, 3:12], instances[0, 9:14, 1:4] = 1, 2
    images = (80 + 40 * instances[:, None].float()).expand(-1, 3, -1, -1).to(torch.uint8)
    pool = [images, instances, torch.tensor([[0, 3, 1, 0, 0]], dtype=torch.uint8)]
    turned = set()
    for _ in range(60):
        batch, masks, kinds = _augmented_batch(pool, batch_size=2, prompts=MAX_OBJECTS, view_size=16)
        turned.add(tuple(kinds[0].flatten().tolist()))
        for image, objects, kind in zip(batch, masks, kinds, strict=True):
            for structure in (0, 1, 3):
                assert image[:, kind == structure].std(1).max() < 1e-5, "the picture does not fit its labels"
            present = sorted(int(mask.sum()) for mask in objects)
            assert present == [0, 0, 15, 27]
            for mask in objects:
                assert set(kind[mask > 0].tolist()) in ({1}, {3}, set())
        assert batch.min() >= 0
        assert batch.max() <= 1
    assert len(turned) == 8  # four turns, mirrored or not


def test_scenes_are_enlarged_to_the_view_with_their_masks():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    instances = torch.zeros(1, 8, 8, dtype=torch.uint8)
    images[0, :, 2:4, 1:7], instances[0, 2:4, 1:7] = 200, 1
    pool = [images, instances, torch.tensor([[0, 2, 0, 0, 0]], dtype=torch.uint8)]
    batch, masks, kinds = _augmented_batch(pool, batch_size=2, prompts=MAX_OBJECTS, view_size=32)
    assert batch.shape == (2, 3, 32, 32)
    assert kinds.shape == (2, 32, 32)
    for image, objects, kind in zip(batch, masks, kinds, strict=True):
        inside = objects.amax(0) > 0
        assert inside.sum() == 12 * 16
        assert torch.equal(inside, kind == 2)
        assert image[:, inside].mean() > image[:, ~inside].mean() + 0.2


# The whole run


def test_miniature_is_a_sam_of_3_to_4_million_parameters():
    with torch.device("meta"):
        model = SamModel(miniature_config())
    assert 3e6 < sum(p.numel() for p in model.parameters()) < 4e6


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    pretrain_teacher(
        str(folder), steps=2, scenes=6, view_size=64, batch_size=3, prompts=4, learning_rate=1e-3, num_workers=0
    )
    return folder


def test_run_writes_a_folder_that_sam_loads(pretrained):
    model, report = SamModel.from_pretrained(pretrained, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    stored = load_file(pretrained / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    images = torch.rand(1, 3, 64, 96)
    assert SamSegmenter(pretrained, num_classes=3).eval()(images).shape == (1, 3, 64, 96)


def test_run_keeps_its_settings_and_figures(pretrained):
    training = json.loads((pretrained / "training.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (training["steps"], training["scenes"], training["view_size"], training["seed"]) == (2, 6, 64, 0)
    (last,) = training["history"]
    assert last["step"] == 2
    assert 0 <= last["pixel_accuracy"] <= 1
    assert last["semantic_loss"] > 0


def test_a_second_run_goes_on_from_the_first_and_keeps_its_figures(pretrained, tmp_path):
    first = load_file(pretrained / "model.safetensors")
    patches = "vision_encoder.patch_embed.projection.weight"
    pretrain_teacher(
        str(tmp_path), str(pretrained), steps=1, scenes=6, view_size=64, batch_size=2, learning_rate=1e-9, seed=1,
        num_workers=0,
    )  # fmt: skip
    second = load_file(tmp_path / "model.safetensors")
    assert torch.equal(first[patches], second[patches])
    for name, value in first.items():
        assert_close(second[name], value, rtol=0, atol=1e-4)
    training = json.loads((tmp_path / "training.json").read_text())
    assert training["earlier"] == json.loads((pretrained / "training.json").read_text())
    assert (training["steps"], training["seed"]) == (1, 1)


def test_no_steps_write_the_weights_that_training_would_start_from(tmp_path):
    pretrain_teacher(str(tmp_path), steps=0, scenes=6, view_size=64, num_workers=0)
    stored = load_file(tmp_path / "model.safetensors")
    assert not stored["vision_encoder.layers.0.attn.rel_pos_h"].any()  # zero until trained
    assert stored["vision_encoder.patch_embed.projection.weight"].float().std() > 0.01
    assert json.loads((tmp_path / "training.json").read_text())["history"] == []


def test_going_on_from_a_folder_that_holds_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"initial_dir: there is no training\.json in .*empty"):
        pretrain_teacher(str(tmp_path / "out"), str(tmp_path / "empty"), steps=1)
    assert not (tmp_path / "out").exists()


def test_shared_segmenter_decodes_as_the_sam_it_shares_with(make_sam):
    sam = make_sam()
    segmenter = SamSegmenter.sharing(sam)
    assert segmenter.num_classes == sam.mask_decoder.num_mask_tokens
    assert segmenter.encoder is sam.vision_encoder
    before = {id(parameter) for parameter in sam.parameters()}
    assert {id(parameter) for parameter in segmenter.parameters()} <= before
    logits = segmenter.decode(torch.randn(1, 32, 4, 4))
    F.cross_entropy(logits, torch.zeros(1, 16, 16, dtype=torch.long)).backward()
    assert sam.mask_decoder.mask_tokens.weight.grad.any()
