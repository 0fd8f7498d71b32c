"""Names in any script can be read on a picture."""

from __future__ import annotations

import pytest
from PIL import ImageFont

from common.pictures import fonts
from common.pictures.fonts import drawable, load_font


@pytest.fixture
def pillows_own(monkeypatch):
    monkeypatch.setattr(fonts, "find_font", lambda: None)
    load_font.cache_clear()
    yield load_font(14)
    load_font.cache_clear()


def is_drawn(letter: str, font: ImageFont.FreeTypeFont) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))


def test_accents_and_other_alphabets_are_drawn_as_they_are():
    font = load_font(14)
    for text in ("lésion 00", "Läsion", "повреждение"):
        assert drawable(text, font) == text
        assert all(is_drawn(letter, font) for letter in text.replace(" ", ""))


def test_an_accent_by_itself_joins_its_letter():
    assert drawable("le\u0301sion", load_font(14)) == "lésion"


def test_without_that_font_names_are_as_near_as_ascii_comes(pillows_own):
    shown = drawable("lésion Ω 病", pillows_own)
    assert all(letter.isascii() or is_drawn(letter, pillows_own) for letter in shown)
    assert shown.replace("é", "e").startswith("lesion ")
    assert shown.endswith("\\u75c5")
