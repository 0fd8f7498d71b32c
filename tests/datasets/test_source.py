"""What the source of a folder dataset may say."""

from __future__ import annotations

import json

import pytest
import yaml

from common.datasets.source import Source
from common.errors import InputError

PLAIN = {"images": "photos", "labels": "masks", "classes": ["background", "wound", "skin"]}
COLOURS = {"label_format": "colours", "colours": {"wound": [255, 0, 0], "skin": [0, 255, 0]}}


def test_keys_that_are_left_out_have_their_defaults():
    source = Source.from_config(PLAIN)
    assert source.kind == "pictures"
    assert source.channels == 3
    assert source.label_format == "ids"
    assert source.image_suffix == source.label_suffix == ""
    assert source.patient is source.split is source.stratum is source.field_of_view is None
    assert source.classes == ("background", "wound", "skin")
    assert source.id_of("skin") == 2


def test_null_is_the_default():
    nothing = dict.fromkeys(("kind", "channels", "image_suffix", "label_format", "colours", "patient"))
    assert Source.from_config({**PLAIN, **nothing}) == Source.from_config(PLAIN)


@pytest.mark.parametrize(
    "own", [{}, COLOURS, {"values": {85: 1, 170: 2}}, {"patient": "^(P[0-9]+)_", "stratum": "folder", "channels": 1}]
)
@pytest.mark.parametrize(
    "through", [lambda config: json.loads(json.dumps(config)), lambda c: yaml.safe_load(yaml.dump(c))]
)
def test_what_it_writes_it_reads(own, through):
    source = Source.from_config({**PLAIN, **own})
    assert through(source.to_config()) == source.to_config()
    assert Source.from_config(through(source.to_config())) == source
    assert Source.from_config(source) is source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "source::images: is missing"),
        ({"classes": None}, "source::classes: is missing"),
        ({"classes": ["wound"]}, "source::classes: expected background and one or more structures"),
        ({"classes": ["a", "b", "b"]}, "source::classes: every class once"),
        ({"classes": ["background", "a::b"]}, "source::classes: 'a::b' means something else in a config"),
        ({"classes": "background,wound"}, "source::classes: expected background and one or more"),
        ({"imags": "x"}, "source::imags: there is no such key; the keys are images, classes, labels"),
        ({"images": "/photos"}, "source::images: '/photos' must lie in dataset_dir"),
        ({"labels": "../masks"}, r"source::labels: '\.\./masks' must lie in dataset_dir"),
        ({"labels": 3}, "source::labels: expected a text, got 3"),
        ({"labels": None}, "source::labels: is missing; give the folder of the labels, or label_suffix"),
        ({"kind": "films"}, "source::kind: expected pictures, volumes, got 'films'"),
        ({"channels": 4}, "source::channels: expected 1, 3, got 4"),
        ({"channels": True}, "source::channels: expected 1, 3, got True"),
        ({"kind": "volumes"}, "source::channels: volumes have 1 channel, got 3"),
        ({"label_format": "masks"}, "source::label_format: expected ids, black_white, colours, file_per_class, polyg"),
        ({"label_format": "black_white"}, "source::label_format: black_white has two classes, source::classes has 3"),
        ({"label_format": "colours"}, "source::colours: wound is missing; give a colour for each class"),
        ({"label_format": "file_per_class"}, "source::class_files: wound is missing"),
        ({**COLOURS, "label_format": "ids"}, "source::colours: is for label_format colours, not ids"),
        ({**COLOURS, "colours": {"wound": [1, 2, 3], "skin": [1, 2, 3]}}, "wound and skin have one colour"),
        ({**COLOURS, "colours": {"wound": [1, 2, 300], "skin": [1, 2, 3]}}, "wound: expected three numbers from 0 to"),
        ({**COLOURS, "colours": {"wound": [1, 2, 3], "bone": [0, 0, 0]}}, "source::colours: 'bone' is no class"),
        ({"values": {85: 3}}, "source::values: 85 has class 3; expected class ids from 0 to 2"),
        ({"values": {"dark": 1}}, "source::values: expected class ids by grey value"),
        ({"patient": "P"}, "source::patient: 'P' is no regular expression with a group"),
        ({"patient": "(P"}, "source::patient: '\\(P' is no regular expression \\("),
        ({"patient": "(P)(Q)"}, "source::patient: .* has 2 groups"),
        ({"split": "fold"}, "source::split: 'fold' would be a column, but source::images is no datalist"),
        ({"stratum": "kind"}, "source::stratum: 'kind' would be a column"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(InputError, match=message) as caught:
        Source.from_config({**PLAIN, **change})
    assert "\n" not in str(caught.value)


def test_two_classes_in_the_same_files_are_refused():
    files = {"label_format": "file_per_class", "class_files": {"wound": "_a", "skin": "_a"}}
    with pytest.raises(InputError, match="source::class_files: wound: '_a' is that of skin, too"):
        Source.from_config({**PLAIN, **files})


def test_a_datalist_has_columns():
    source = Source.from_config({"images": "wounds.CSV", "classes": ["a", "b"], "patient": "who", "split": "fold"})
    assert source.is_datalist
    assert not Source.from_config(PLAIN).is_datalist


def test_no_mapping_is_refused():
    with pytest.raises(InputError, match="source: expected keys and values"):
        Source.from_config(["photos"])


def test_volumes_have_a_class_of_their_own():
    assert Source.from_config(PLAIN).dataset_class == "common.datasets.folder.FolderDataset"
    volumes = Source.from_config({**PLAIN, "kind": "volumes", "channels": 1})
    assert volumes.dataset_class == "common.datasets.folder_volumes.FolderVolumeDataset"
