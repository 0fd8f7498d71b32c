"""Which keys a config has, and the nearest ones to one that it has not."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator, ConfigParser, ReferenceResolver

_RUN = ("initialize", "run", "finalize")  # by MONAI
_MOST = 3  # keys that are named
_ALSO_CALLED = {  # what people say, and other programs call, and the keys here
    "batch": ("batch_size",),
    "cuda": ("device",),
    "gpu": ("device",),
    "labels": ("num_labels",),
    "lr": ("learning_rate",),
    "size": ("image_size", "crop_size"),
    "teacher": ("pretrained",),
    "workers": ("num_workers",),
}


def has_key(config: Mapping[str, Any], key: str) -> bool:
    """Say whether an override of a key changes what a config does.

    Args:
        config: as it is loaded.
        key: such as ``epochs`` or ``train::trainer::max_epochs``; ``#`` counts as ``::``.

    Returns:
        True if the config has the key, or it adds to what makes a component: an argument that its ``_target_`` takes,
        or an entry of a mapping that is one of its arguments.
    """
    *parents, name = key.replace("#", "::").split("::")
    node: Any = config
    in_component = False
    for part in parents:
        in_component |= isinstance(node, Mapping) and "_target_" in node
        if not _has(node, part):
            return False
        node = node[part] if isinstance(node, Mapping) else node[int(part)]
    if _has(node, name) or not isinstance(node, Mapping):
        return _has(node, name)
    return _takes(str(node["_target_"]), name) if "_target_" in node else in_component


def _has(node: Any, part: str) -> bool:
    if isinstance(node, list):
        return part.isdecimal() and int(part) < len(node)
    return isinstance(node, Mapping) and part in node


@cache
def _takes(target: str, name: str) -> bool:
    """Say whether a component takes an argument; one that cannot be asked may."""
    module = "" if "." in target else ComponentLocator().get_component_module_name(target)
    component: Any = locate(f"{module}.{target}".lstrip(".")) if isinstance(module, str) else None
    if component is None or name.startswith("_"):
        return True
    try:
        parameters = inspect.signature(component).parameters
    except (TypeError, ValueError):  # not every callable tells
        return True
    return name in parameters or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())


def describe_unknown(
    key: str, configs: Iterable[Mapping[str, Any]], options: Iterable[str] = (), bundle: str = "BUNDLE"
) -> str:
    """Return what a user may have meant by a key that none of some configs has, and which command lists all keys.

    Args:
        key: as given.
        configs: as they are loaded.
        options: what else may have been meant, such as the options of a command.
        bundle: the folder that the configs are of.

    Returns:
        At most three keys: the one that usually is called so, those with a word of it, and those that are spelt alike.
    """
    configs = list(configs)
    names = {name for each in configs for name in _names(each)} | set(options)
    key = key.replace("#", "::")
    near = [name for name in _ALSO_CALLED.get(key.lower(), ()) if name in names]
    if not near:
        near = get_close_matches(key, sorted(names), n=_MOST) or _sharing_a_word(key, names)
    meant = f"did you mean {' or '.join(near[:_MOST])}? " if near else ""
    return f"{meant}task-distill list keys {shlex.quote(bundle)} shows all"


def _sharing_a_word(key: str, names: Iterable[str]) -> list[str]:
    """Return keys at the top that have a word in common with one that there is not, such as image_size with sizes."""
    words = {word.rstrip("s") for word in key.lower().split("_")}
    return sorted(name for name in names if "::" not in name and words & {word.rstrip("s") for word in name.split("_")})


def unknown_references(config: Mapping[str, Any]) -> list[str]:
    """Return a line for each reference of a config, such as ``@epochs``, to a key that it has not.

    An overlay has the keys of all stages: one that nothing in this stage refers to is never looked at.
    """
    parser = ConfigParser(dict(config))
    references = {key: ReferenceResolver.match_refs_pattern(text) for key, text in _texts(config)}
    used = {name.partition("::")[0] for names in references.values() for name in names}
    lines = []
    for key, names in references.items():
        for name in sorted(names):
            if name not in parser and (key in used or "::" in key or key in _RUN):
                lines.append(f"{key}: there is no @{name} to refer to; {describe_unknown(name, [config])}")
    return lines


def _texts(node: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a config by nested key."""
    if isinstance(node, str):
        yield before, node
    elif isinstance(node, (Mapping, list)):
        for name, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _texts(value, f"{before}::{name}".removeprefix("::"))


def _names(config: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in config.items():
        if str(name)[:1] not in ("_", "+"):
            yield f"{before}{name}"
            if isinstance(value, Mapping):
                yield from _names(value, f"{before}{name}::")
