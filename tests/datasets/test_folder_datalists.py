"""Datalists as people have them: CSV, MONAI's, the Decathlon's, nnU-Net's and MONAI Label's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from common.datasets.folder import FolderDataset
from common.datasets.folder_files.finding import find_items
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source
from common.errors import InputError

CLASSES = ["background", "wound"]
ROW = {"image": "photos/a.png", "label": "masks/a.png"}


@pytest.fixture
def root(tmp_path) -> Path:
    """Pictures a to c and their masks."""
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            Image.new("L", (4, 3), 9).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def find(root: Path, images: str, content: object = None, **source):
    """Write a datalist, and return what it lists, and the issues."""
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (root / images).parent.mkdir(parents=True, exist_ok=True)
        (root / images).write_text(text, encoding="utf-8")
    issues = DatasetIssues("images", root)
    found = find_items(root, Source.from_config({"images": images, "classes": CLASSES, **source}), issues)
    return found, issues.messages


def labels_of(found) -> dict[str, str | None]:
    return {name: item.label and item.label.name for name, item in found.items.items()}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv_of_any_spreadsheet(root, delimiter, start):
    lines = [["image", "label", "who"], ["photos/a.png", "masks/b.png", "P1"], ["photos\\b.png", "masks\\a.png", ""]]
    text = start + "".join(delimiter.join(line) + "\r\n" for line in lines)
    found, issues = find(root, "list.csv", text, patient="who")
    assert labels_of(found) == {"photos/a": "b.png", "photos/b": "a.png"}
    assert [item.patient for item in found.items.values()] == ["P1", None]
    assert issues == []


def test_columns_say_patient_split_stratum_and_field_of_view(root):
    text = "image,label,who,fold,kind,seen\nphotos/a.png,masks/a.png,P1,Train,mole,masks/c.png\n"
    columns = {"patient": "who", "split": "fold", "stratum": "kind", "field_of_view": "seen"}
    found, issues = find(root, "list.csv", text, **columns)
    (item,) = found.items.values()
    assert (item.patient, item.split, item.stratum, item.fov.name) == ("P1", "training", "mole", "c.png")
    assert issues == []


def test_patients_may_be_in_the_names(root):
    found, _ = find(root, "list.csv", "image,label\nphotos/a.png,masks/a.png\n", patient="/(.)$")
    assert [item.patient for item in found.items.values()] == ["a"]


def test_files_that_are_united_and_files_of_classes(root):
    found, issues = find(root, "list.csv", "image,label\nphotos/a.png,masks/a.png|masks/b.png\n")
    assert [path.name for path in found.items["photos/a"].label] == ["a.png", "b.png"]
    source = {
        "classes": ["background", "wound", "skin"],
        "label_format": "file_per_class",
        "class_files": {"wound": "_w", "skin": "_s"},
    }
    found, issues = find(root, "list.csv", "image,wound,skin\nphotos/a.png,masks/a.png,\n", **source)
    assert {key: path.name for key, path in found.items["photos/a"].label.items()} == {"wound": "a.png"}
    rows = [{"image": "photos/a.png", "label": {"skin": "masks/b.png"}}]
    found, issues = find(root, "list.json", rows, **source)
    assert {key: path.name for key, path in found.items["photos/a"].label.items()} == {"skin": "b.png"}
    assert issues == []


def test_paths_start_from_the_datalist_or_from_the_root(root):
    for row in ("../photos/a.png,../masks/a.png", "photos/a.png,masks/a.png", f"{root}/photos/a.png,masks/a.png"):
        found, issues = find(root, "lists/list.csv", f"image,label\n{row}\n")
        assert labels_of(found) == {"photos/a": "a.png"}
        assert issues == []


def test_labels_may_come_from_a_folder(root):
    text = "image,patient\nphotos/a.png,P1\nphotos/b.png,P2\n"
    found, issues = find(root, "list.csv", text, labels="masks", patient="patient")
    assert labels_of(found) == {"photos/a": "a.png", "photos/b": "b.png"}
    assert [item.patient for item in found.items.values()] == ["P1", "P2"]
    assert issues == []
    assert found.unlabelled == []


def test_rows_without_a_label_are_left_out(root):
    found, issues = find(root, "list.csv", "image,label\nphotos/a.png,masks/a.png\nphotos/b.png,\n")
    assert issues == []
    assert [path.name for path in found.unlabelled] == ["b.png"]
    dataset = FolderDataset(root=root, source={"images": "list.csv", "classes": CLASSES})
    assert list(dataset.find_files(DatasetIssues("images", root))) == ["photos/a"]


def test_json_of_monai(root):
    found, issues = find(root, "list.json", [ROW])
    assert labels_of(found) == {"photos/a": "a.png"}
    sections = {"training": [ROW], "validation": [{"image": "photos/b.png", "label": "masks/b.png"}], "name": "x"}
    found, issues = find(root, "list.json", sections, split="split")
    assert [item.split for item in found.items.values()] == ["training", "validation"]
    assert issues == []


def test_json_of_the_decathlon(root):
    content = {
        "name": "Wounds",
        "numTraining": 2,
        "labels": {"0": "background", "1": "wound"},
        "training": [{"image": "./photos/a.png", "label": "./masks/a.png"}],
        "test": ["./photos/b.png"],
    }
    found, issues = find(root, "dataset.json", content)
    assert labels_of(found) == {"photos/a": "a.png", "photos/b": None}
    assert [path.name for path in found.unlabelled] == ["b.png"]
    assert issues == []


def test_json_of_nnunet_lists_folders(root):
    for images, labels, name in (("imagesTr", "labelsTr", "w1"), ("imagesTs", "labelsTs", "w2")):
        for folder, file in ((images, f"{name}_0000.png"), (labels, f"{name}.png")):
            (root / folder).mkdir(exist_ok=True)
            Image.new("L", (4, 3)).save(root / folder / file)
    content = {"channel_names": {"0": "R"}, "labels": {"background": 0, "wound": 1}, "numTraining": 1}
    found, issues = find(root, "dataset.json", {**content, "file_ending": ".png"}, split="split")
    assert labels_of(found) == {"imagesTr/w1_0000": "w1.png", "imagesTs/w2_0000": "w2.png"}
    assert [item.split for item in found.items.values()] == ["training", "test"]
    assert issues == []
    (root / "labelsTr" / "w1.png").unlink()
    _, issues = find(root, "dataset.json")
    assert len(issues) == 1
    assert "imagesTr/w1_0000.png has no label, expected labelsTr/w1.png" in issues[0]


def test_json_of_nnunet_lists_cases(root):
    cases = {"w1": {"images": ["photos/a.png"], "label": "masks/a.png"}}
    found, issues = find(root, "dataset.json", {"file_ending": ".png", "dataset": cases})
    assert labels_of(found) == {"photos/a": "a.png"}
    assert issues == []


def test_json_of_the_first_nnunet_leaves_out_the_channel(root):
    (root / "photos" / "a.png").rename(root / "photos" / "a_0000.png")
    found, issues = find(root, "dataset.json", {"training": [ROW]})
    assert labels_of(found) == {"photos/a_0000": "a.png"}
    assert issues == []


def test_json_of_monai_label(root):
    (root / "labels" / "final").mkdir(parents=True)
    for name in "ab":
        (root / "photos" / f"{name}.png").rename(root / f"{name}.png")
    Image.new("L", (4, 3)).save(root / "labels" / "final" / "a.png")
    objects = {
        "a": {"image": {"ext": ".png", "info": {}}, "labels": {"final": {"ext": ".png", "info": {}}}},
        "b": {"image": {"ext": ".png", "info": {}}, "labels": {"original": {"ext": ".png"}}},
    }
    found, issues = find(root, "datastore_v2.json", {"name": "x", "objects": objects})
    assert labels_of(found) == {"a": "a.png", "b": None}
    assert issues == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("picture,label\nphotos/a.png,masks/a.png\n", "has no column 'image'; its first row is picture, label"),
        ("", "has no column 'image'; its first row is empty"),
        ("image,label\n", "lists no images"),
        ("image,label\nphotos/a.png,masks/a.png,x\n", "row 2 has 3 cells, the first 2"),
        ("image,label\nphotos/x.png,masks/a.png\n", "list.csv row 2: image photos/x.png: no such file"),
        ("image,label\nphotos/a.png,masks/x.png\n", "list.csv row 2: label masks/x.png: no such file"),
        ("image,label\n,masks/a.png\n", "list.csv row 2: image: expected the path of a file, got ''"),
        ("image,label\n" + 2 * "photos/a.png,masks/a.png\n", "list.csv row 3: photos/a is there twice; keep one row"),
        ("image,label\n../out.png,masks/a.png\n", "lies outside of"),
    ],
)
def test_what_is_wrong_with_a_csv(root, content, message):
    (root.parent / "out.png").write_bytes(b"x")
    _, issues = find(root, "list.csv", content)
    assert len(issues) == 1
    assert message in issues[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "list.json: cannot be read as JSON"),
        ("3", "expected a list of images, or sections such as training, got 3"),
        ({"images": []}, "has no list 'training'; it has images, which is no datalist known here"),
        ([3], r"list.json[0]: expected image and label, got 3"),
        ([{"image": "photos/a.png", "label": "masks/a.png", "Label ": "masks/b.png"}], "[0] has 'label' twice; rename"),
        ([{"image": "photos/a.png", "label": {"wound": "masks/a.png", "Wound": ""}}], "[0] has 'wound' twice; rename"),
        ('[{"image": "photos/a.png", "label": "masks/a.png", "label": ""}]', "('label' is there twice in one object)"),
        ([{"label": "masks/a.png"}], "has no column 'image'; its columns are label"),
        (
            [{"image": ["photos/a.png", "photos/b.png"], "label": "masks/a.png"}],
            "image: expected the path of a file, got ['photos/a.png'",
        ),
    ],
)
def test_what_is_wrong_with_a_json(root, content, message):
    _, issues = find(root, "list.json", content)
    assert len(issues) == 1
    assert message in issues[0]


def test_a_column_that_is_not_there(root):
    _, issues = find(root, "list.csv", "image,label,who\nphotos/a.png,masks/a.png,P1\n", patient="patient")
    assert issues == ["list.csv: has no column 'patient' (source::patient); its columns are image, label, who"]


def test_a_split_that_is_none(root):
    text = "image,label,fold\nphotos/a.png,masks/a.png,3\nphotos/b.png,masks/b.png,\n"
    _, issues = find(root, "list.csv", text, split="fold")
    assert issues == [
        "list.csv row 2: fold: expected training, validation, test, got '3'",
        "list.csv row 3: fold: expected training, validation, test, got ''",
    ]


def test_text_in_another_encoding_is_named(root):
    (root / "list.csv").write_bytes("image,label\nphotos/ä.png,x\n".encode("latin-1"))
    _, issues = find(root, "list.csv")
    assert "is not text in UTF-8; save it as UTF-8" in issues[0]


def test_a_datalist_that_is_not_there(root):
    with pytest.raises(
        InputError,
        match=r"no list\.csv in it; if the data were moved, give --dataset_dir, the folder that holds list\.csv",
    ):
        FolderDataset(root=root, source={"images": "list.csv", "classes": CLASSES}).check()


def test_unknown_patients_are_counted_in_the_check(root):
    rows = "".join(f"photos/{name}.png,masks/{name}.png,{who}\n" for name, who in (("a", "P1"), ("b", ""), ("c", "P2")))
    (root / "list.csv").write_text(f"image,label,patient\n{rows}", encoding="utf-8")
    for path in (root / "masks").iterdir():
        Image.new("L", (4, 3), 1).save(path)
    Image.new("L", (4, 3), 0).save(root / "masks" / "a.png")
    source = {"images": "list.csv", "classes": CLASSES, "patient": "patient"}
    dataset = FolderDataset(root=root, source=source, num_validation=1)
    dataset.check()
    assert any("1 image of unknown patients (photos/b): complete the column" in note for note in dataset.notes)
    without = FolderDataset(root=root, source={**source, "patient": None}, num_validation=1)
    without.check()
    assert any("add a column 'patient' to the datalist, and set source::patient" in note for note in without.notes)
