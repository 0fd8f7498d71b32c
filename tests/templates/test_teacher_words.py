"""A bundle names the teacher that really teaches, and no folder of whoever made it."""

from __future__ import annotations

import json

import pytest
import yaml

from common.templates import complete_facts, render_bundle
from common.templates.facts_pages import FACTS

TITLES = {
    "embedded": "a stand-in teacher",
    "lite_medsam": "LiteMedSAM",
    "facebook/sam-vit-huge": "SAM",
    "/home/jane/sam_vit_b_01ec64.pth": "SAM",
    "/home/jane/other_sam": "other_sam",
}


def texts(pretrained: str, **facts: str) -> tuple[str, str]:
    """Return the page and the description of PH2's bundle with a teacher of one's choice."""
    page = yaml.safe_load(FACTS["ph2"].read_text(encoding="utf-8"))
    files = render_bundle(complete_facts({**page, "pretrained": pretrained, **facts}, FACTS["ph2"]))
    return files["docs/README.md"], json.loads(files["configs/metadata.json"])["description"]


@pytest.mark.parametrize("pretrained", TITLES)
def test_the_teacher_is_named_that_really_teaches(pretrained):
    page, description = texts(pretrained)
    assert page.splitlines()[0] == f"# Skin lesion segmentation, distilled from {TITLES[pretrained]}"
    expected = "a Segment Anything Model" if TITLES[pretrained] == "SAM" else TITLES[pretrained]
    assert f"distilled from {expected} " in description
    assert f"Its teacher is {expected}" in " ".join(page.split())
    assert "/home/jane" not in page + description


def test_a_stand_in_says_what_to_give_for_a_published_model():
    page, description = texts("embedded")
    assert "--pretrained facebook/sam-vit-base" in page
    assert "pre-trained on drawn shapes alone" in description
    assert "stand-in" not in "".join(texts("facebook/sam-vit-base"))


def test_another_teacher_without_a_gpu_is_named():
    said = "Without a GPU (overlay `cpu`) LiteMedSAM is the teacher."
    assert said in " ".join(texts("facebook/sam-vit-base")[0].split())
    for own in ("lite_medsam", "facebook/sam-vit-huge"):
        assert "Without a GPU" not in texts(own, cpu_pretrained=own)[0]
