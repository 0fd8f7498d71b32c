"""The bundles of this repository are what their templates and facts make of them; a page of one's own makes another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from integration import BUNDLES, refused, run_stage
from monai.bundle import ConfigParser

from common.templates import FACTS, create_bundle, read_facts, render_bundle

RESULTS = {"comparison.md", "comparison_phantoms.md"}  # measured, and written by hand
OWN_DATASET = '''
from common.datasets.ph2 import PH2Dataset


class MoleDataset(PH2Dataset):
    """Moles in the layout of PH2."""

    name = "moles"
    title = "Moles"
'''


def files_of(bundle: Path) -> dict[str, bytes]:
    """Return the files that are a bundle's own, pictures and results aside, and without what stages wrote into it."""
    paths = [path for pattern in ("*", "configs/*", "docs/*") for path in bundle.glob(pattern) if path.is_file()]
    paths = [path for path in paths if path.suffix != ".png" and path.name not in RESULTS]
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}


def test_every_bundle_has_a_page_of_facts():
    folders = {path.name.removesuffix("_segmentation") for path in BUNDLES.iterdir() if (path / "configs").is_dir()}
    assert folders == FACTS.keys()


@pytest.mark.parametrize("name", FACTS)
def test_the_bundle_is_what_its_source_makes_of_it(name, tmp_path):
    """After a change of the source: python -m common create drive bundles --overwrite."""
    rendered = create_bundle(name, tmp_path)
    assert files_of(BUNDLES / rendered.name) == files_of(rendered)


@pytest.mark.parametrize("name", FACTS)
def test_nothing_is_left_of_the_templates(name):
    for path, text in render_bundle(read_facts(name)).items():
        assert text.isascii()
        assert text.endswith("\n")
        if path != "LICENSE":
            assert "\n\n\n" not in text, path
            assert not [mark for mark in ("{{", "{%", "\0", ": None") if mark in text], path


@pytest.mark.parametrize("name", FACTS)
def test_no_other_dataset_is_named(name):
    others = FACTS.keys() - {name}
    for path, text in render_bundle(read_facts(name)).items():
        words = set("".join(character if character.isalnum() else " " for character in text.lower()).split())
        assert not words & others, path


def test_comments_beside_keys_stand_in_one_column():
    text = render_bundle(read_facts("kidneyus"))["configs/train.yaml"]
    columns = {line.index("# ") for line in text.splitlines() if "# " in line[2:27]}
    assert columns <= {28}


@pytest.fixture
def own_page(tmp_path, monkeypatch) -> Path:
    """A page for a dataset of a user's own, whose class is in a module of theirs."""
    (tmp_path / "moles.py").write_text(OWN_DATASET)
    monkeypatch.syspath_prepend(tmp_path)
    facts = yaml.safe_load(FACTS["ph2"].read_text(encoding="utf-8"))
    facts |= {"name": "moles", "dataset_class": "moles.MoleDataset", "dataset_dir": "/data/moles", "in_channels": 1}
    facts |= {"read_image": facts["read_image"].replace("to_rgb", "to_grey"), "channels": ["brightness"]}
    facts |= {"class_names": ["background", "mole"], "classes": "[background, mole]", "layout": "moles as PH2"}
    page = tmp_path / "moles.yaml"
    page.write_text(yaml.safe_dump(facts), encoding="utf-8")
    return page


class TestOwnBundle:
    def test_it_has_the_files_of_its_siblings(self, own_page, tmp_path):
        bundle = create_bundle(own_page, tmp_path / "bundles")
        assert bundle == tmp_path / "bundles" / "moles_segmentation"
        assert files_of(bundle).keys() == files_of(BUNDLES / "ph2_segmentation").keys()
        assert [path.name for path in (tmp_path / "bundles").iterdir()] == [bundle.name]

    def test_its_configs_say_what_the_page_says(self, own_page, tmp_path):
        bundle = create_bundle(str(own_page), str(tmp_path))
        for path in (bundle / "configs").glob("*.yaml"):
            ConfigParser.load_config_file(str(path))
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 1
        assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "mole"}

    def test_its_student_trains_on_the_dataset_that_the_page_names(self, own_page, tmp_path, tiny_phantoms):
        bundle = create_bundle(own_page, tmp_path)
        folders = {"dataset_dir": tiny_phantoms("ph2"), "output_dir": tmp_path / "run"}
        stage = run_stage("train", bundle=bundle, initial_weights=None, **folders)
        assert stage.parser.get_parsed_content("data").title == "Moles"
        assert stage.parser.get_parsed_content("network_def")(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)
        assert (tmp_path / "run" / "model.pt").is_file()

    def test_a_folder_that_is_there_is_not_written_over(self, own_page, tmp_path):
        (tmp_path / "moles_segmentation").mkdir()
        with refused("output_dir: .*moles_segmentation exists; choose another folder"):
            create_bundle(own_page, tmp_path)
        assert list((tmp_path / "moles_segmentation").iterdir()) == []

    def test_a_bundle_is_written_anew_on_demand_and_what_was_added_to_it_stays(self, own_page, tmp_path):
        bundle = create_bundle(own_page, tmp_path)
        before = files_of(bundle)
        (bundle / "configs" / "train.yaml").write_text("epochs: 3\n")
        (bundle / "docs" / "comparison.md").write_text("measured\n")
        assert create_bundle(own_page, tmp_path, overwrite=True) == bundle
        assert files_of(bundle) == before
        assert (bundle / "docs" / "comparison.md").read_text() == "measured\n"
