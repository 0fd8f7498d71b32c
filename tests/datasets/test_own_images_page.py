"""The page on one's own images: what it shows works, and what it says of numbers is so."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from common.datasets.folder import FolderDataset
from common.datasets.folder_files import contents
from common.datasets.phantoms.own_images import write_phantoms
from common.datasets.registry import dataset_class
from common.datasets.source import LABEL_FORMATS, Source

PAGE = (Path(__file__).parents[2] / "docs" / "own_images.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_it_has_examples():
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("example", EXAMPLES, ids=[str(each["images"]) for each in EXAMPLES])
def test_a_dataset_is_read_as_an_example_says(example, tmp_path):
    source = Source.from_config(example)
    folder = write_phantoms(tmp_path / "data", source, num_images=10, image_size=(24, 32))
    dataset = dataset_class({"data": {"_target_": source.dataset_class}})(root=folder, source=example)
    assert all(dataset.check().values())


def test_names_and_columns_of_its_datalist_are_understood(tmp_path):
    (text,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "wounds.csv").write_text(text, encoding="utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        for name in (row["image"], *row["label"].split("|")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"")
    (example,) = [each for each in EXAMPLES if each["images"] == "wounds.csv"]
    dataset = FolderDataset(root=tmp_path, source=example, num_validation=1)
    with pytest.raises(ValueError, match="too few complete images: 1 for validation") as caught:
        dataset.entries("test")
    assert "1 issue\n" in str(caught.value)
    assert dataset._found.items["photos/b"].patient == "P1"
    assert len(dataset._found.items["photos/b"].label) == 2


def test_every_key_and_label_format_is_there():
    for name in (*(each.name for each in fields(Source)), *LABEL_FORMATS):
        assert f"`{name}" in PAGE or f"\n{name}:" in PAGE, name


def test_patterns_of_patients_do_what_it_says():
    assert re.search("^(P[0-9]+)_", "P01_left")[1] == "P01"
    assert re.search("^([^/]+)/", "anna/left")[1] == "anna"


def test_limits_are_those_of_the_code():
    assert f"more than {contents.LARGE // 10**6} million pixels" in PAGE
