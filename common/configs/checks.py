"""The table of what each key may be, and the check of values against it, before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from common.configs.rules import (
    BOOLEAN,
    NAMES,
    TEXT,
    Rule,
    device_rule,
    increasing_pair,
    is_number,
    list_of,
    number,
    one_of,
    optional,
    whole,
)
from common.configs.values import read_value
from common.errors import InputError

_COUNT = whole(1)
_SEED = whole(0, 2**32 - 1)  # what NumPy takes
_SHARE = number(least=0, most=1)
_RATE = number(above=0)

# By key; * stands for any part of a nested key, since transforms and terms of a loss have the names that users choose.
RULES: dict[str, Rule] = {
    # commands
    "demo": BOOLEAN,
    "dry_run": BOOLEAN,
    "overwrite": BOOLEAN,
    "method": TEXT,
    "methods": optional(NAMES),
    "stages": optional(NAMES),
    "overlay": optional(NAMES),
    "launcher": TEXT,
    "num_cpus": optional(number(above=0)),
    "num_gpus": optional(number(least=0)),
    "steps": whole(0),
    "scenes": _COUNT,
    "pictures": _COUNT,
    "prompts": _COUNT,
    # the machine
    "amp": BOOLEAN,
    "channels_last": BOOLEAN,
    "num_workers": whole(0),
    # the split
    "num_labels": optional(_COUNT),
    "num_validation": whole(0),
    "split_seed": _SEED,
    "normal": BOOLEAN,
    # images
    "in_channels": _COUNT,
    "num_classes": whole(2),
    "crop_size": _COUNT,
    "image_size": _COUNT,
    "sample_size": _COUNT,
    "input_scale": number(above=0),
    "crops_per_image": _COUNT,
    "whole_images": BOOLEAN,
    "window": increasing_pair("[-160, 240]"),
    "percentiles": increasing_pair("[1, 99]", 0, 100),
    "overlap": number(least=0, below=1),
    # training
    "seed": _SEED,
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "samples_per_epoch": _COUNT,
    "val_interval": _COUNT,
    "sample_interval": _COUNT,
    "learning_rate": _RATE,
    "train::trainer::max_epochs": _COUNT,
    "optimizer::lr": _RATE,
    "optimizer::weight_decay": number(least=0),
    # the teacher
    "frozen_share": number(least=0, below=1),
    "bfloat16_on_cpu": BOOLEAN,
    "lora_rank": _COUNT,
    "lora_targets": optional(NAMES),
    "teacher_def::rank": _COUNT,
    "teacher_def::alpha": number(above=0),
    "teacher_def::dropout": number(least=0, below=1),
    "subject": one_of("student", "teacher"),
    # the diffusion model and the transfer set
    "diffusion_pretrained": optional(TEXT),
    "diffusion_channels": list_of(_COUNT, "whole numbers of at least 1"),
    "diffusion_layers": _COUNT,
    "augmentation": number(least=0, below=1),  # the network has to see some images as they are
    "with_labels": BOOLEAN,
    "keep_usable": BOOLEAN,
    "diffusion_def::norm_num_groups": _COUNT,
    "noise_scheduler::num_train_timesteps": _COUNT,
    "ema_momentum": number(above=0, below=1),
    "train::clipping::max_norm": number(above=0),
    "num_images": _COUNT,
    "num_inference_steps": _COUNT,
    "copy_threshold": _SHARE,
    "max_strangeness": optional(number(above=0)),
    "allow_unrealistic": BOOLEAN,
    "min_confidence": optional(_SHARE),
    # distillation and the other methods
    "num_transfer": optional(_COUNT),
    "transfer_length": optional(_COUNT),
    "beyond_budget": BOOLEAN,
    "drawn_labels": BOOLEAN,
    "unlabelled_length": optional(_COUNT),
    "labelled_length": _COUNT,
    "teacher_orientations": one_of(1, 2, 8),
    "loss::terms::*::weight": number(least=0),
    "loss::terms::*::loss::temperature": number(above=0),
    "base_learning_rate": _RATE,
    "warmup": _SHARE,
    "masking_ratio": number(above=0, below=1),
    "decoder_depth": _COUNT,
    "temperature": number(above=0),
    "momentum": number(least=0, below=1),
    "head_size": _COUNT,
    "max_zoom": number(least=1),
    # within any component
    "*::prob": _SHARE,
    "*::overlap": number(least=0, below=1),
    "*::sw_batch_size": _COUNT,
    "*::percentile": number(above=0, most=100),
}
_BY_STAGE = "_by_stage"  # a mapping by stage, of what the key without it takes


def check(**values: Any) -> None:
    """Check values by the names of their keys; keys without a rule may be anything.

    Args:
        values: by key; the layers of a UNet2DModel too, as ``down_block_types`` and ``norm_num_groups``.

    Raises:
        InputError: naming every key at fault with its value and what is allowed, a line each.
    """
    _refuse([*_faults(values), *_unet_faults(values, values)])


def check_configs(configs: Sequence[Mapping[str, Any]], on_this_machine: bool = True) -> None:
    """Check all values of configs that are no expressions.

    Args:
        configs: as they are loaded, with overrides.
        on_this_machine: whether it is this machine that must have their devices.

    Raises:
        InputError: see :func:`check`; a fault that several have is named once.
    """
    faults = []
    for config in configs:
        values = {key: value for key, value in _leaves(config) if not _is_expression(value)}
        if not on_this_machine:
            values.pop("device", None)
        diffusion = config.get("diffusion_def")
        faults += [*_faults(values), *_unet_faults(values, diffusion if isinstance(diffusion, Mapping) else {})]
    _refuse(faults)


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise InputError("\n".join(dict.fromkeys(faults)))


def _faults(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        rule = device_rule() if key == "device" else _rule_of(key.replace("#", "::"))
        if rule is not None and not rule.allows(value):
            yield f"{key}: expected {rule.expected}, got {value!r}{_hint(key, rule, value)}"


def _rule_of(key: str) -> Rule | None:
    if key in RULES:
        return RULES[key]
    return next((rule for pattern, rule in RULES.items() if "*" in pattern and fnmatchcase(key, pattern)), None)


def _hint(key: str, rule: Rule, value: Any) -> str:
    """Return a hint for a number that is text, as YAML 1.1 reads 1e-4 in a file."""
    if not isinstance(value, str) or not value.strip() or value.lstrip()[0] in "[{(":
        return ""
    meant = read_value("value", value)
    return f" (text: write {meant} without quotes)" if is_number(meant) and rule.allows(meant) else ""


def _unet_faults(values: Mapping[str, Any], unet: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps a UNet2DModel from being built of blocks that have so many channels."""
    channels: Any = values.get("diffusion_channels")
    if not RULES["diffusion_channels"].allows(channels):
        return
    blocks, groups = unet.get("down_block_types"), unet.get("norm_num_groups")
    if isinstance(blocks, (list, tuple)) and len(blocks) != len(channels):
        yield f"diffusion_channels: expected {len(blocks)} numbers, one for each block, got {list(channels)}"
    if type(groups) is int and groups > 0 and any(count % groups for count in channels):
        yield (
            f"diffusion_channels: expected numbers that are divisible by the {groups} groups of a norm, got "
            f"{list(channels)}"
        )


def _leaves(config: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a config has by nested key: each value that is no mapping, and what is in lists as well."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config)
    for name, value in items:
        key = f"{before}{name}"
        if isinstance(value, Mapping) and key.endswith(_BY_STAGE):
            yield from ((key.removesuffix(_BY_STAGE), each) for each in value.values() if not _allowed(key, each))
        elif isinstance(value, (Mapping, list)) and _rule_of(key) is None:
            yield from _leaves(value, f"{key}::")
        else:
            yield key, value


def _allowed(key: str, value: Any) -> bool:
    rule = _rule_of(key.removesuffix(_BY_STAGE))
    return rule is None or _is_expression(value) or rule.allows(value)


def _is_expression(value: Any) -> bool:
    """Say whether MONAI makes something else of a value: an expression, a reference, or content of another file."""
    return isinstance(value, str) and value[:1] in ("$", "@", "%")
