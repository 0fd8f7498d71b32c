"""Texts of a user's in configs, where MONAI gives some characters a meaning."""

from __future__ import annotations

_PREFIXES = ("$", "@", "%")  # an expression, a reference, the content of another file
_SEPARATOR = "#"  # MONAI's old one of nested keys, which it replaces in every text
_ESCAPED = "#@$%'\\"


def config_text(text: str) -> str:
    """Return a text as a config says it: as it is, or as an expression where MONAI would make something else of it."""
    if _SEPARATOR not in text and not text.startswith(_PREFIXES):
        return text
    return "$'" + "".join(f"\\x{ord(each):02x}" if each in _ESCAPED else each for each in text) + "'"
