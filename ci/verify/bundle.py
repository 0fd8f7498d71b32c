"""A bundle on disk, read once for all rules."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from monai.bundle import ConfigParser

METADATA = "configs/metadata.json"
SOURCE = "common"  # the package that a bundle of this repository builds on, and a release must do without
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times as fast
_SUFFIXES = ("json", "yaml", "yml")
_PACKAGE = re.compile(r"scripts(_[0-9a-f]+)?")


class Issue(NamedTuple):
    """What breaks a rule: the file, what was found in it, and what was expected."""

    file: str
    found: str
    expected: str


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        root: its folder.
        configs: contents of the configs that can be read, by path in the bundle.
        unreadable: why the others cannot be read, by path in the bundle.
        workflows: configs as MONAI reads them, by path in the bundle, as far as a rule has asked for them.
    """

    root: Path
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    workflows: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.root.glob("configs/*")):
            if path.suffix.removeprefix(".") in _SUFFIXES:
                self._read(path)

    def _read(self, path: Path) -> None:
        name = path.relative_to(self.root).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_LOADER)
        except (ValueError, yaml.YAMLError) as error:
            self.unreadable[name] = " ".join(str(error).split())
            return
        if isinstance(content, dict):
            self.configs[name] = content
        else:
            self.unreadable[name] = f"a {type(content).__name__}"

    @property
    def metadata(self) -> dict[str, Any]:
        return self.configs[METADATA]

    def find_all(self, name: str, folder: str = "configs/") -> list[str]:
        """Return the paths of a config in the bundle, one for each suffix that it is there with."""
        paths = [f"{folder}{name}.{suffix}" for suffix in _SUFFIXES]
        return [path for path in paths if (self.root / path).is_file()]

    def find(self, name: str, folder: str = "configs/") -> str | None:
        """Return the path of a config in the bundle, the one that tools take that read JSON first."""
        return next(iter(self.find_all(name, folder)), None)

    @cached_property
    def is_release(self) -> bool:
        """Whether the bundle has to do without this repository."""
        return self.package is not None or not any(names_source(config) for config in self.configs.values())

    @cached_property
    def package(self) -> str | None:
        """The package with the bundle's own code: ``scripts``, as the Zoo's bundles have it, or ``scripts_<hash>``."""
        folders = (path.name for path in self.root.iterdir() if path.is_dir())
        return next((name for name in sorted(folders) if _PACKAGE.fullmatch(name)), None)

    @cached_property
    def files(self) -> list[str]:
        """The files of the bundle. What stages wrote into a bundle of this repository is left out."""
        outputs = () if self.is_release else ("models/", "eval/", "runs/", "masks/")
        paths = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(path for path in paths if not path.startswith(outputs))

    @cached_property
    def large_files(self) -> list[dict[str, Any]]:
        """The entries of large_files.yml that are mappings."""
        path = self.find("large_files", folder="")
        content = ConfigParser.load_config_file(str(self.root / path)) if path else {}
        return [entry for entry in content.get("large_files") or [] if isinstance(entry, dict)]

    @property
    def weights(self) -> Path:
        return self.root / "models/model.pt"

    def parser(self, name: str = "inference") -> ConfigParser:
        """Return a config, with the metadata, ready to be evaluated."""
        parser = ConfigParser()
        parser.read_config(str(self.root / self.find(name)))
        parser.read_meta(str(self.root / METADATA))
        parser["bundle_root"] = str(self.root)
        return parser

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let configs import the bundle's own package, and no other bundle's of the same name."""
        sys.path.insert(0, str(self.root))
        try:
            yield
        finally:
            sys.path.remove(str(self.root))
            for name in [name for name in sys.modules if name.split(".")[0] == self.package]:
                del sys.modules[name]


def names_source(config: dict[str, Any]) -> bool:
    """Return whether a config names a module of this repository."""
    return any(re.search(rf"(?<![\w./@]){SOURCE}\.\w", text) for text in _strings(config))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(item)
