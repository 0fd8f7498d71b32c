"""A page of facts is refused where it is none, with what it should have said."""

from __future__ import annotations

import pytest
import yaml
from folder_sources import OWN_SOURCES
from integration import refused

from common.datasets import DATASETS
from common.templates import FACTS, read_facts
from common.templates.rendering import create_bundle


@pytest.fixture
def write(tmp_path):
    """Return what writes a page: that of PH2, with changes."""

    def write(**changes):
        page = yaml.safe_load(FACTS["ph2"].read_text(encoding="utf-8")) | changes
        path = tmp_path / "page.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in page.items() if value != "left out"}))
        return path

    return write


def test_every_dataset_has_a_page():
    assert FACTS.keys() == DATASETS.keys() - OWN_SOURCES.keys(), "what folders of one's own have is found by create"
    for name, target in ((name, DATASETS[name]) for name in FACTS):
        facts = read_facts(name)
        assert facts["name"] == name
        assert facts["dataset_class"] == target.replace(":", ".")


def test_a_page_need_not_say_what_is_usual(write):
    assert read_facts(write(overlay_style="left out"))["overlay_style"] == "auto"


def test_a_page_that_does_not_exist(tmp_path):
    with refused(r"facts: there is no page nothing; name a dataset \(autooral, .*\) or the path of a YAML file"):
        read_facts("nothing")
    with refused("there is no page"):
        read_facts(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "- a list", "a word"])
def test_a_file_that_is_no_page(text, tmp_path):
    path = tmp_path / "page.yaml"
    path.write_text(text)
    with refused("facts: .*page.yaml (cannot be read as YAML|must be a mapping of facts by name)"):
        read_facts(path)


def test_unknown_views_and_names(write):
    with refused("sees must be one of crops, images, slices, got 'volumes'"):
        read_facts(write(sees="volumes"))
    with refused("name must be lower-case letters, digits and _, got '../x'"):
        read_facts(write(name="../x"))


def test_a_fact_that_is_missing_is_named(write, tmp_path):
    with refused("facts: .* needs more than the page says: 'label_reader' is undefined"):
        create_bundle(write(label_reader="left out"), tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()


def test_a_misspelt_fact_is_named(write, tmp_path):
    with refused("facts: overlay_stile: unknown; a page has .*overlay_style"):
        create_bundle(write(overlay_stile="border"), tmp_path / "bundles")


def test_facts_that_only_some_locales_can_read_are_refused(write, tmp_path):
    with refused("facts: configs/distill.yaml would not be ASCII, .* moles of caf"):
        create_bundle(write(layout="moles of caf\u00e9s"), tmp_path / "bundles")


def test_pages_for_people_may_have_any_letter(write, tmp_path):
    bundle = create_bundle(write(segments="segments the naevi of caf\u00e9s"), tmp_path / "bundles")
    assert "naevi of caf\u00e9s" in (bundle / "docs" / "README.md").read_text(encoding="utf-8")


def test_a_fact_that_is_no_yaml_where_it_is_put_is_refused(write, tmp_path):
    with refused("facts: configs/distill.yaml would be no YAML with them"):
        create_bundle(write(read_image="- {_target_: LoadImaged, keys: image"), tmp_path / "bundles")
