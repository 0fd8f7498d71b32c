"""NRRD files lie where their headers say, in the axes that these name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from integration import refused
from oriented import ORIENTATIONS, SHAPE, oblique_affine, turned

from common.datasets.readers.nifti import read_volume

VALUES = np.random.default_rng(0).integers(0, 5, SHAPE).astype(np.uint8)
SIGNS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "RAS": (1, 1, 1),
    "LPS": (-1, -1, 1),
}


def write(path: Path, values: np.ndarray, affine: np.ndarray | None, space: str = "left-posterior-superior") -> Path:
    """Write an NRRD file by the letter of its format, without pynrrd: https://teem.sourceforge.net/nrrd/format.html."""
    fields = ["NRRD0004", "type: uchar", f"dimension: {values.ndim}", "encoding: raw"]
    fields.append(f"sizes: {' '.join(map(str, values.shape))}")
    if affine is not None:
        there = np.diag([*SIGNS.get(space, (1, 1, 1)), 1]) @ affine
        vectors = [f"({','.join(map(repr, vector.tolist()))})" for vector in there[:3].T]
        fields += [f"space: {space}", f"space directions: {' '.join(vectors[:3])}", f"space origin: {vectors[3]}"]
    path.write_bytes("\n".join(fields).encode() + b"\n\n" + values.tobytes(order="F"))
    return path


@pytest.mark.parametrize("space", SIGNS)
def test_a_label_lies_on_its_image_in_any_orientation_and_space(space, tmp_path):
    for axes in ORIENTATIONS:
        label = turned(VALUES, oblique_affine(), axes)
        path = write(tmp_path / f"{axes}.nrrd", np.asarray(label.dataobj), label.affine, space)
        volume = read_volume(path)
        np.testing.assert_allclose(volume.affine, label.affine, atol=1e-9)
        np.testing.assert_array_equal(volume.on_image("scan", oblique_affine(), SHAPE).values, VALUES)


def test_a_file_that_does_not_say_where_it_lies_is_refused_for_a_volume_alone(tmp_path):
    volume = read_volume(write(tmp_path / "bare.nrrd", VALUES, None))
    np.testing.assert_array_equal(volume.values, VALUES)
    with refused(r"bare\.nrrd: its header has no space, space directions, space origin"):
        volume.in_lps()
    np.testing.assert_array_equal(
        read_volume(write(tmp_path / "flat.nrrd", VALUES[..., 0], None)).values, VALUES[..., 0]
    )


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "left-posterior-superior-time"])
def test_a_space_that_is_not_of_a_patient_is_refused(space, tmp_path):
    volume = read_volume(write(tmp_path / "label.nrrd", VALUES, oblique_affine(), space))
    with refused(rf"label\.nrrd: .*{space}; expected right-anterior-superior"):
        volume.on_image("scan", oblique_affine(), SHAPE)


def test_directions_that_place_nothing_are_refused(tmp_path):
    volume = read_volume(write(tmp_path / "label.nrrd", VALUES, np.diag([1.0, 1, 0, 1])))
    with refused(r"label\.nrrd: its space directions gives axis 3 no length"):
        volume.in_lps()
