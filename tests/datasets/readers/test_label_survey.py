"""What label files look like, before anybody has said how to read them."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from drawn_labels import (
    COLOURS,
    IDS,
    ON_PIXELS,
    SIZE,
    coco,
    in_colours,
    labelme,
    labelme_shape,
    via_project,
    via_region,
    write_json,
)
from PIL import Image, ImageFilter

from common.datasets.readers.label_stems import describe_stems
from common.datasets.readers.label_survey import describe_label_files

INSIDE = IDS > 0
PIXELS = SIZE[0] * SIZE[1]


def describe(folder, *pictures, suffix="png"):
    return describe_label_files([_save(folder / f"{place}.{suffix}", each) for place, each in enumerate(pictures)])


def _save(path, picture):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)
    return path


def test_class_ids_have_values_and_shares(tmp_path):
    survey = describe(tmp_path, IDS, IDS * (IDS == 1))
    assert survey.values == {0: pytest.approx(1 - 68 / (2 * PIXELS)), 1: 48 / (2 * PIXELS), 2: 20 / (2 * PIXELS)}
    assert survey.files_with == {0: 2, 1: 2, 2: 1}
    assert (survey.num_files, survey.num_read, survey.formats, survey.modes) == (2, 2, {"PNG": 2}, {"L": 2})
    assert survey.are_ids
    assert survey.is_grey
    assert survey.label_formats == ("ids",)


def test_zeros_and_ones_may_be_ids_or_black_and_white(tmp_path):
    assert describe(tmp_path, INSIDE.astype(np.uint8)).label_formats == ("ids", "black_white")
    assert describe(tmp_path, Image.fromarray(INSIDE)).label_formats == ("ids", "black_white")


def test_white_is_no_class_id(tmp_path):
    survey = describe(tmp_path, INSIDE * np.uint8(255))
    assert survey.label_formats == ("black_white",)
    assert not survey.are_ids
    assert survey.values == {0: pytest.approx(1 - 44 / PIXELS), 255: pytest.approx(44 / PIXELS)}
    in_colour = describe(tmp_path, np.dstack([INSIDE * np.uint8(255)] * 3))
    assert in_colour.values == survey.values
    assert in_colour.label_formats == ("black_white",)


def test_other_grey_values_fit_no_format_before_somebody_says_what_they_mean(tmp_path):
    survey = describe(tmp_path, 85 * IDS)
    assert list(survey.values) == [0, 85, 170]
    assert survey.label_formats == ()


def test_colours_are_counted_as_they_are_shown_most_frequent_first(tmp_path):
    survey = describe(tmp_path, in_colours(IDS))
    assert list(survey.colours) == [COLOURS["background"], COLOURS["wound"], COLOURS["scar"]]
    assert survey.colours[COLOURS["wound"]] == pytest.approx(24 / PIXELS)
    assert survey.num_colours == 3
    assert survey.files_with == dict.fromkeys(COLOURS.values(), 1)
    assert survey.values == {}
    assert not survey.is_grey
    assert survey.label_formats == ("colours",)


def test_palettes_have_both_indices_and_colours(tmp_path):
    picture = Image.fromarray(IDS).convert("P")
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    survey = describe(tmp_path, picture)
    assert list(survey.values) == [0, 1, 2]
    assert list(survey.colours) == [(0, 0, 0), (200, 0, 0), (0, 200, 0)]
    assert survey.has_palette
    assert survey.label_formats == ("ids", "colours")
    assert survey.shown == {0: {(0, 0, 0)}, 1: {(200, 0, 0)}, 2: {(0, 200, 0)}}


def test_smoothed_borders_of_colours_fit_no_format(tmp_path):
    big = Image.fromarray(in_colours(IDS)).resize((320, 240), Image.Resampling.BILINEAR)
    survey = describe(tmp_path, big)
    assert survey.num_colours > 32
    assert len(survey.colours) == 32
    assert survey.label_formats == ()


def test_jpegs_are_named_and_are_no_ids(tmp_path):
    big = np.kron(INSIDE, np.ones((8, 8))).astype(np.uint8)
    survey = describe(tmp_path, big * 255, suffix="jpg")
    assert survey.lossy == [str(tmp_path / "0.jpg")]
    assert survey.label_formats == ("black_white",)
    blurred = Image.fromarray(big * 255).filter(ImageFilter.GaussianBlur(3))
    assert describe(tmp_path, blurred, suffix="jpg").label_formats == ()
    assert not describe(tmp_path, 0 * big, suffix="jpg").are_ids


def test_files_that_cannot_be_read_are_faults(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    survey = describe_label_files([tmp_path / "broken.png", _save(tmp_path / "a.png", IDS)])
    assert (survey.num_files, survey.num_read) == (2, 1)
    assert len(survey.faults) == 1
    assert "broken.png: cannot be read as an image" in survey.faults[0]


def test_no_files_are_nothing(tmp_path):
    survey = describe_label_files([])
    assert (survey.num_files, survey.num_read, survey.label_formats) == (0, 0, ())


def test_of_many_files_some_are_read_from_first_to_last(tmp_path):
    paths = [_save(tmp_path / f"{place}.png", IDS * (place == 99)) for place in range(100)]
    survey = describe_label_files(paths, most=5)
    assert (survey.num_files, survey.num_read) == (100, 5)
    assert survey.files_with[2] == 1


def test_volumes_have_values(tmp_path):
    for name, values, formats in (
        ("ids", IDS, ("ids",)),
        ("white", INSIDE * np.uint8(255), ("black_white",)),
        ("soft", INSIDE * np.float32(0.4), ()),
    ):
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values[..., None], np.eye(4)), path)
        survey = describe_label_files([path])
        assert survey.formats == {"NIfTI or NRRD": 1}
        assert survey.label_formats == formats


def test_polygons_have_names(tmp_path):
    shapes = [labelme_shape(name, points) for name, points in ON_PIXELS.items()]
    files = [write_json(tmp_path / f"{count}.json", labelme(shapes[:count], f"{count}.png")) for count in (1, 2)]
    survey = describe_label_files(files)
    assert (survey.formats, survey.names, survey.num_images) == ({"labelme": 2}, {"wound": 2, "scar": 1}, 2)
    assert survey.label_formats == ("polygons",)
    many = write_json(
        tmp_path / "coco.json", coco([{"category": "scar", "segmentation": [[1, 1, 5, 1, 5, 5]]}], ("a", "b"))
    )
    assert describe_label_files([many]).names == {"scar": 1}
    via = via_project({"a": [via_region(ON_PIXELS["wound"]), via_region(ON_PIXELS["scar"], kind="scar")], "b": []})
    survey = describe_label_files([write_json(tmp_path / "via.json", via)])
    assert (survey.names, survey.unnamed, survey.num_images) == ({"scar": 1}, 1, 2)


def test_stems_of_labels_are_compared_with_the_names_of_images(tmp_path):
    photos, labels = tmp_path / "photos", tmp_path / "labels"
    images = [photos / name for name in ("a.jpg", "a_2.jpg", "Ann/b.jpg")]
    files = ["a_mask.png", "a_mask_1.png", "a_2_mask.png", "Ann/b_mask.nii.gz", "x.png", "scar/a.png", "scar/b.png"]
    assert describe_stems(images, [labels / name for name in files], labels) == {
        "_mask": 3,
        "_mask_1": 1,
        "?": 1,
        "scar/": 2,
    }


def test_names_do_not_end_within_a_number(tmp_path):
    images = [tmp_path / "photos" / f"p{number}.jpg" for number in (0, 1, 2)]
    labels = [tmp_path / "masks" / f"p{number}.png" for number in (0, 1, 2, 10, 11)]
    assert describe_stems(images, labels, tmp_path / "masks") == {"": 3, "?": 2}


def test_names_of_labels_may_be_in_the_other_form_of_unicode(tmp_path):
    assert describe_stems([tmp_path / "h\u00e9.png"], [tmp_path / "he\u0301_mask.png"], tmp_path) == {"_mask": 1}
