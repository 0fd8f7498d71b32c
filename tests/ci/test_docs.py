"""The front page is short, and no page of the docs leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import keys_page
import pytest
from PIL import Image

from common.datasets.phantoms import kidneyus

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_the_front_page_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, place = target.partition("#")
        file = page if not name else page.parent / name
        if not file.exists() or (place and place not in headings(file)):
            missing.append(target)
    assert not missing


def test_the_table_of_keys_is_that_of_the_configs():
    assert keys_page.PAGE.read_text(encoding="utf-8") == keys_page.make_page(), "run python ci/keys_page.py"


def test_every_key_has_a_meaning():
    assert not [row.name for row in keys_page.read_rows() if not row.meaning]


def test_every_page_can_be_reached_from_the_front_page():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                waiting.append((page.parent / target).resolve())
    assert set(PAGES) <= seen


def test_the_page_on_labelling_copies_grey_phantoms_from_where_the_demo_draws_them(tmp_path):
    text = (ROOT / "docs" / "monai_label.md").read_text(encoding="utf-8")
    [pattern] = re.findall(r"^cp runs/label/phantoms/(\S+) runs/ultrasound/$", text, re.MULTILINE)
    kidneyus.write_phantoms(tmp_path / "phantoms")
    images = list((tmp_path / "phantoms").glob(pattern))
    assert [Image.open(path).mode for path in images] == ["L"] * 12
    [corrected] = re.findall(r"^cp runs/label/phantoms/(\S+) runs/corrected.png$", text, re.MULTILINE)
    for path in images:
        assert (tmp_path / "phantoms" / corrected.replace("$image", path.stem)).is_file()
