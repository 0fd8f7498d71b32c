"""``list`` says what there is to give to the other commands."""

from __future__ import annotations

import re

import pytest
import yaml
from integration import BUNDLE

from common.commands.config_keys import head_of, read_keys
from common.commands.listing import list_contents
from common.configs.arguments import UsageError
from common.datasets.registry import DATASETS
from common.distillation.methods import METHODS
from common.errors import InputError
from common.pipeline.stages import STAGES


@pytest.fixture
def rows(monkeypatch, capsys):
    """What a list prints below its head: its lines, with one blank between words."""
    monkeypatch.setenv("COLUMNS", "1000")

    def read(*what: str) -> list[str]:
        list_contents(*what)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]

    return read


def test_without_a_name_it_says_which_lists_there_are(rows):
    names = [row.split()[0] for row in rows()]
    assert names == ["bundles", "stages", "keys", "overlays", "datasets", "methods", "teachers"]


@pytest.mark.parametrize(
    ("what", "head"),
    [
        ([], ["LIST", "WHAT IT HAS"]),
        (["methods"], ["METHOD", "WHAT IT IS"]),
        (["stages"], ["STAGE", "WRITES", "WHAT IT DOES"]),
        (["keys", BUNDLE], ["KEY", "VALUE", "WHAT IT IS"]),
    ],
)
def test_a_head_says_what_the_columns_are(monkeypatch, capsys, what, head):
    monkeypatch.setenv("COLUMNS", "1000")
    list_contents(*what)
    first, *others = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", first) == head
    last = first.index(head[-1])
    assert {line[last - 1 : last] for line in others} <= {" ", ""}
    assert any(line[last : last + 1].strip() for line in others)


def test_registries_are_listed_with_a_line_for_each_entry(rows):
    assert [row.split()[0] for row in rows("datasets")] == list(DATASETS)
    assert any(row.startswith("ph2 PH2: skin lesions in dermoscopic images") for row in rows("datasets"))
    methods = rows("methods")
    assert [row.split()[0] for row in methods] == list(METHODS)
    assert methods[0].startswith("task_specific_kd task-specific KD, the default; stages: finetune_teacher, ")
    assert rows("teachers")[0].startswith("--pretrained embedded the stand-in teacher")
    assert any(row.startswith("--pretrained lite_medsam LiteMedSAM's published weights") for row in rows("teachers"))


def test_bundles_are_those_in_the_folder_and_those_that_create_writes(rows, monkeypatch):
    monkeypatch.chdir(BUNDLE.parents[1])
    listed = rows("bundles")
    assert "bundles/drive_segmentation Segmentation of retinal vessels in colour fundus photographs" in listed
    assert any(row.startswith("create drive FOLDER writes drive_segmentation: Segmentation") for row in listed)


@pytest.mark.parametrize("bundle", [(), (BUNDLE,)])
def test_stages_are_listed_in_order_with_what_they_do_and_leave(rows, bundle):
    listed = rows("stages", *bundle)
    assert [row.split()[:2] for row in listed] == [list(each) for each in STAGES.items()]
    assert "Fine-tune the distilled student on the labelled images" in listed[4]


def test_overlays_are_listed(rows):
    assert [row.split()[0] for row in rows("overlays", BUNDLE)] == ["cpu", "demo", "multi_gpu"]
    assert rows("overlays", BUNDLE) == rows("overlays")


def test_keys_of_a_stage_are_listed_with_values_and_comments(rows):
    listed = rows("keys", BUNDLE, "train")
    config = yaml.safe_load((BUNDLE / "configs" / "train.yaml").read_text())
    special = {"imports", "stage", "initialize", "run", "finalize"}
    assert [row.split()[0] for row in listed] == [key for key in config if key not in special]
    assert "num_validation 2 training images held back to choose the best weights" in listed
    assert "epochs 60" in listed


def test_keys_of_all_stages_are_listed_with_the_stages_that_have_them(rows):
    listed = rows("keys", BUNDLE)
    assert "split_seed 0 finetune_teacher, train_diffusion, synthesize, distill, train, evaluate" in listed
    assert "bundle_root . all stages" in listed
    assert any(row.startswith("num_inference_steps 20 synthesize") for row in listed)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (["wishes"], "there is no list of 'wishes'; there are bundles, stages"),
        (["keys"], "--bundle is missing: give the folder of the bundle"),
        (["methods", BUNDLE], "--bundle: this list is of no bundle; leave it out"),
        (["stages", BUNDLE, "train"], "--stage: this list is of no stage; leave it out"),
    ],
)
def test_what_cannot_be_listed_is_refused(what, said):
    with pytest.raises(UsageError, match=said):
        list_contents(*what)


def test_bundles_and_stages_that_do_not_exist_are_named(tmp_path):
    with pytest.raises(InputError, match="is not a bundle: expected a folder with configs/"):
        list_contents("keys", tmp_path)
    with pytest.raises(InputError, match="has no stage destill; it has finetune_teacher, "):
        list_contents("keys", BUNDLE, "destill")


def test_values_and_comments_of_a_config(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(
        "# Train it.\n# Twice.\n#\n# Needs: much\n\nimports:\n- $import os\n"
        "epochs: 3      # as many as it takes\nname: 'a # b'\nloss: {a: 1,\n  b: 2}  # flow\n"
        "net:\n  x: 1  # in it\n  y: 2\n"
    )
    assert head_of(path.read_text()) == "Train it. Twice."
    assert [tuple(key) for key in read_keys(path)] == [
        ("epochs", "3", "as many as it takes"),
        ("name", "'a # b'", ""),
        ("loss", "{a: 1, b: 2}", "flow"),
        ("net", "{x, y}", ""),
    ]
    path.write_text("a: [1\n")
    with pytest.raises(InputError, match=r"train\.yaml cannot be read as YAML"):
        read_keys(path)
