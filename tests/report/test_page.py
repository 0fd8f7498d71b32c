"""The page: well-formed, self-contained, and true to the study."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import common.report
from common.__main__ import main
from common.pictures.palette import AGREEMENT, DIFFERENCE
from common.pictures.sheets import pictures_of
from common.report import write_report
from common.report.figures import draw_against_labels, draw_against_transfer_size
from common.report.page import _tile
from common.report.pictures import draw_examples
from common.report.runs import read_study
from common.report.text import write_text

VOID = {"meta", "img", "br", "link", "input", "hr", "base", "source", "embed"}


class Page(HTMLParser):
    """Takes a page apart, and fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(folder: Path) -> Page:
    write_report(folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def source(tmp_path_factory, whole_study) -> str:
    folder = shutil.copytree(whole_study, tmp_path_factory.mktemp("page") / "study")
    write_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source) -> Page:
    return Page(source)


# The page by itself


def test_nothing_is_fetched(source, page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "source"}
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), f"<{tag} {name}={value}>"
    assert "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)\)", source))


def test_ids_are_unique_and_what_they_are_used_for_is_there(source, page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]*)\)", source)) | set(
        re.findall(r'(?:href="#|aria-labelledby=")([^"]*)"', source)
    )
    assert used
    assert used <= set(ids)


def test_colours_of_the_figures_are_those_of_the_page(source):
    style, _, body = source.partition("</style>")
    used = set(re.findall(r"var\((--[\w-]+)\)", body))
    assert {"--method-1", "--network", "--teacher"} <= used
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    for colour in used:
        assert f"{colour}: #" in light
        assert f"{colour}: #" in dark
    assert "#0102" not in body, "a placeholder is left"


def test_page_suits_narrow_screens_dark_ones_and_paper(source, page):
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.tags("meta")
    assert {"name": "color-scheme", "content": "light dark"} in page.tags("meta")
    assert "@media print" in source
    scrolled = [each for each in page.tags("div") if each.get("class") == "scroll"]
    assert len(scrolled) == len(page.tags("table")), "wide tables scroll by themselves, not with the page"


def test_figures_and_pictures_can_be_read_without_seeing_them(page):
    for attributes in page.tags("svg"):
        assert attributes["role"] == "img"
        assert attributes["aria-labelledby"]
    assert all(attributes.get("alt") for attributes in page.tags("img"))
    assert len(page.tags("figcaption")) == len(page.tags("figure"))


def test_page_is_the_same_every_time(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("mae", "task_specific_kd"), (5,), (100,), seeds=(0,))
    write_report(folder)
    first = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == first


def test_names_cannot_break_the_page(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,), classes=("<script>&",))
    page = page_of(folder)
    assert page.tags("script") == []
    assert "Dice: <script>&" in page.text


# What it shows


def test_every_section_is_there(page):
    for title in ("In short", "Dice and number of labels", "Dice and size of the transfer set", "Fine detail: HD95",
                  "Size and speed", "Pictures", "How to read this"):  # fmt: skip
        assert title in page.text
    assert "Phantoms." not in page.text
    assert "Partial." not in page.text


def test_tables_of_the_page_are_those_of_the_markdown(page, whole_study, tmp_path):
    write_text(read_study(whole_study), tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    assert len(rows) == 3 + 22 + 22 + 3
    for row in rows:
        assert " ".join(row) in page.text


def test_figures_have_a_point_with_error_bar_for_each_number_of_labels(whole_study, monkeypatch):
    drawn = []
    monkeypatch.setattr("common.report.figures._draw_line", lambda axes, *line: drawn.append(line))
    study = read_study(whole_study)
    draw_against_labels(study, "dice")
    assert [method for method, _, _ in drawn] == [
        "task_specific_kd", "task_agnostic_kd", "mocov3", "mae", "scratch", "unet", "teacher",
    ]  # fmt: skip
    runs = [run for run in study.runs if run.setting[:3] == ("mae", 10, 200)]
    _, places, estimates = drawn[3]
    assert places == [0, 1]
    assert estimates[1].mean == pytest.approx(np.mean([run.values["dice"] for run in runs]))
    means = [run.values["dice"].mean() for run in runs]
    assert estimates[1].sd == pytest.approx(np.std(means, ddof=1))


def test_one_number_of_labels_is_drawn_by_method(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "study", labels=(5,), transfer_sizes=(100,)))
    drawing = draw_against_labels(study, "dice")
    assert drawing.caption.startswith("Dice of each method with 5 labelled images (100 images in the transfer set")
    for title in ("task-specific KD", "MoCo v3", "U-Net", "fine-tuned teacher"):
        assert f">{title}</text>" in drawing.svg


def test_one_transfer_set_size_is_no_figure(tmp_path, write_study, whole_study):
    study = read_study(write_study(tmp_path / "study", labels=(5,), transfer_sizes=(100,)))
    assert draw_against_transfer_size(study, 5) is None
    drawing = draw_against_transfer_size(read_study(whole_study), 5)
    assert "with 5 labelled images" in drawing.caption
    for size in ("100", "200"):
        assert f">{size}</text>" in drawing.svg


def test_one_seed_has_no_error_bars(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "study", seeds=(0,)))
    drawing = draw_against_labels(study, "dice")
    assert "One seed, so there are no error bars." in drawing.caption
    assert "LineCollection" not in drawing.svg, "the bars of an error bar"
    assert "LineCollection" in draw_against_labels(read_study(write_study(tmp_path / "two")), "dice").svg


def test_distances_that_are_nowhere_defined_leave_a_page(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,))
    path = folder / "runs/scratch_5_None_None_0/evaluation/student/metrics.csv"
    path.write_text(re.sub(r",[\d.]+$", ",inf", path.read_text(), flags=re.MULTILINE))
    assert "HD95 is undefined in 8 of 8 measurements" in page_of(folder).text


# Pictures


def test_best_median_and_worst_are_those_of_task_specific_kd(whole_study):
    study = read_study(whole_study)
    examples = draw_examples(study)
    ranked = sorted(
        (run.values["dice"][row, 0], run.seed, case)
        for run in study.runs
        if run.setting == ("task_specific_kd", 5, 200, 16)
        for row, case in enumerate(run.cases)
    )
    assert (examples.labels, examples.measured) == ("5", 16)
    found = {each.rank: (each.tiles[1].dice, each.seed, each.case) for each in examples.shown}
    assert found == {"best": ranked[15], "median": ranked[7], "worst": ranked[0]}


def test_all_methods_stand_beside_the_image_with_their_own_dice(whole_study):
    study = read_study(whole_study)
    best = draw_examples(study).shown[0]
    assert [tile.title for tile in best.tiles] == [
        "image", "task-specific KD", "task-agnostic KD", "MoCo v3", "MAE", "from scratch", "U-Net",
        "fine-tuned teacher",
    ]  # fmt: skip
    (run,) = [run for run in study.runs if run.setting == ("scratch", 5, None, None) and run.seed == best.seed]
    assert best.tiles[5].dice == run.values["dice"][run.cases.index(best.case), 0]


def test_pictures_are_those_of_the_overlay(whole_study):
    study = read_study(whole_study)
    best = draw_examples(study).shown[0]
    (run,) = [run for run in study.runs if run.setting == ("mae", 5, 200, None) and run.seed == best.seed]
    with Image.open(run.overlay(best.case)) as sheet:
        pictures = {name: np.asarray(each, float) for name, each in pictures_of(sheet).items()}
    for tile, name in ((best.tiles[0], "image"), (best.tiles[4], "comparison")):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.picture.partition("base64,")[2]))), float)
        losses = {each: np.abs(shown - picture).mean() for each, picture in pictures.items()}
        assert losses.pop(name) < 0.5 * min(losses.values()), "but for the losses of JPEG"


def test_an_overlay_without_a_legend_is_cut_in_the_middle(tmp_path, whole_study):
    folder = shutil.copytree(whole_study, tmp_path / "study")
    for path in folder.glob("runs/*/evaluation/student/overlays/*.png"):
        pair = Image.new("RGB", (40, 24), (255, 0, 0))
        pair.paste((0, 0, 255), (20, 0, 40, 24))
        pair.save(path)
    tiles = draw_examples(read_study(folder)).shown[0].tiles
    for tile, channel in ((tiles[0], 0), (tiles[4], 2)):
        shown = Image.open(io.BytesIO(base64.b64decode(tile.picture.partition("base64,")[2])))
        assert shown.size == (20, 24)
        assert np.asarray(shown).reshape(-1, 3).mean(0).argmax() == channel


def test_the_key_has_the_colours_of_the_pictures(whole_study):
    style = (Path(common.report.__file__).parent / "page.css").read_text(encoding="utf-8")
    for name, kind in (("both", "both"), ("prediction", "prediction only"), ("label", "label only")):
        assert re.search(rf"\.key \.{name} {{ background: rgb{re.escape(str(AGREEMENT[kind]))};", style)
    assert f".key .different {{ background: rgb{DIFFERENCE['different']}; }}" in style


def test_missing_run_leaves_a_gap_beside_the_others(tmp_path, whole_study):
    folder = shutil.copytree(whole_study, tmp_path / "study")
    for seed in (0, 1):
        shutil.rmtree(folder / f"runs/mae_5_200_None_{seed}/evaluation/student/overlays")
    tiles = draw_examples(read_study(folder)).shown[0].tiles
    assert [tile.title for tile in tiles if tile.picture is None] == ["MAE"]
    assert "no picture" in _tile(tiles[4], "case")


def test_without_task_specific_kd_no_case_is_chosen(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("mae",), (5,), (100,), seeds=(0,))
    assert draw_examples(read_study(folder)) is None
    page = page_of(folder)
    assert page.tags("img") == []
    assert "Cases are chosen by task-specific KD, of which no run is finished." in page.text


def test_single_case_is_best_median_and_worst_at_once(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("task_specific_kd",), (5,), (100,), seeds=(0,), num_cases=1)
    assert [each.rank for each in draw_examples(read_study(folder)).shown] == ["best"]


# Warnings


def test_phantoms_have_a_banner(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,), phantoms=True)
    page = page_of(folder)
    assert "Phantoms. These images are phantoms, drawn by a program." in page.text
    assert "they say nothing about patients" in page.text
    assert "These are images of the dataset" not in page.text


def test_missing_runs_have_a_banner(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("mae", "scratch"), (5,), (100,), seeds=(0,))
    shutil.rmtree(folder / "runs/scratch_5_None_None_0")
    text = page_of(folder).text
    assert "Partial. One planned evaluation is not finished; everything below is without it." in text
    assert "from scratch, 5 labels: seed 0" in text


# The command


def test_command_writes_three_files_and_says_where(tmp_path, write_study, monkeypatch, capsys):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,))
    monkeypatch.setattr("sys.argv", ["common", "report", str(folder)])
    main()
    said = capsys.readouterr().out
    for name in ("results.csv", "table.md", "report.html"):
        assert str(folder / name) in said
        assert (folder / name).stat().st_size > 0


def test_failed_report_leaves_nothing(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("task_specific_kd",), (5,), (100,), seeds=(0,))
    for picture in folder.glob("runs/*/evaluation/student/overlays/*.png"):
        picture.write_bytes(b"")
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=r"\.png: the file is empty"):
        write_report(folder)
    assert sorted(folder.iterdir()) == before
