"""Affines that place voxels, and those that do not."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from integration import refused
from oriented import ORIENTATIONS, SHAPE, oblique_affine, registered, turned

from common.datasets.readers.affines import (
    check_affine,
    corner_distance,
    is_placed,
    turn_to_lps,
    turn_towards,
    voxel_sizes,
)

VALUES = np.random.default_rng(0).integers(0, 99, SHAPE)


def changed(**entries: float) -> np.ndarray:
    affine = oblique_affine()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "problem"),
    [
        (changed(_01=np.nan), "has NaN or infinite values"),
        (changed(_23=np.inf), "has NaN or infinite values"),
        (np.diag([0.0, 0, 0, 1]), "is all zeros"),
        (changed(_01=0, _11=0, _21=0), "gives axis 2 no length"),
        (oblique_affine() @ np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]), "lie in one plane"),
    ],
)
def test_an_affine_that_places_nothing_is_refused_by_name(affine, problem):
    with refused(f"scan.nii: its sform .*{problem}, so it does not say where voxels lie; correct the header"):
        check_affine("scan.nii", affine, "sform")


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_oblique_sheared_and_flat_voxels_are_sound(scale):
    check_affine("scan.nii", registered(oblique_affine()) @ np.diag([scale, scale, 50 * scale, 1]))


def test_voxel_sizes_are_nibabels():
    np.testing.assert_allclose(voxel_sizes(oblique_affine()), nibabel.affines.voxel_sizes(oblique_affine()))


def test_the_distance_is_that_of_the_corner_that_is_farthest_off():
    grown = np.diag([1.02, 1, 1, 1])  # 0.02 voxels more at each step along the first axis
    assert corner_distance(np.eye(4), grown, (11, 5, 3)) == pytest.approx(0.2)
    shift = np.eye(4)
    shift[:3, 3] = (0.3, 0.4, 0)
    assert corner_distance(oblique_affine(), oblique_affine() @ shift, SHAPE) == pytest.approx(0.5)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_any_orientation_is_turned_to_lps_and_onto_any_other(axes):
    image = turned(VALUES.astype(np.int16), oblique_affine(), axes)
    values, affine = turn_to_lps(np.asarray(image.dataobj), image.affine)
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_allclose(affine, oblique_affine(), atol=1e-9)
    other = turned(VALUES.astype(np.int16), oblique_affine(), "AIR")
    values, affine = turn_towards(np.asarray(image.dataobj), image.affine, other.affine)
    np.testing.assert_array_equal(values, other.dataobj)
    np.testing.assert_allclose(affine, other.affine, atol=1e-9)


def test_a_label_is_turned_onto_an_image_that_lies_between_two_orientations():
    """At 45 degrees nothing tells which axis runs to the left; label and image agree all the same."""
    steep = np.eye(4)
    steep[:3, :3] = nibabel.eulerangles.euler2mat(np.pi / 4) @ np.diag([-1.0, -1.0, 2.0])
    for order in ((1, 0, 2), (0, 1, 2)):
        mixed = steep[:, [*order, 3]]
        values, affine = turn_towards(VALUES.transpose(order), mixed, steep)
        np.testing.assert_array_equal(values, VALUES)
        np.testing.assert_allclose(affine, steep, atol=1e-9)


def test_the_identity_places_no_slice():
    assert is_placed(oblique_affine())
    assert not is_placed(np.eye(4))
    assert not is_placed(np.eye(3))
