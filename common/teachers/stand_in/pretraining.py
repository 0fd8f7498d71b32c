"""Pre-train the embedded teacher: a SAM in miniature, taught on procedural scenes.

``python -m common pretrain_teacher``, run twice, made the weights that ship with this package; the commands and the
figures are in ``common/embedded_teacher/README.md``. Two objectives share the encoder and the decoder:

- Segment Anything's own (Kirillov et al., 2023, arXiv 2304.02643, appendix A): segment the object that a point, a few
  points or a box asks for, with the best of three masks for one point, the single mask otherwise, and a squared error
  on the predicted IoU. Cross-entropy takes the place of its focal loss, under which a network that starts from nothing
  learns to answer with an empty mask and stays there.
- SegRCDB's (arXiv 2309.17083): which kind of object is each pixel part of? It is decoded without a prompt, as the
  fine-tuned teacher is. Prompts alone, at the scale of two CPU cores, teach where to answer but not what to look at: an
  encoder so trained carried less of an image than one with random weights.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamAttention

from common.datasets.phantoms.scenes import MAX_OBJECTS, SceneDataset
from common.errors import InputError
from common.teachers.sam import SamSegmenter
from common.teachers.sam_weights import load_sam


def miniature_config(image_size: int = 256) -> SamConfig:
    """Return the architecture of the embedded teacher: SAM's, with 3.6 million parameters instead of 94 million."""
    return SamConfig(
        vision_config={
            "hidden_size": 160,
            "num_hidden_layers": 8,
            "num_attention_heads": 5,
            "output_channels": 128,
            "num_pos_feats": 64,
            "image_size": image_size,
            "window_size": 8,
            "global_attn_indexes": [1, 4, 7],
            "initializer_range": 0.02,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": image_size},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 512, "iou_head_hidden_dim": 128},
    )


def sample_points(masks: Tensor, count: int) -> Tensor:
    """Draw ``count`` points inside each mask.

    Args:
        masks: ``(B, N, H, W)`` in {0, 1}, none of them empty.
        count: points to draw from each, with repetition.

    Returns:
        ``(B, N, count, 2)``: x and y in pixels.
    """
    width = masks.shape[-1]
    flat = torch.multinomial(masks.flatten(0, 1).flatten(1), count, replacement=True)
    return torch.stack([flat % width, flat // width], dim=-1).reshape(*masks.shape[:2], count, 2).float()


def bounding_boxes(masks: Tensor, jitter: float = 0.1) -> Tensor:
    """Return the boxes ``(B, N, 4)`` (x1, y1, x2, y2) around masks ``(B, N, H, W)``, corners moved at random.

    Args:
        masks: in {0, 1}, none of them empty.
        jitter: standard deviation of the movement, as a share of the box's side, cut off at 20 pixels as in SAM.
    """
    sides = []
    for axis in (-2, -1):  # columns occupied, then rows
        occupied = masks.amax(axis) > 0
        first = occupied.float().argmax(-1)
        last = occupied.shape[-1] - 1 - occupied.flip(-1).float().argmax(-1)
        sides.append((first, last))
    (left, right), (top, bottom) = sides
    boxes = torch.stack([left, top, right, bottom], dim=-1).float()
    extent = torch.stack([right - left, bottom - top] * 2, dim=-1)
    return boxes + (torch.randn_like(boxes) * jitter * extent).clamp(-20, 20)


def mask_losses(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy + Dice loss of each mask.

    Args:
        logits: ``(B, N, M, H, W)``, M candidates for each mask.
        masks: ``(B, N, H, W)`` in [0, 1].

    Returns:
        ``(B, N, M)``.
    """
    target = masks.unsqueeze(2).expand_as(logits)
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((-2, -1))
    overlap = (probability * target).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)
    return entropy + dice


def normalise(images: Tensor) -> Tensor:
    """Return images ``(B, 3, H, W)`` in [0, 1] as SAM's encoder wants them."""
    mean = images.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = images.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (images - mean) / std


def prompted_loss(model: SamModel, embeddings: Tensor, masks: Tensor, prompt: str) -> tuple[Tensor, Tensor]:
    """Return the loss and the mean IoU of the model's answers to one kind of prompt.

    Args:
        model: SAM.
        embeddings: of its encoder, ``(B, C, h, w)``.
        masks: ``(B, N, H, W)`` in {0, 1}, one prompt each; empty ones do not count.
        prompt: ``point``, ``points`` (three inside, two outside) or ``box``.
    """
    counted = masks.flatten(2).any(2)
    asked = torch.where(counted[..., None, None], masks, torch.ones_like(masks))
    if prompt == "box":
        inputs = {"input_boxes": bounding_boxes(asked)}
    else:
        points = sample_points(asked, 1 if prompt == "point" else 3)
        labels = torch.ones(points.shape[:3], dtype=torch.long, device=masks.device)
        if prompt == "points":
            outside = sample_points(1 - asked + 1e-6, 2)
            points = torch.cat([points, outside], dim=2)
            labels = torch.cat([labels, torch.zeros_like(labels[..., :2])], dim=2)
        inputs = {"input_points": points, "input_labels": labels}
    output = model(image_embeddings=embeddings, multimask_output=prompt == "point", **inputs)
    target = F.interpolate(masks, size=output.pred_masks.shape[-2:], mode="area")
    losses = mask_losses(output.pred_masks, target)
    chosen = losses.argmin(dim=2, keepdim=True)
    with torch.no_grad():
        predicted, truth = output.pred_masks > 0, target.unsqueeze(2) > 0.5
        union = (predicted | truth).sum((-2, -1)).clamp(min=1)
        iou = (predicted & truth).sum((-2, -1)) / union
    errors = losses.gather(2, chosen).squeeze(2) + (output.iou_scores - iou).square().mean(2)
    share = counted / counted.sum().clamp(min=1)
    return (errors * share).sum(), (iou.gather(2, chosen).squeeze(2) * share).sum()


def semantic_loss(segmenter: SamSegmenter, embeddings: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropy + Dice loss of each pixel's kind, decoded without a prompt, and the accuracy.

    Args:
        segmenter: the same SAM, its mask tokens taken for the kinds of object.
        embeddings: of the encoder, ``(B, C, h, w)``.
        kinds: ``(B, H, W)``, indices into ``KINDS``.
    """
    logits = segmenter.decode(embeddings)
    target = F.one_hot(kinds.long(), logits.shape[1]).permute(0, 3, 1, 2).float()
    target = F.interpolate(target, size=logits.shape[-2:], mode="area")
    probability = logits.softmax(1)
    overlap = (probability * target).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
    accuracy = (logits.argmax(1) == target.argmax(1)).float().mean()
    return F.cross_entropy(logits, target) + dice[1:].mean(), accuracy


# Sides of the scenes as shares of what the network sees, and how many scenes have them. All are enlarged to one size,
# as the bundles enlarge images: SAM decodes at a quarter of its input, so thin structures must be shown larger.
_VIEWS = {1 / 4: 0.5, 1 / 2: 0.3, 1: 0.2}


def pretrain_teacher(
    output_dir: str,
    initial_dir: str | None = None,
    steps: int = 1400,
    scenes: int = 8000,
    view_size: int = 256,
    batch_size: int = 8,
    prompts: int = 3,
    learning_rate: float = 1e-3,
    seed: int = 0,
    num_workers: int = 2,
) -> None:
    """Pre-train the embedded teacher and write it as a Hugging Face folder with half-precision safetensors.

    Args:
        output_dir: folder to write ``config.json``, ``model.safetensors`` and ``training.json`` to.
        initial_dir: such a folder to go on from, on other scenes with another ``seed``; None starts from nothing.
        steps: optimiser steps; 0 writes the weights that training would start from.
        scenes: scenes to draw, at a quarter, half or all of ``view_size``; each is seen several times, turned,
            mirrored and recoloured.
        view_size: height and width in pixels that scenes are enlarged to, a multiple of 64.
        batch_size: scenes in a step, at least two. In half of them, objects are asked for by prompts.
        prompts: objects asked for in each of those.
        learning_rate: AdamW's peak, reached after 5 % of the steps and followed by a cosine.
        seed: of scenes, prompts and initial weights.
        num_workers: processes that draw scenes.

    Raises:
        InputError: if there is no such folder in ``initial_dir``.
    """
    torch.manual_seed(seed)
    started, history, recent = time.time(), [], []
    settings = {
        "steps": steps, "scenes": scenes, "view_size": view_size, "batch_size": batch_size, "prompts": prompts,
        "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip
    model, earlier = _go_on_from(Path(initial_dir)) if initial_dir else (None, None)
    pools = [
        _draw_pool(max(1, round(share * scenes)), round(part * view_size), seed, num_workers)
        for part, share in _VIEWS.items()
    ]
    model = model or _new_model(pools, view_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    segmenter = SamSegmenter.sharing(model)
    optimizer, scheduler = _make_optimizer(model, learning_rate, steps)
    progress = tqdm(range(1, steps + 1), desc="pre-training", mininterval=10)
    for step in progress:
        pool = pools[int(torch.multinomial(torch.tensor(list(_VIEWS.values())), 1))]
        batch = _augmented_batch(pool, batch_size, prompts, view_size)
        images, masks, kinds = (part.to(device) for part in batch)
        embeddings = model.vision_encoder(normalise(images)).last_hidden_state
        semantic, accuracy = semantic_loss(segmenter, embeddings, kinds)
        asked, prompt = batch_size // 2, ("box", "point", "points")[step % 3]
        prompted, iou = prompted_loss(model, embeddings[:asked], masks[:asked], prompt)
        optimizer.zero_grad()
        (semantic + prompted).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        recent.append([value.item() for value in (semantic, accuracy, prompted, iou)])
        if step % 100 == 0 or step == steps:
            names = ("semantic_loss", "pixel_accuracy", "prompted_loss", "prompted_iou")
            means = torch.tensor(recent).mean(0).tolist()
            history.append({"step": step, **{n: round(v, 4) for n, v in zip(names, means, strict=True)}})
            progress.write(str(history[-1]))
            recent = []
    minutes = round((time.time() - started) / 60, 1)
    _write(model, Path(output_dir), {**settings, "minutes": minutes, "history": history, "earlier": earlier})


def _new_model(pools: list[list[Tensor]], view_size: int) -> SamModel:
    model = SamModel(miniature_config(view_size))
    _initialise(model)
    samples = torch.cat([_enlarge(pool[0][:70], view_size) for pool in pools])
    whiten_patches(model.vision_encoder.patch_embed.projection, normalise(samples / 255))
    return model


def _make_optimizer(
    model: SamModel, learning_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=learning_rate
    )
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=max(steps, 1), pct_start=0.05, cycle_momentum=False, final_div_factor=100
    )


def _go_on_from(folder: Path) -> tuple[SamModel, dict]:
    """Return the model in a folder that :func:`pretrain_teacher` wrote, and how it was made."""
    if not (folder / "training.json").is_file():
        raise InputError(f"initial_dir: there is no training.json in {folder}; expected what pretrain_teacher wrote")
    model = load_sam(folder)
    model.vision_encoder.patch_embed.projection.requires_grad_(False)
    return model, json.loads((folder / "training.json").read_text(encoding="utf-8"))


def _draw_pool(scenes: int, size: int, seed: int, num_workers: int) -> list[Tensor]:
    loader = DataLoader(SceneDataset(scenes, size, seed), batch_size=50, num_workers=num_workers)
    title = f"drawing scenes of {size} x {size}"
    return [torch.cat(parts) for parts in zip(*tqdm(loader, desc=title, mininterval=10), strict=True)]


def _enlarge(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)


def _augmented_batch(
    pool: list[Tensor], batch_size: int, prompts: int, view_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images ``(B, 3, H, W)``, masks ``(B, N, H, W)`` of objects asked for, and kinds ``(B, H, W)``."""
    chosen = torch.randint(len(pool[0]), (batch_size,))
    images, instances, kinds = (part[chosen] for part in pool)
    images = _enlarge(images, view_size) / 255
    instances = F.interpolate(instances[:, None], size=(view_size, view_size), mode="nearest")[:, 0]
    turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    images, instances = torch.rot90(images, turns, (2, 3)), torch.rot90(instances, turns, (1, 2))
    if mirrored:
        images, instances = images.flip(3), instances.flip(2)
    images = images[:, torch.randperm(3)]
    contrast, brightness = torch.rand(batch_size, 1, 1, 1) * 0.8 + 0.6, torch.rand(batch_size, 3, 1, 1) * 0.3 - 0.15
    means = images.mean((2, 3), keepdim=True)
    images = ((images - means) * contrast + means + brightness).clamp(0, 1)
    semantic = kinds.gather(1, instances.flatten(1).long()).view_as(instances)
    numbers = torch.stack([1 + torch.randperm(MAX_OBJECTS)[:prompts] for _ in range(batch_size)])
    masks = (instances[:, None] == numbers[:, :, None, None]).float()
    return images, masks, semantic


def _initialise(model: SamModel) -> None:
    """Start from weights that learn: those that transformers gives a new SAM are meant to be overwritten.

    Prompts and pixels carry the same position code. Where the decoder's cross-attention starts with equal projections
    of queries and keys, a prompt looks at its own place from the first step; with SAM's unequal ones, hundreds of
    steps pass in which the best answer is an empty mask.
    """
    for part in (model.prompt_encoder, model.mask_decoder, model.vision_encoder.neck):
        for module in part.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    nn.init.normal_(model.shared_image_embedding.positional_embedding)
    nn.init.trunc_normal_(model.vision_encoder.pos_embed, std=0.02)
    for name, module in model.mask_decoder.named_modules():
        if isinstance(module, SamAttention) and "self_attn" not in name:
            module.q_proj.weight.data.mul_(3)
            module.k_proj.weight.data.copy_(module.q_proj.weight)
            module.q_proj.bias.data.zero_()
            module.k_proj.bias.data.zero_()


def whiten_patches(projection: nn.Conv2d, pixels: Tensor) -> None:
    """Make a patch embedding the discrete cosine transform of brightness and two colours, each coefficient whitened.

    It stays so: a learned embedding soon follows the mean colour of patches, which outweighs all that is in them, and
    a frozen one has been seen to train ViTs more steadily (Chen et al., 2021, arXiv 2104.02057).

    Args:
        projection: changed in place.
        pixels: normalised images ``(B, 3, H, W)`` whose coefficients get mean zero and a variance near one.
    """
    width, patch = projection.out_channels, projection.kernel_size[0]
    places = np.pi * (np.arange(patch) + 0.5) / patch
    waves = np.cos(places * np.arange(patch)[:, None])
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    frequencies = sorted(np.ndindex(patch, patch), key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    counts = (width - 2 * (width // 4), width // 4, width // 4)
    basis = [
        colour[:, None, None] * np.outer(waves[row], waves[column])
        for colour, count in zip(colours, counts, strict=True)
        for row, column in frequencies[:count]
    ]
    with torch.no_grad():
        projection.weight.copy_(torch.as_tensor(np.stack(basis)))
        projection.bias.zero_()
        coefficients = projection(pixels).transpose(0, 1).flatten(1)
        scale = (coefficients.var(1) + 0.05**2).rsqrt()
        projection.weight.mul_(scale[:, None, None, None])
        projection.bias.copy_(-coefficients.mean(1) * scale)
    projection.requires_grad_(False)


def _write(model: SamModel, folder: Path, training: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as fresh:  # each file is replaced whole; what else is in the folder stays
        model.half().save_pretrained(fresh)
        Path(fresh, "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")
        for file in Path(fresh).iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)
