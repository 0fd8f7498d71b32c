"""What weights were made from is kept in one file beside them, and unknown where that is gone or of other weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.errors import InputError
from common.files.fingerprints import network_fingerprint, state_digest
from common.files.phantom_mark import mark_phantoms
from common.files.provenance import (
    base_name,
    of_teacher,
    of_training,
    provenance_path,
    read_provenance,
    recorded,
)
from common.files.weights import load_weights, read_checkpoint, save_weights

FACTS = {"teacher": "facebook/sam-vit-base", "fine_tuned": True, "method": "task_specific_kd"}


def network(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


def write_teacher(folder: Path, **description: Any) -> Path:
    folder.mkdir()
    (folder / "teacher.json").write_text(json.dumps(description))
    return folder


class TestFile:
    def test_it_goes_to_a_file_and_back(self, tmp_path):
        facts = {**FACTS, "classes": ["background", "vessel"], "image_size": 256, "phantoms": False}
        save_weights(network(), tmp_path / "model.pt", facts)
        assert read_provenance(tmp_path / "model.pt") == facts

    def test_weights_that_are_written_again_elsewise_keep_it(self, tmp_path):
        save_weights(network(), tmp_path / "model.pt", FACTS)
        torch.save(dict(read_checkpoint(tmp_path / "model.pt")), tmp_path / "model.pt")
        assert read_provenance(tmp_path / "model.pt") == FACTS

    def test_it_is_unknown_where_the_file_is_gone(self, tmp_path):
        save_weights(network(), tmp_path / "model.pt", FACTS)
        provenance_path(tmp_path / "model.pt").unlink()
        assert read_provenance(tmp_path / "model.pt") == {}

    def test_a_copy_has_it_where_both_files_were_copied(self, tmp_path):
        save_weights(network(), tmp_path / "model.pt", FACTS)
        shutil.copy(tmp_path / "model.pt", tmp_path / "copy.pt")
        assert read_provenance(tmp_path / "copy.pt") == {}
        shutil.copy(provenance_path(tmp_path / "model.pt"), provenance_path(tmp_path / "copy.pt"))
        assert read_provenance(tmp_path / "copy.pt") == FACTS

    @pytest.mark.parametrize("content", [network(seed=1).state_dict(), [1, 2], {"weight": 1}])
    def test_it_is_unknown_of_other_weights(self, content, tmp_path):
        save_weights(network(), tmp_path / "model.pt", FACTS)
        torch.save(content, tmp_path / "model.pt")
        assert read_provenance(tmp_path / "model.pt") == {}

    @pytest.mark.parametrize("text", ["{", "[]", '{"provenance": 3}'])
    def test_a_damaged_file_is_named(self, text, tmp_path):
        save_weights(network(), tmp_path / "model.pt", FACTS)
        provenance_path(tmp_path / "model.pt").write_text(text)
        with pytest.raises(InputError, match=r"model\.provenance\.json is damaged.*: delete it"):
            read_provenance(tmp_path / "model.pt")

    def test_nothing_about_it_hangs_on_a_network(self, tmp_path):
        save_weights(network(), tmp_path / "model.pt", FACTS)
        loaded = load_weights(network(seed=1), tmp_path / "model.pt")
        assert network_fingerprint(loaded) == network_fingerprint(network())
        assert vars(loaded).keys() == vars(network()).keys()

    def test_one_fact_or_else_the_default(self, tmp_path):
        assert recorded(tmp_path / "model.pt", "image_size", 256) == 256
        save_weights(network(), tmp_path / "model.pt", {"image_size": 64})
        assert recorded(tmp_path / "model.pt", "image_size", 256) == 64
        assert recorded(tmp_path / "model.pt", "crop_size", 32) == 32


class TestTeacher:
    def test_a_student_has_the_name_of_its_teachers_base(self, tmp_path):
        folder = write_teacher(tmp_path / "teacher", base_name="embedded", pretrained="/home/somebody/sam")
        assert of_teacher(folder) == {"teacher": "embedded", "fine_tuned": True, "method": "task_specific_kd"}

    def test_of_a_base_without_a_name_it_is_unknown(self, tmp_path):
        folder = write_teacher(tmp_path / "teacher", base_name=None)
        assert of_teacher(folder, method="own_kd") == {"fine_tuned": True, "method": "own_kd"}

    def test_a_missing_or_damaged_teacher_is_named(self, tmp_path):
        with pytest.raises(InputError, match="run finetune_teacher first"):
            of_teacher(tmp_path / "teacher")
        folder = write_teacher(tmp_path / "teacher")
        (folder / "teacher.json").write_text("{")
        with pytest.raises(InputError, match=r"teacher\.json is damaged"):
            of_teacher(folder)


class TestTraining:
    def test_from_random_weights_there_was_no_teacher(self):
        assert of_training(None, []) == {"teacher": None, "fine_tuned": False, "method": None, "initial": None}

    def test_teacher_and_method_are_those_of_the_weights_it_began_with(self, tmp_path):
        save_weights(network(), tmp_path / "distilled.pt", {**FACTS, "phantoms": True, "image_size": 64})
        found = of_training(tmp_path / "distilled.pt", [], image_size=32)
        assert found == {**FACTS, "initial": state_digest(network().state_dict()), "image_size": 32}

    def test_from_a_student_that_was_trained_before_too(self, tmp_path):
        save_weights(network(), tmp_path / "distilled.pt", FACTS)
        save_weights(network(1), tmp_path / "model.pt", of_training(tmp_path / "distilled.pt", []))
        assert of_training(tmp_path / "model.pt", []) == {**FACTS, "initial": state_digest(network(1).state_dict())}

    def test_from_unknown_weights_nothing_but_their_hash_is_known(self, tmp_path):
        save_weights(network(), tmp_path / "distilled.pt")
        assert of_training(tmp_path / "distilled.pt", []).keys() == {"initial"}

    def test_missing_weights_are_named(self, tmp_path):
        with pytest.raises(InputError, match=r"distilled\.pt does not exist"):
            of_training(tmp_path / "distilled.pt", [])

    def test_a_file_of_something_else_than_weights_is_named(self, tmp_path):
        torch.save({"model": network().state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
        with pytest.raises(InputError, match=r"initial_weights: .*checkpoint\.pt does not hold the weights"):
            of_training(tmp_path / "checkpoint.pt", [])

    @pytest.mark.parametrize("marked", [True, False])
    @pytest.mark.parametrize("nested", [True, False])
    def test_phantoms_are_known_wherever_they_lie_and_nothing_else_is_taken_for_them(self, marked, nested, tmp_path):
        place = tmp_path / ("DRIVE" if marked else "phantoms/DRIVE")
        place.mkdir(parents=True)
        if marked:
            mark_phantoms(place)
        image = str(place / "training/images/21_training.tif")
        assert of_training(None, [{"image": [image, image] if nested else image}])["phantoms"] is marked

    def test_of_images_that_are_not_read_from_files_nothing_is_known(self):
        assert "phantoms" not in of_training(None, [{"image": torch.zeros(1)}])

    def test_facts_are_as_they_will_be_read_and_others_are_refused_before_training(self, tmp_path):
        facts = of_training(None, [], classes={0: "background"}, image_size=(64, 32))
        save_weights(network(), tmp_path / "model.pt", facts)
        assert read_provenance(tmp_path / "model.pt") == facts
        with pytest.raises(TypeError, match="not JSON serializable"):
            of_training(None, [], folder=tmp_path)


@pytest.mark.parametrize(
    ("pretrained", "name"),
    [
        ("facebook/sam-vit-base", "facebook/sam-vit-base"),
        ("/home/somebody/medsam_vit_b.pth", "medsam_vit_b.pth"),
        ("~/medsam_vit_b.pth", "medsam_vit_b.pth"),
        ("../medsam_vit_b.pth", "medsam_vit_b.pth"),
        ("a/b/medsam_vit_b.pth", "medsam_vit_b.pth"),
    ],
)
def test_the_name_of_a_base_does_not_say_where_somebody_keeps_it(pretrained, name):
    assert base_name(pretrained) == name
