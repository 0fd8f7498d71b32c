"""A user's texts stand in configs as they are, or so that MONAI makes the same of them."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from common.templates.config_text import config_text
from common.templates.rendering import _environment

SAMPLES = ["photos", "/data/my photos", "a#b", "@photos", "$photos", "%photos", "it's #1", "#\\x23\\", "Bilder/\u00fc"]


@pytest.mark.parametrize("text", SAMPLES)
def test_a_config_has_the_text_that_was_meant(text):
    assert ConfigParser({"key": {"nested": config_text(text)}}).get_parsed_content("key") == {"nested": text}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_text_comes_through_yaml_in_ascii(text):
    line = _environment().from_string("key: {{ text | text }}").render(text=text)
    assert line.isascii()
    assert "\n" not in line
    assert ConfigParser(yaml.safe_load(line)).get_parsed_content("key") == text


def test_usual_texts_stay_as_they_are():
    assert config_text("/data/PH2 images (2013)") == "/data/PH2 images (2013)"
