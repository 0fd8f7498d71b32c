"""What is told of a teacher's weights, where it is recorded, and that it is told of known weights alone."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from tiny_sam_format import make_checkpoint

from common.datasets.registry import DATASETS as REGISTERED
from common.datasets.registry import find_dataset
from common.files.provenance import of_teacher, of_training, write_provenance
from common.teachers import build_teacher
from common.teachers.cards import CARDS, DATASETS, backbone_card, sam_card
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora


@pytest.fixture(scope="module")
def mobile_sam(tmp_path_factory):
    path = tmp_path_factory.mktemp("mobile_sam") / "mobile_sam.pt"
    torch.save(make_checkpoint(3), path)
    return path


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_every_card_says_what_matters_in_one_line(card):
    said = str(card)
    assert "\n" not in said
    assert all(part and part in said for part in (card.name, card.licence, card.trained_on, card.overlap))


@pytest.mark.parametrize(
    ("base_name", "card"),
    [
        ("facebook/sam-vit-huge", "sam"),
        ("sam_vit_b_01ec64.pth", "sam"),
        ("medsam_vit_b.pth", "medsam"),
        ("embedded", "stand_in"),
        ("our_sam.pth", None),
        ("sam_vit_b_tuned_on_ph2.pth", None),
        ("facebook/sam-vit-base-ph2", None),
        (None, None),
    ],
)
def test_bases_in_sams_format_are_known_by_name_alone(base_name, card):
    assert sam_card(base_name) == (CARDS[card] if card else None)


@pytest.mark.parametrize(
    ("base_name", "card"),
    [
        ("facebook/dinov2-with-registers-small", "dinov2"),
        ("facebook/dinov3-vits16-pretrain-lvd1689m", "dinov3"),
        ("dinov2-small", None),
        (None, None),
    ],
)
def test_backbones_of_the_hub_are_known_by_name(base_name, card):
    assert backbone_card(base_name) == (CARDS[card] if card else None)


def test_shapes_tell_the_cards_of_the_small_ones(mobile_sam, tmp_path):
    torch.save(make_checkpoint(1), tmp_path / "weights.pth")
    assert build_teacher(mobile_sam, 2).card is CARDS["mobile_sam"]
    assert build_teacher(tmp_path / "weights.pth", 2).card is CARDS["lite_medsam"]


def test_weights_of_mobile_sam_under_another_name_may_be_tuned(mobile_sam, tmp_path):
    shutil.copy(mobile_sam, tmp_path / "tuned_on_ph2.pt")
    card = build_teacher(tmp_path / "tuned_on_ph2.pt", 2, dataset="ph2").card_for_data
    assert (card.name, card.seen) == ("MobileSAM", "not known")
    assert "may have been trained further" in str(card)


def test_card_is_told_when_a_teacher_is_built(mobile_sam, tiny_sam_folder, caplog):
    caplog.set_level(logging.INFO, logger="common.teachers.registry")
    build_teacher(tiny_sam_folder, 2)
    build_teacher(mobile_sam, 2)
    said = [record.getMessage() for record in caplog.records if record.name == "common.teachers.registry"]
    assert said == [f"the teacher: {CARDS['mobile_sam']}"], "and nothing of a folder that nobody knows"


@pytest.mark.parametrize(
    ("card", "seen", "said"),
    [
        ("mobile_sam", "no", "BUSI is not in it"),
        ("sam", "no", "BUSI is not in it"),
        ("stand_in", "no", "BUSI is not in it"),
        ("medsam", "not known", "the supplement of its paper lists them"),
        ("lite_medsam", "not known", "it may have seen those of any public dataset"),
        ("dinov2", "not known", "medical images that are on the web may be among them"),
    ],
)
def test_card_says_whether_the_dataset_at_hand_is_known_to_be_in_it(card, seen, said):
    about = CARDS[card].about("busi")
    assert (about.seen, about.dataset) == (seen, "busi")
    assert said in str(about)
    assert ("whether BUSI is in it is not known" in str(about)) == (seen == "not known")
    assert CARDS[card].about("folder") is CARDS[card], "only their owner knows images of one's own"


def test_known_dataset_is_warned_of():
    card = replace(CARDS["lite_medsam"], datasets=("busi",)).about("busi")
    assert (card.seen, card.overlap) == ("yes", "BUSI is in it: results on images of BUSI may be too good")


def test_datasets_are_those_of_the_registry_by_their_titles():
    of_ones_own = {"folder", "folder_volumes"}
    assert {name: find_dataset(name).title for name in REGISTERED.keys() - of_ones_own} == DATASETS


def test_what_is_known_of_the_dataset_is_recorded_and_told_again_by_each_stage(mobile_sam, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="common.teachers.registry")
    save_teacher(add_lora(build_teacher(mobile_sam, 2, dataset="drive"), rank=1), tmp_path / "teacher")
    load_teacher(tmp_path / "teacher")
    told = [record.getMessage() for record in caplog.records if record.name == "common.teachers.registry"]
    assert [each.rpartition("; ")[2] for each in told] == ["DRIVE is not in it"] * 2
    card = of_teacher(tmp_path / "teacher")["teacher_card"]
    assert (card["dataset"], card["seen"], card["overlap"]) == ("drive", "no", "DRIVE is not in it")


def test_card_is_recorded_with_the_teacher_and_handed_on_to_its_students(mobile_sam, tmp_path):
    folder = tmp_path / "teacher"
    save_teacher(add_lora(build_teacher(mobile_sam, 2), rank=1), folder)
    assert json.loads((folder / "teacher.json").read_text(encoding="utf-8"))["card"]["licence"] == "Apache-2.0"
    load_teacher(folder)  # which takes it for no argument
    provenance = of_teacher(folder)
    assert provenance["teacher_card"] == CARDS["mobile_sam"].describe()
    state = {"weight": torch.ones(2)}
    torch.save(state, tmp_path / "distilled.pt")
    write_provenance(tmp_path / "distilled.pt", provenance, state)
    assert of_training(tmp_path / "distilled.pt", [])["teacher_card"] == provenance["teacher_card"]
