"""Labels that are outlines are told from vessels, layers and rings."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from common.creation.options import Options
from common.creation.structures import measure
from common.creation.telling import describe_classes
from common.datasets.folder import FolderDataset
from common.datasets.outlines import Outlined, is_outline
from common.datasets.phantoms.fundus import draw_fundus

CLASSES = ("background", "wound")


def disc(radius: int = 60, size: int = 160) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - size // 2) ** 2 + (columns - size // 2) ** 2 <= radius**2


def line_of(mask: np.ndarray, width: int) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, iterations=width)


def outlined(masks: list[np.ndarray]) -> list[str]:
    found = Outlined(CLASSES)
    for index, mask in enumerate(masks):
        found.add(f"{index}.png", mask.astype(np.uint8))
    return found.remarks()


@pytest.mark.parametrize("width", [1, 3, 6])
def test_outlines_of_most_labels_are_told(width):
    (line,) = outlined([line_of(disc(radius), width) for radius in (60, 65, 70)] + [disc()])
    assert line.startswith("only the outline of wound is drawn in 3 of 4 labels that have it (0.png, 1.png, 2.png): ")


def test_outlines_of_large_pictures_are_seen():
    assert is_outline(line_of(disc(900, 2000), 1), ~disc(900, 2000) | ~line_of(disc(900, 2000), 1))


def test_several_lesions_are_seen():
    mask = np.block([[line_of(disc(), 2), line_of(disc(40), 1)], [np.zeros((160, 160), bool), line_of(disc(), 1)]])
    assert is_outline(mask, ~mask)


@pytest.mark.parametrize("mask", [disc(), line_of(disc(), 15), np.eye(160, dtype=bool)])
def test_areas_thick_rings_and_lines_are_none(mask):
    assert outlined([mask] * 5) == []


def test_a_single_ring_may_be_one():
    assert outlined([line_of(disc(), 1), line_of(disc(), 1), disc(), disc(), disc()]) == []
    assert outlined([line_of(disc(), 1)]) == []


def test_vessels_are_none():
    for seed in range(3):
        vessels = np.asarray(draw_fundus(np.random.default_rng(seed), (584, 565))[1]) > 0
        assert 0.02 < vessels.mean() < 0.3
        assert not is_outline(vessels, ~vessels)


def test_a_mesh_is_none():
    mesh = np.zeros((200, 200), bool)
    mesh[20:181:20, 20:181] = mesh[20:181, 20:181:20] = True
    assert not is_outline(mesh, ~mesh)


def test_a_layer_around_another_structure_is_none():
    ids = disc().astype(np.uint8)
    ids[line_of(disc(), 2)] = 2
    assert not is_outline(ids == 2, ids == 0)


def test_check_and_create_ask_whether_the_inside_is_meant(tmp_path):
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(4):
        Image.new("RGB", (90, 80), (index, 9, 9)).save(tmp_path / "photos" / f"{index}.png")
        mask = Image.new("1", (90, 80))
        ImageDraw.Draw(mask).ellipse((10 + index, 10, 70, 65), outline=1)
        mask.save(tmp_path / "masks" / f"{index}.png")
    source = {"images": "photos", "labels": "masks", "classes": list(CLASSES), "label_format": "black_white"}
    dataset = FolderDataset(root=tmp_path, source={**source, "channels": 3}, num_validation=1)
    dataset.check()
    (note,) = [each for each in dataset.notes if "outline" in each]
    assert "only the outline of wound is drawn in 4 of 4 labels" in note
    structures = measure([dataset.load(entry) for each in dataset.all_entries().values() for entry in each], CLASSES)
    (row,) = describe_classes(Options(name="x", images=tmp_path, classes=CLASSES), structures)
    assert row.why.endswith("in 4 only its outline is drawn: is the inside meant? Fill it")
