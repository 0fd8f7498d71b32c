"""A fine-tuned teacher on disk: its adapter and decoder, apart from the base they fit."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from common.errors import InputError
from common.files.atomic import is_writer, replace_folder
from common.files.fingerprints import unwrap
from common.files.provenance import note_origin, origin_of
from common.teachers.lora import merge_lora
from common.teachers.sam import SamSegmenter


def save_teacher(teacher: nn.Module, folder: str | os.PathLike, pretrained: str | os.PathLike) -> None:
    """Write the adapter and the decoder, as safetensors, with JSON that says which base they fit.

    Args:
        teacher: a :class:`SamSegmenter` that went through :func:`add_lora`.
        folder: replaced as a whole, or made.
        pretrained: what the base was loaded from.
    """
    if not is_writer():
        return
    teacher = unwrap(teacher)
    description = {
        "pretrained": str(pretrained),
        "num_classes": teacher.num_classes,
        "input_scale": teacher.input_scale,
        "base": _describe_base(teacher),
    }
    decoder = {name: value.contiguous().cpu() for name, value in _decoder_state(teacher).items()}
    adapter = {k: v.contiguous().cpu() for k, v in get_peft_model_state_dict(teacher.encoder).items()}
    with replace_folder(folder) as fresh:
        save_file(adapter, fresh / "adapter_model.safetensors")
        save_file(decoder, fresh / "decoder.safetensors")
        teacher.encoder.lora_config.save_pretrained(fresh)
        (fresh / "teacher.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_teacher(folder: str | os.PathLike, pretrained: str | os.PathLike | None = None) -> SamSegmenter:
    """Load a fine-tuned teacher, merged, frozen and in eval mode.

    Args:
        folder: what :func:`save_teacher` wrote.
        pretrained: where the base is now; by default where it was when the teacher was saved.

    Raises:
        InputError: if there is no teacher in the folder, a file of it is damaged, or it does not fit the base.
    """
    folder = Path(folder)
    if not (folder / "teacher.json").is_file():
        raise InputError(f"there is no fine-tuned teacher in {folder} (no teacher.json): run finetune_teacher first")
    try:
        description = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
        expected, num_classes = description["base"], description["num_classes"]
        pretrained, input_scale = pretrained or description["pretrained"], description["input_scale"]
    except (ValueError, KeyError) as error:
        raise InputError(f"{folder / 'teacher.json'} is damaged ({error}): run finetune_teacher again") from error
    teacher = SamSegmenter(pretrained, num_classes, input_scale)
    found = _describe_base(teacher)
    if expected != found:
        raise InputError(
            f"the adapter in {folder} does not fit the base '{pretrained}': it was trained on a SAM of width "
            f"{expected['width']}, depth {expected['depth']} and fingerprint {expected['fingerprint'][:12]}, this one "
            f"has width {found['width']}, depth {found['depth']} and fingerprint {found['fingerprint'][:12]}. "
            "Give the base it was trained on as 'pretrained', or run finetune_teacher again"
        )
    try:
        inject_adapter_in_model(LoraConfig.from_pretrained(folder), teacher.encoder)
        adapter = set_peft_model_state_dict(teacher.encoder, load_file(folder / "adapter_model.safetensors"))
        missing, unexpected = teacher.load_state_dict(load_file(folder / "decoder.safetensors"), strict=False)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"the teacher in {folder} is damaged ({error}): run finetune_teacher again") from error
    absent = [name for name in missing if name in _decoder_state(teacher)]
    absent += [name for name in adapter.missing_keys if ".lora_" in name]
    if absent or unexpected:
        raise InputError(f"the teacher in {folder} is damaged: {absent or unexpected} do not match its architecture")
    note_origin(teacher, {**origin_of(teacher), "fine_tuned": True})
    return merge_lora(teacher).eval().requires_grad_(False)


def _decoder_state(teacher: SamSegmenter) -> dict:
    return {name: value for name, value in teacher.state_dict().items() if not name.startswith("encoder.")}


def _describe_base(teacher: SamSegmenter) -> dict:
    """Describe the encoder as it was before any adapter, down to a hash of its weights."""
    digest = hashlib.sha256()
    for name, value in sorted(teacher.encoder.state_dict().items()):
        if ".lora_" not in name:
            digest.update(name.replace(".base_layer.", ".").encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    config = teacher.encoder.config
    return {"width": config.hidden_size, "depth": config.num_hidden_layers, "fingerprint": digest.hexdigest()}
