"""The page of facts as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

FACTS = "docs/facts.yaml"  # in the bundle


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def page_text(page: Mapping[str, Any]) -> str:
    """Return a page as a YAML file with a head that says what it is for."""
    head = (
        f"# What is particular to {page['name']}: every config and page of this bundle is rendered from it.\n"
        f"# After a change, in the folder above the bundle:\n"
        f"#   task-distill create {page['name']}_segmentation/docs/facts.yaml --output_dir . --overwrite\n\n"
    )
    return head + yaml.dump(dict(page), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
