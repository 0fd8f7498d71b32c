"""Pre-train the stand-in teacher: a small SAM, taught on procedural scenes.

``python -m common pretrain_teacher``, run twice, made the weights that ship with this package; the commands and the
figures are in the README beside this file. Two objectives share the encoder and the decoder:

- Segment Anything's own (Kirillov et al., 2023, arXiv 2304.02643, appendix A): segment the object that a point, a few
  points or a box mark, with the best of three masks for one point, the single mask otherwise, and a squared error
  on the predicted IoU. Cross-entropy takes the place of its focal loss, under which a network that starts from nothing
  learns to predict an empty mask and stays there.
- SegRCDB's (arXiv 2309.17083): which kind of object is each pixel part of? It is decoded without a prompt, as the
  fine-tuned teacher is. Prompts alone, at the scale of two CPU cores, teach where to segment but not what to look at:
  an encoder so trained carried less of an image than one with random weights.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import SamModel

from common.errors import InputError
from common.teachers.normalisation import NORMALISATIONS, PixelNormalisation
from common.teachers.sam_decoder import SamDecoder
from common.teachers.sam_weights import load_sam
from common.teachers.stand_in.initialisation import initialise, stand_in_config, whiten_patches
from common.teachers.stand_in.losses import prompted_loss, semantic_loss
from common.teachers.stand_in.scene_batches import ScenePool, draw_pools, enlarge, random_batch

_FIGURES = ("semantic_loss", "pixel_accuracy", "prompted_loss", "prompted_iou")


def pretrain_teacher(
    output_dir: str,
    initial_dir: str | None = None,
    steps: int = 1400,
    scenes: int = 8000,
    image_size: int = 256,
    batch_size: int = 8,
    prompts: int = 3,
    learning_rate: float = 1e-3,
    seed: int = 0,
    num_workers: int = 2,
) -> None:
    """Pre-train the stand-in teacher and write it as a Hugging Face folder with half-precision safetensors.

    Args:
        output_dir: folder to write ``config.json``, ``model.safetensors`` and ``training.json`` to.
        initial_dir: such a folder to go on from, on other scenes with another ``seed``; None starts from nothing.
        steps: optimiser steps; 0 writes the weights that training would start from.
        scenes: scenes to draw, at a quarter, half or all of ``image_size``; each is seen several times, turned,
            mirrored and recoloured.
        image_size: height and width in pixels that scenes are enlarged to; must be divisible by 64.
        batch_size: scenes in a step, at least two. Half of them get prompts.
        prompts: objects to prompt for in each of those.
        learning_rate: AdamW's peak, reached after 5 % of the steps and followed by a cosine.
        seed: of scenes, prompts and initial weights.
        num_workers: processes that draw scenes.

    Raises:
        InputError: if there is no such folder in ``initial_dir``.
    """
    torch.manual_seed(seed)
    started, history, recent = time.time(), [], []
    settings = {
        "steps": steps, "scenes": scenes, "image_size": image_size, "batch_size": batch_size, "prompts": prompts,
        "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip
    model, earlier = _go_on_from(Path(initial_dir)) if initial_dir else (None, None)
    pools = draw_pools(scenes, image_size, seed, num_workers)
    normalise = PixelNormalisation(**NORMALISATIONS["imagenet"])
    model = model or _new_model(pools, image_size, normalise)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    normalise.to(device)
    optimizer, scheduler = _make_optimizer(model, learning_rate, steps)
    progress = tqdm(range(1, steps + 1), desc="pre-training", mininterval=10)
    for step in progress:
        batch = [part.to(device) for part in random_batch(pools, batch_size, prompts, image_size)]
        losses, figures = _losses(model, normalise, batch, prompt=("box", "point", "points")[step % 3])
        optimizer.zero_grad()
        losses.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        recent.append([value.item() for value in figures])
        if step % 100 == 0 or step == steps:
            means = torch.tensor(recent).mean(0).tolist()
            history.append({"step": step, **{n: round(v, 4) for n, v in zip(_FIGURES, means, strict=True)}})
            progress.write(str(history[-1]))
            recent = []
    minutes = round((time.time() - started) / 60, 1)
    _write(model, Path(output_dir), {**settings, "minutes": minutes, "history": history, "earlier": earlier})


def _losses(
    model: SamModel, normalise: PixelNormalisation, batch: list[Tensor], prompt: str
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the loss of a batch, half of whose scenes get prompts, and the ``_FIGURES``."""
    images, masks, kinds = batch
    embeddings = model.vision_encoder(normalise(images)).last_hidden_state
    decoder = SamDecoder(model.mask_decoder, model.prompt_encoder.no_mask_embed)
    semantic, accuracy = semantic_loss(decoder(embeddings, model.get_image_wide_positional_embeddings()), kinds)
    half = len(images) // 2
    prompted, iou = prompted_loss(model, embeddings[:half], masks[:half], prompt)
    return semantic + prompted, (semantic, accuracy, prompted, iou)


def _new_model(pools: list[ScenePool], image_size: int, normalise: PixelNormalisation) -> SamModel:
    model = SamModel(stand_in_config(image_size))
    initialise(model)
    samples = torch.cat([enlarge(pool[0][:70], image_size) for pool in pools])
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


def _write(model: SamModel, folder: Path, training: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as fresh:  # each file is replaced by itself; what else is in the folder stays
        model.half().save_pretrained(fresh)
        Path(fresh, "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")
        for file in Path(fresh).iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)
