"""Every option of create is read in the forms that people write, and refused by its name."""

from __future__ import annotations

import pytest
from integration import refused

from common.commands.help import command_help
from common.commands.registry import COMMANDS
from common.configs.arguments import read_arguments
from common.creation.options import read_options


@pytest.fixture
def read(tmp_path):
    """Return what reads options of a folder of images that is there."""
    (tmp_path / "photos").mkdir()

    def read(name="wounds", **given):
        return read_options(name, {"images": str(tmp_path / "photos"), "classes": "background,wound", **given})

    return read


@pytest.mark.parametrize("classes", ["background,wound", " background , wound", ["background", "wound"]])
def test_classes_come_as_text_or_list(read, classes):
    assert read(classes=classes).classes == ("background", "wound")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("background", "--classes: expected background and one or more structures"),
        ("background,,wound", "--classes: expected background and one or more structures"),
        ("background,wound,wound", "--classes: each name once"),
        ("wound,Background", "--classes: Background comes first, as in Background,wound; got wound,Background"),
        ("background,$wound", r"--classes: '\$wound': configs give"),
        ("background,wound #1", "--classes: 'wound #1': configs give"),
    ],
)
def test_classes_that_cannot_be(read, classes, message):
    with refused(message):
        read(classes=classes)


def test_classes_are_needed(tmp_path):
    with refused("--classes is missing: name the classes by id, background first"):
        read_options("wounds", {"images": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Wounds 2", "wounds_2"), ("../x", "x"), ("2wounds", "wounds"), ("wunden-\u00fc", "wunden")],
)
def test_a_name_that_is_no_identifier(read, name, hint):
    with refused(rf"name: .*: expected lower-case letters, digits and _, such as {hint}"):
        read(name)


def test_a_name_that_says_what_is_added_anyway(read):
    with refused("name: 'wounds_segmentation': leave out _segmentation, which is added: wounds"):
        read("wounds_segmentation")


def test_folders_that_are_not_there(read, tmp_path):
    with refused(r"--images: .*photo: no such folder or datalist; did you mean photos\?"):
        read(images=str(tmp_path / "photo"))
    with refused("--labels: .*masks: no such folder; expected the folder of the labels"):
        read(labels=str(tmp_path / "masks"))
    (tmp_path / "masks").mkdir()
    with refused(r"--labels: .*mask: no such folder; did you mean masks\?"):
        read(labels=str(tmp_path / "mask"))


def test_a_file_is_no_folder_of_images(read, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with refused("--images: .*a.png: expected a folder, or a datalist"):
        read(images=str(tmp_path / "a.png"))


@pytest.mark.parametrize("words", [["--left_right", "yes"], ["--see", "all"], ["--channels", "4"]])
def test_choices_are_shown_by_help_and_others_are_refused_in_one_line(words):
    create = COMMANDS["create"]
    choices = {"--left_right": "same|different", "--see": "images|crops", "--channels": "1|3"}[words[0]]
    assert f"{words[0]} {choices}" in command_help(create)
    with refused(f"^{words[0]}: expected {choices.replace('|', ' or ')}, got '{words[1]}'$"):
        read_arguments(create.source.signature, ["wounds", *words])


@pytest.mark.parametrize(
    "given", ["wound=#ff0000", {"wound": [255, 0, 0]}, {"wound": "255 0 0"}, "wound=255 0 0", {"wound": "ff0000"}]
)
def test_colours_come_in_any_form(read, given):
    assert read(colours=given).colours == {"wound": (255, 0, 0)}


def test_tables_name_classes(read):
    with refused("--colours: 'wond' is no class; did you mean wound?"):
        read(colours="wond=#ff0000")
    with refused("--class_files: skin is missing; expected wound=_wound"):
        read(classes="background,wound,skin", class_files="wound=_wound")
    with refused("--colours: wound: expected #ff0000 or three numbers from 0 to 255, got 'red'"):
        read(colours="wound=red")
    with refused("--polygons: expected wound=Ulcer; got 'Ulcer'"):
        read(polygons="Ulcer")


def test_grey_values_become_class_ids(read):
    assert read(values="0=0,255=1").values == {0: 0, 255: 1}
    assert read(values={255: 1}).values == {255: 1}
    with refused("--values: 255=2: expected grey value=class id, ids from 0 to 1"):
        read(values="255=2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"left_right": "yes"}, "--left_right: expected same or different, got 'yes'"),
        ({"upside_down": True}, "--upside_down: expected same or different, got True"),
        ({"see": "whole"}, "--see: expected images or crops"),
        ({"size": 100}, "--size: expected pixels a side, a multiple of 16"),
        ({"channels": 4}, "--channels: expected 1 or 3"),
        ({"num_validation": 0}, "--num_validation: expected a whole number of at least 1"),
        ({"label_format": "png"}, "--label_format: expected ids or black_white or colours"),
    ],
)
def test_options_that_have_a_few_values(read, given, message):
    with refused(message):
        read(**given)
