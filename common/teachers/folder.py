"""A fine-tuned teacher on disk: what was trained, apart from the base that it fits."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from common.errors import InputError
from common.files.atomic import atomic_folder, check_replaceable, is_writer
from common.files.checkpoints import check_finite
from common.files.fingerprints import state_digest
from common.files.json_files import read_json
from common.files.links import check_no_way_out
from common.files.weights import unwrap
from common.teachers import build_teacher
from common.teachers.base import Teacher

_DESCRIPTION, _CONFIG, _WEIGHTS = "teacher.json", "adapter_config.json", "adapter_model.safetensors"
_MAX_CLASSES = 256  # a label has class ids of 8 bits
# What PEFT's configuration may say: what add_lora chooses, and what loading makes no use of.
_CHOSEN = ("r", "lora_alpha", "lora_dropout", "target_modules")
_NOTED = ("peft_type", "modules_to_save", "inference_mode", "auto_mapping", "base_model_name_or_path", "revision")
_TARGETS = re.compile(r"encoder\\\.\(\.\*\\\.\)\?\([\w|\\.]+\)")  # the pattern of names that add_lora makes


def check_room(folder: str | os.PathLike) -> None:
    """Refuse a folder that :func:`save_teacher` would refuse, hours before there is a teacher to save.

    Raises:
        InputError: if the folder holds something that is no teacher.
    """
    check_replaceable(folder, mark=_DESCRIPTION)


def save_teacher(network: nn.Module, folder: str | os.PathLike) -> None:
    """Write the adapters and the decoder as PEFT does, and JSON that says which base they fit, on the first rank only.

    Args:
        network: what :func:`~common.teachers.lora.add_lora` returned, also within ``DistributedDataParallel``.
        folder: made, or replaced by an atomic folder.

    Raises:
        InputError: if the folder holds something that is no teacher.
    """
    if not is_writer():
        return
    check_room(folder)
    adapted: Any = unwrap(network)
    teacher = adapted.get_base_model()
    card = {"card": teacher.card_for_data.describe()} if teacher.card_for_data else {}
    description = {**teacher.describe(), "base": _describe_base(teacher), **card}
    with atomic_folder(folder) as fresh:
        adapted.save_pretrained(fresh, save_embedding_layers=False)  # by default PEFT looks for a vocabulary on the hub
        (fresh / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a model card
        (fresh / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_teacher(
    folder: str | os.PathLike, pretrained: str | os.PathLike | None = None, network: nn.Module | None = None
) -> Teacher:
    """Load a fine-tuned teacher, merged, frozen and in eval mode.

    Args:
        folder: what :func:`save_teacher` wrote.
        pretrained: where the base is now; by default where it was when the teacher was saved.
        network: what it is, of the family ``network``; by default what the folder says, if it could be said there.

    Raises:
        InputError: if there is no teacher in the folder, a file of it is damaged, or it does not fit the base.
    """
    folder = Path(folder)
    check_no_way_out(folder, (_DESCRIPTION, _CONFIG, _WEIGHTS))
    description, expected = _read_description(folder)
    description["pretrained"] = pretrained or description["pretrained"]
    if network is not None:
        description["network"] = network
    if description["pretrained"] is None:
        raise InputError(f"the base of the teacher in {folder} came from no file: give it as 'pretrained'")
    try:
        teacher = build_teacher(**description)
    except InputError:
        raise
    except (TypeError, ValueError) as error:  # such as a number of classes that is none
        raise InputError(f"{folder / _DESCRIPTION} is damaged ({error}): run finetune_teacher again") from error
    found = _describe_base(teacher)
    if expected != found:
        raise InputError(
            f"the adapter in {folder} does not fit the base '{description['pretrained']}': it was trained on a base of "
            f"{expected['parameters']:,} parameters and fingerprint {expected['fingerprint'][:12]}, this one has "
            f"{found['parameters']:,} parameters and fingerprint {found['fingerprint'][:12]}. Give the base it was "
            "trained on as 'pretrained', or run finetune_teacher again"
        )
    return _load_adapter(teacher, folder).merge_and_unload().eval().requires_grad_(False)


def _read_description(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a saved teacher is built from, and its base."""
    file = folder / _DESCRIPTION
    if not file.is_file():
        raise InputError(f"there is no fine-tuned teacher in {folder} (no {_DESCRIPTION}): run finetune_teacher first")
    try:
        description = read_json(file)
        base = description.pop("base")
        description.pop("card", None)  # for people, and for the provenance of students
        description.setdefault("upright", False)  # teachers of earlier versions saw arrays as readers give them
        inspect.signature(build_teacher).bind(**description)
        if not isinstance(description["upright"], bool):  # any text is true
            raise ValueError(f"upright must be true or false, got {description['upright']!r}")
        if not int(description["num_classes"]) <= _MAX_CLASSES:
            raise ValueError(f"num_classes must be at most {_MAX_CLASSES}, got {description['num_classes']}")
        return description, {"parameters": int(base["parameters"]), "fingerprint": str(base["fingerprint"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{file} is damaged ({error}): run finetune_teacher again") from error


def _load_adapter(teacher: Teacher, folder: Path) -> PeftModel:
    # PEFT would look for a missing file on the hub, and only warns of missing weights.
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"the teacher in {folder} is damaged ({missing[0]} is missing): run finetune_teacher again")
    try:
        config = _read_lora(folder / _CONFIG)
        with safe_open(folder / _WEIGHTS, "pt") as weights:
            names = set(weights.keys())
            ranks = {weights.get_slice(name).get_shape()[0] for name in names if ".lora_A." in name}
        if ranks != {config.r}:
            raise ValueError(f"{_CONFIG} has rank {config.r}, {_WEIGHTS} has {', '.join(map(str, sorted(ranks)))}")
        network = PeftModel.from_pretrained(teacher, str(folder), config=config, torch_device="cpu")
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the teacher in {folder} is damaged ({error}): run finetune_teacher again") from error
    check_finite(get_peft_model_state_dict(network, save_embedding_layers=False), folder / _WEIGHTS)
    differing = names ^ get_peft_model_state_dict(network, save_embedding_layers=False).keys()
    if differing:
        raise InputError(f"the teacher in {folder} is damaged: {sorted(differing)} do not match its architecture")
    return network


def _read_lora(path: Path) -> LoraConfig:
    """Read PEFT's configuration as far as :func:`~common.teachers.lora.add_lora` sets it.

    The rest would be other methods, some of which import a module that the file names.

    Raises:
        ValueError: if it says anything else.
    """
    stated, usual = read_json(path), LoraConfig().to_dict()
    if stated["peft_type"] != "LORA":
        raise ValueError(f"{_CONFIG} is of {stated['peft_type']}, not of LoRA")
    for key, value in stated.items():
        if key in usual and key not in (*_CHOSEN, *_NOTED) and value != usual[key]:
            raise ValueError(f"{_CONFIG} has {key}: {value!r}, which finetune_teacher does not set")
    if not _TARGETS.fullmatch(stated["target_modules"]):
        raise ValueError(f"{_CONFIG} has target_modules: {stated['target_modules']!r}, expected layers of the encoder")
    return LoraConfig(**{key: stated[key] for key in _CHOSEN}, modules_to_save=["decoder"], inference_mode=True)


def _describe_base(teacher: Teacher) -> dict[str, Any]:
    """Describe all that is not saved: the teacher as it was before any adapter, without its decoder."""
    base = base_state(teacher)
    return {"parameters": sum(value.numel() for value in base.values()), "fingerprint": state_digest(base)}


def base_state(teacher: Teacher) -> dict[str, Tensor]:
    """Return the weights that LoRA leaves as they are, by the names they have without it."""
    return {
        name.replace(".base_layer.", "."): value
        for name, value in teacher.state_dict().items()
        if not name.startswith("decoder.") and ".lora_" not in name
    }
