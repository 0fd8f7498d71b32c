"""Patients and strata that are written in several ways."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Found

_NOUNS = {"patient": "patient", "stratum": "stratum name"}


def unite_spellings(found: Found, fact: Literal["patient", "stratum"]) -> None:
    """Take texts that differ only in capitals, spaces or leading zeros for one patient, or one stratum, and note it.

    One patient that counts as two may be in training and in test at once; two that count as one do no harm.

    Args:
        found: gets the most frequent spelling of each, and notes.
        fact: which of the two.
    """
    spellings: dict[str, Counter[str]] = {}
    for item in found.items.values():
        text = getattr(item, fact)
        if text is not None:
            spellings.setdefault(_key(text), Counter())[text] += 1
    usual = {key: min(texts, key=lambda text: (-texts[text], text)) for key, texts in spellings.items()}
    for name, item in found.items.items():
        text = getattr(item, fact)
        if text is not None and text != usual[_key(text)]:
            changed: dict[str, Any] = {fact: usual[_key(text)]}
            found.items[name] = item._replace(**changed)
    several = ["/".join(sorted(texts)) for texts in spellings.values() if len(texts) > 1]
    if several:
        number = count(several, _NOUNS[fact])
        found.notes.append(
            f"{number} written in several ways ({name_some(several)}): each is taken for one; where it is not, write "
            "them so that more than capitals, spaces and leading zeros differs"
        )


def _key(text: str) -> str:
    """Return what spellings of one name have in common."""
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", " ".join(text.casefold().split()))
