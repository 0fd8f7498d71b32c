"""The command line of ``python -m monai.bundle run``, read as YAML and checked when a config is initialized.

MONAI reads its command line with fire, by the rules of Python. A config has a say only once it is initialized. There
:func:`apply` reads the same command line again, as YAML and with the checks of a pipeline. Where fire has made
something else of a value, it starts the command anew in this process, with each value written so that both agree.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import fire
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle import run as run_bundle

from common.configs.arguments import read_arguments
from common.configs.checks import check_configs
from common.configs.earlier_names import with_current_names
from common.configs.key_kinds import OPTIONAL_PATHS, PATHS
from common.configs.known_keys import describe_unknown, has_key, unknown_references
from common.configs.written_values import write_value
from common.errors import InputError

# By the names of its arguments alone: fire does not read annotations.
_SIGNATURE = inspect.Signature(
    [each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(run_bundle).parameters.values()]
)
_PROGRAM = os.path.join("monai", "bundle", "__main__.py")
_OWN = frozenset(inspect.signature(run_bundle).parameters) - {"override"}
# Keys that monai.bundle takes beside those of a config: for its workflow, and for the tracking of experiments.
_TAKEN = frozenset(inspect.signature(ConfigWorkflow).parameters) | {
    "experiment_name", "run_name", "save_execute_config", "tracking_uri", "workflow_name",
}  # fmt: skip


def apply() -> None:
    """Check the command line of ``python -m monai.bundle run``, if this process is one, and have it read as YAML.

    Nothing happens in any other process, such as a server that runs the config, or a test.

    Raises:
        SystemExit: after one line for each fault, if a value cannot be read or is not allowed, or no config has a key.
    """
    if not (sys.argv[0].endswith(_PROGRAM) and sys.argv[1:2] == ["run"]):
        return
    try:
        arguments = corrected_arguments(sys.argv[2:])
    except InputError as error:
        raise SystemExit("\n".join(f"error: {line}" for line in str(error).splitlines())) from error
    if arguments is not None:
        _start_anew(["run", *arguments])


def corrected_arguments(words: Sequence[str]) -> list[str] | None:
    """Return a command line that fire reads as YAML reads the one that is given, or None if it does so already.

    Args:
        words: what follows ``run``.

    Raises:
        InputError: if a value cannot be read or is not allowed, or no config has a key.
    """
    words, flags = _without_flags_of_fire(words)
    meant = _read(words)
    found = _read_by_fire(words)
    if _same(meant, found):
        return None
    corrected = [f"--{key}={write_value(key, value)}" for key, value in meant.items()]
    if not _same(_read_by_fire(corrected), meant) or not _same(_read(corrected), meant):
        raise InputError(f"the command line cannot be read without doubt; write it as {' '.join(corrected)}")
    return corrected + flags


def _without_flags_of_fire(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words before the last ``--``, and the rest, which is fire's own."""
    words = list(words)
    end = len(words) - 1 - words[::-1].index("--") if "--" in words else len(words)
    return words[:end], words[end:]


def _read(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of monai.bundle.run, and the keys to override, as YAML reads them, checked."""
    given = read_arguments(_SIGNATURE, words)
    defaults = _load_arguments(given.get("args_file"))
    files = given.get("config_file", defaults.get("config_file"))
    config = ConfigParser.load_config_files(files) if files else {}
    given = read_arguments(_SIGNATURE, words, flags=config)  # now that the switches of the config are known
    own = {key: value for key, value in given.items() if key in _OWN and value is not None}
    given_keys = with_current_names({key: value for key, value in given.items() if key not in _OWN}, [config])
    overrides = {key: value for key, value in {**defaults, **given_keys}.items() if key not in _OWN | _TAKEN}
    _check(config, overrides)
    stated = {**config, **defaults}
    expanded = {key: os.path.expanduser(stated[key]) for key in _home_paths(stated) if key not in given_keys}
    keys = {**expanded, **given_keys}
    return {**own, **{key: "$None" if value is None else value for key, value in keys.items()}}


def _load_arguments(file: str | None) -> dict[str, Any]:
    return dict(ConfigParser.load_config_file(file)) if file else {}


def _check(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    unknown = [key for key in overrides if not key.startswith("_meta_") and not has_key(config, key)]
    if unknown:
        raise InputError(
            "\n".join(f"--{key}: there is no such key; {describe_unknown(key, [config])}" for key in unknown)
        )
    parser = ConfigParser(dict(config))
    parser.update(dict(overrides))
    missing = unknown_references(parser.get())
    if missing:
        raise InputError("\n".join(missing))
    check_configs([parser.get()])


def _home_paths(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of a config with paths that begin with ``~``, which no shell expands in a file."""
    paths = sorted((PATHS | OPTIONAL_PATHS) & config.keys())
    return [key for key in paths if isinstance(config[key], str) and config[key].startswith("~")]


def _read_by_fire(words: Sequence[str]) -> dict[str, Any]:
    """Return what fire gives to monai.bundle.run."""
    found: dict[str, Any] = {}

    @functools.wraps(run_bundle)
    def note(*positional: Any, **options: Any) -> None:
        bound = inspect.signature(run_bundle).bind(*positional, **options).arguments
        found.update({key: value for key, value in bound.items() if key in _OWN and value is not None})
        found.update(bound.get("override", {}))

    fire.Fire(note, command=list(words), name="monai.bundle run")
    return found


def _same(one: Any, other: Any) -> bool:
    """Say whether two values are equal in their types, too: 1 is not true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _start_anew(arguments: Sequence[str]) -> None:
    """Replace this process by one with other arguments for the same program, in the same interpreter."""
    given = len(sys.argv) - 1
    if sys.orig_argv[len(sys.orig_argv) - given :] == sys.argv[1:]:
        before = sys.orig_argv[1 : len(sys.orig_argv) - given]
    else:  # something else has changed the arguments
        before = ["-m", "monai.bundle"]
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *before, *arguments]
    os.execv(sys.executable, command)
