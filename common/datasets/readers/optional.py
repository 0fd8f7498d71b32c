"""Packages that only some files need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def optional_import(name: str) -> tuple[Any, bool]:
    """Return a module and True, or None and False where it cannot be imported."""
    try:
        return import_module(name), True
    except ImportError:
        return None, False
