"""The table of all rules, and what asks them of a bundle."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from verify import files, keys, metadata, network, tensors
from verify.bundle import Bundle, Issue
from verify.imports import self_contained
from verify.paths import personal_paths


class Rule(NamedTuple):
    """What a bundle must be like.

    It is not asked where that would only say again what another rule has said: without the configs that it ``needs``,
    and of a bundle that breaks a rule that it builds on and comes ``after``.
    """

    check: Callable[[Bundle], Iterator[Issue]]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


RULES = {
    "necessary-files": Rule(files.necessary_files),
    "preferred-files": Rule(files.preferred_files),
    "documents": Rule(files.documents),
    "file-names": Rule(files.file_names),
    "file-size": Rule(files.file_size),
    "large-files": Rule(files.large_files),
    "readable-files": Rule(files.readable_files),
    "personal-paths": Rule(personal_paths),
    "self-contained": Rule(self_contained, after=("readable-files",)),
    "inference-keys": Rule(keys.check_keys("inference"), ("inference",)),
    "train-keys": Rule(keys.check_keys("train"), ("train",)),
    "evaluate-keys": Rule(keys.check_keys("evaluate"), ("evaluate",)),
    "property-names": Rule(keys.property_names),
    "config-formats": Rule(files.config_formats),
    "metadata-schema": Rule(metadata.metadata_schema, ("metadata",)),
    "metadata-keys": Rule(metadata.metadata_keys, ("metadata",)),
    "version": Rule(metadata.version, ("metadata",)),
    "packages": Rule(metadata.packages, ("metadata",)),
    "licence": Rule(metadata.licence, ("metadata",)),
    "eval-metrics": Rule(metadata.eval_metrics, ("metadata",)),
    "tensor-formats": Rule(tensors.tensor_formats, ("metadata",)),
    "network-format": Rule(network.network_format, ("metadata", "inference"), after=("tensor-formats",)),
    "torchscript": Rule(network.torchscript, ("metadata", "inference"), after=("tensor-formats", "network-format")),
}


def verify(bundle_root: Path) -> dict[str, list[Issue]]:
    """Return the issues of a bundle by the rule that they break; rules that are kept are not in it."""
    bundle = Bundle(bundle_root.resolve())
    issues: dict[str, list[Issue]] = {}
    with _quiet():
        for name, rule in RULES.items():
            needed = [bundle.find_all(config) for config in rule.needs]
            readable = all(paths and bundle.configs.keys() >= set(paths) for paths in needed)
            if readable and not issues.keys() & set(rule.after):
                found = list(rule.check(bundle))
                if found:
                    issues[name] = found
    return issues


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
