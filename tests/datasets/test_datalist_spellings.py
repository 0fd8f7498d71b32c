"""Datalists as spreadsheets and people write them, and names that are written in several ways."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from common.datasets.folder_files.finding import find_items
from common.datasets.folder_files.remarks import describe_patients
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source

CLASSES = ["background", "wound"]


def find(root: Path, text: str | bytes = "", **source):
    """Write three pictures, their masks and a datalist; return what it lists, and the issues."""
    for folder in ("photos", "masks"):
        (root / folder).mkdir(exist_ok=True)
        for name in ("a", "b", "c, d"):
            Image.new("L", (4, 3), 9).save(root / folder / f"{name}.png")
    (root / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    issues = DatasetIssues("images", root)
    found = find_items(root, Source.from_config({"images": "list.csv", "classes": CLASSES, **source}), issues)
    return found, issues.messages


@pytest.mark.parametrize(
    "text",
    [
        "Image,LABEL,Patient ID\nphotos/a.png,masks/a.png,P1\n",
        " image , label , patient id \n photos/a.png , masks/a.png , P1 \n",
        "sep=;\r\nimage;label;PATIENT ID\r\nphotos/a.png;masks/a.png;P1\r\n",
        "sep=|\nimage|label|patient id\nphotos/a.png|masks/a.png|P1\n",
        b"\xef\xbb\xbfsep=;\r\nImage;Label;Patient ID\r\nphotos/a.png;masks/a.png;P1\r\n",
        "Image\tLabel\tPatient ID\nphotos\\a.png\tmasks\\a.png\tP1\n",
        '"image", "label", "patient id"\n"photos/a.png", "masks/a.png", "P1"\n',
        "image;label;patient id;;\nphotos/a.png;masks/a.png;P1;;\n;;;;\n;;;;;;;\n\n",
    ],
)
def test_spreadsheets_of_any_kind_say_the_same(tmp_path, text):
    found, issues = find(tmp_path, text, patient="Patient ID")
    assert issues == []
    (item,) = found.items.values()
    assert (item.image.name, item.label.name, item.patient) == ("a.png", "a.png", "P1")


def test_commas_within_quotes_are_of_the_name(tmp_path):
    found, issues = find(tmp_path, 'image,label\n"photos/c, d.png","masks/c, d.png"\n')
    assert issues == []
    assert list(found.items) == ["photos/c, d"]


def test_absolute_paths_may_leave_out_links(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    row = f"{tmp_path / 'data'}/photos/a.png,{tmp_path / 'data'}/masks/a.png"
    found, issues = find(tmp_path / "link", f"image,label\n{row}\n")
    assert issues == []
    assert found.items["photos/a"].image == tmp_path / "link" / "photos" / "a.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,Image,label\na,b,c\n", "list.csv: has the column 'image' twice; rename or remove one"),
        ("image,mask\nphotos/a.png,masks/a.png\n", "has no column 'label' (source::labels); its columns are image"),
        ('image,label\n"photos/a.png,masks/a.png\nphotos/b.png,masks/b.png\n', "a quote may be missing"),
        ('"image,label\n' + "photos/a.png,masks/a.png\n" * 6000, "a quote may be missing"),
        (f"image,label\n{'a' * 5000}.png,masks/a.png\n", "aaaa.png: no such file"),
        (
            "image,label\nphotos/a.png,masks/a.png\nphotos/a.png,masks/a.png\n",
            "list.csv row 3: photos/a is there twice",
        ),
        ("image,label\n\n\nphotos/x.png,masks/a.png\n", "list.csv row 4: image photos/x.png: no such file"),
        ("image,label\nC:\\photos\\a.png,masks/a.png\n", "row 2: image C:\\photos\\a.png: no such file"),
        ("image,label\nphotos/a.png,masks/a.png,oh\n", "row 2 has 3 cells, the first 2"),
    ],
)
def test_what_is_wrong_is_told_by_row_or_column(tmp_path, text, expected):
    (message,) = find(tmp_path, text)[1]
    assert expected in message


def test_one_patient_in_several_spellings_is_one(tmp_path):
    text = "image,label,who\nphotos/a.png,masks/a.png,P1\nphotos/b.png,masks/b.png, p01 \n"
    found, issues = find(tmp_path, text + '"photos/c, d.png","masks/c, d.png",P1\n', patient="who")
    assert issues == []
    assert {item.patient for item in found.items.values()} == {"P1"}
    (note,) = found.notes
    assert note.startswith("1 patient written in several ways (P1/p01): each is taken for one")


def test_patients_in_names_may_be_spelt_in_several_ways(tmp_path):
    found, _ = find(tmp_path, "image,label\nphotos/a.png,masks/a.png\n")
    for name in ("p7_left", "P7_right"):
        Image.new("L", (4, 3)).save(tmp_path / "photos" / f"{name}.png")
    source = Source.from_config({"images": "photos", "labels": "masks", "classes": CLASSES, "patient": "^(.)"})
    found = find_items(tmp_path, source, DatasetIssues("images", tmp_path))
    assert found.items["p7_left"].patient == found.items["P7_right"].patient == "P"


@pytest.mark.parametrize("pair", [("P1", "P10"), ("1.05", "1.5"), ("A 1", "A1")])
def test_other_patients_stay_apart(tmp_path, pair):
    text = "image,label,who\nphotos/a.png,masks/a.png,{}\nphotos/b.png,masks/b.png,{}\n".format(*pair)
    found, _ = find(tmp_path, text, patient="who")
    assert [item.patient for item in found.items.values()] == list(pair)
    assert found.notes == []


def doubts(root: Path, names: list[str], **source) -> list[str]:
    for name in names:
        for folder in ("photos", "masks"):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    config = {"images": "photos", "labels": "masks", "classes": CLASSES, "patient": "^([^/]+)/", **source}
    source = Source.from_config(config)
    return describe_patients(source, find_items(root, source, DatasetIssues("images", root)), root)


def test_few_patients_are_doubted_and_folders_of_diagnoses_explained(tmp_path):
    (note,) = doubts(tmp_path, [f"{kind}/{index}" for kind in ("benign", "malignant", "normal") for index in range(4)])
    assert note.startswith(
        "source::patient '^([^/]+)/' makes 3 patients (benign: 4 images, malignant: 4 images, normal: 4 images): are"
    )
    assert "if they are, add images of other people; if not, correct the expression or leave it out" in note
    assert note.endswith("set source::stratum (create: --stratum) to folder")


def test_whole_folders_with_tens_of_images_are_doubted(tmp_path):
    (note,) = doubts(tmp_path, [f"{kind}/{index}" for kind in "abcdef" for index in range(30)])
    assert "makes 6 patients" in note
    assert "--stratum" in note


def test_patients_with_a_few_images_each_are_believed(tmp_path):
    assert doubts(tmp_path, [f"P{patient}/{index}" for patient in range(6) for index in range(4)]) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"file_ending": ".png", "dataset": {"a": 3}}', "dataset: a: expected images and label, got 3"),
        ('{"file_ending": "", "dataset": 3}', "file_ending: expected an ending such as .nii.gz, got ''"),
        ('{"objects": {"a": 3}}', "objects: a: expected its image and labels, got 3"),
        ('{"objects": {"a": {"image": 3}}}', "objects: a: expected its image and labels"),
        ('[{"image": "%s.png", "label": "masks/a.png"}]' % ("a" * 5000), "aaaa.png: no such file"),
    ],
)
def test_damaged_lists_of_other_tools_are_refused(tmp_path, content, expected):
    (tmp_path / "list.json").write_text(content, encoding="utf-8")
    (message,) = find(tmp_path, images="list.json")[1]
    assert expected in message
