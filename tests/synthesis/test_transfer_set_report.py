"""What the reports say of a transfer set."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from textures import small_textures
from transfer_sets import Brightness, build, make_training_images, read_report, read_rows

from common.pictures.sheets import pictures_of
from common.synthesis.pictures import to_pictures
from common.synthesis.training_images import distances_between_groups


def test_report_and_table_agree(tmp_path, pipeline, draw, caplog):
    known, new = small_textures(6), small_textures(5, seed=1)
    draw(torch.cat([known[:1], new]))
    with caplog.at_level(logging.INFO):
        build(pipeline, tmp_path / "transfer", make_training_images(known), num_images=5, teacher=Brightness())
    report, rows = read_report(tmp_path / "transfer"), read_rows(tmp_path / "transfer")
    assert len(rows) == report["drawn"] == 6
    for key, part in (("distance", report["distance"]["samples"]), ("confidence", report["confidence"])):
        values = [float(row[key]) for row in rows]
        assert part["median"] == pytest.approx(np.median(values), abs=1e-4)
        assert (part["least"], part["most"]) == pytest.approx((min(values), max(values)), abs=1e-4)
    between = distances_between_groups(make_training_images(known))
    assert report["distance"]["training_images"]["median"] == pytest.approx(np.median(between), abs=1e-5)
    for row in rows:
        assert (row["dropped"] == "copy") == (float(row["distance"]) < 0.5 * float(row["rival"]))
    assert report["settings"]["num_images"] == 5
    assert report["diversity"]["images"] == 5
    assert 1 < report["diversity"]["samples"] <= 5
    assert "5 of 6 samples kept; dropped as copies of training images 1" in caplog.text
    assert f"between training images {report['distance']['training_images']['median']:.3f}" in caplog.text
    varied = [report["diversity"][name] for name in ("samples", "training_images")]
    assert "to 5 for as many with nothing in common: samples {:.1f}, training images {:.1f} (".format(*varied) in (
        caplog.text
    )
    sure = [report["confidence"][name] for name in ("median", "5 %")]
    assert "in a sample, from 0 to 1: median {:.3f}, one in twenty has less than {:.3f}\n".format(*sure) in caplog.text


def test_how_real_samples_are_is_said_beside_what_training_images_are(tmp_path, pipeline, draw, caplog):
    draw(small_textures(12, seed=1))
    with caplog.at_level(logging.INFO):
        build(pipeline, tmp_path / "transfer", make_training_images(small_textures(12)), num_images=12)
    report, rows = read_report(tmp_path / "transfer"), read_rows(tmp_path / "transfer")
    found, mark = report["realism"]["all_samples"], report["realism"]["training_images"]
    assert min(found["precision"], found["recall"]) > 0.5
    assert report["realism"]["kept"] == found
    assert f"{found['precision']:.0%} look like training images ({mark['precision']:.0%} among these)" in caplog.text
    assert f"{found['recall']:.0%} of the variety of training images ({mark['recall']:.0%}" in caplog.text
    strange = [float(row["strangeness"]) for row in rows]
    assert report["strangeness"]["median"] == pytest.approx(np.median(strange), abs=1e-4)
    assert f"median {report['strangeness']['median']:.2f}, one in twenty more than" in caplog.text


def test_the_contact_sheet_shows_the_nearest_then_the_most_middling_and_least_real(tmp_path, pipeline, draw):
    noise = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    draw(torch.cat([noise, small_textures(38, seed=1)]))
    build(pipeline, tmp_path / "transfer", make_training_images(small_textures(8)), num_images=40)
    with Image.open(tmp_path / "transfer/contact_sheet.png") as sheet:
        shown = [caption.split(": ", 1) for caption in pictures_of(sheet)]
    reasons = [why.split(";")[0].removeprefix("copy, ") for _, why in shown]
    assert all(each.endswith(" away") for each in reasons[:16])
    groups = ["most real"] * 4 + ["middling"] * 4 + ["least real"] * 4
    assert [each.split(",")[0] for each in reasons[16:]] == groups
    assert len({number for number, _ in shown}) == 28
    rows = read_rows(tmp_path / "transfer")
    strange = [float(rows[int(number) - 1]["strangeness"]) for number, _ in shown[16:]]
    assert strange == sorted(strange)
    assert strange[-1] == max(float(row["strangeness"]) for row in rows)


def test_the_most_similar_pairs_come_first_on_the_contact_sheet(tmp_path, pipeline, draw):
    known, new = small_textures(4), small_textures(2, seed=1)
    lopsided = known[1].clone()
    draw(torch.cat([new[:1], lopsided[None].transpose(-2, -1), new[1:]]))
    build(pipeline, tmp_path / "transfer", make_training_images(known), num_images=2, batch_size=2)
    with Image.open(tmp_path / "transfer/contact_sheet.png") as sheet:
        first = np.asarray(next(iter(pictures_of(sheet).values())).convert("L"), float)
    left, right = first[:, :128], first[:, 128:]
    seen = to_pictures(lopsided[None].transpose(-2, -1))[0].resize((128, 128), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(left, np.asarray(seen, float), atol=1)
    # The training image is turned as its copy is, so that the two can be compared.
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.95


def test_without_a_teacher_nothing_is_said_of_it(tmp_path, pipeline, caplog):
    with caplog.at_level(logging.INFO):
        build(pipeline, tmp_path / "transfer", make_training_images(small_textures(3)), num_images=2)
    assert read_report(tmp_path / "transfer")["confidence"] is None
    assert "confidence in" not in caplog.text
    assert {(row["confidence"], row["foreground"]) for row in read_rows(tmp_path / "transfer")} == {("", "")}
