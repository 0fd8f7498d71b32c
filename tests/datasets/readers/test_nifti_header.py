"""Headers of NIfTI files: what counts, and what a user is told."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from integration import refused
from oriented import SHAPE, oblique_affine, registered, save

from common.datasets.readers.nifti_header import affine_of, geometry_remark, open_nifti

VALUES = np.zeros(SHAPE, np.int16)
QFORM_CODE, SFORM_CODE, PIXDIM, QUATERNION, SROW, UNITS = 252, 254, 80, 256, 280, 123  # offsets in NIfTI-1


def write(path: Path, header: str = "both", affine: np.ndarray | None = None, **edits: list[float]) -> Path:
    """Save a volume, and overwrite fields of its header."""
    save(nibabel.Nifti1Image(VALUES, oblique_affine() if affine is None else affine), path, header)
    raw = bytearray(path.read_bytes())
    for name, values in edits.items():
        kind = {"QFORM_CODE": "h", "SFORM_CODE": "h", "UNITS": "B"}.get(name, "f")
        struct.pack_into(f"<{len(values)}{kind}", raw, globals()[name], *values)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("header", ["both", "sform", "qform", "different", "neither"])
def test_the_affine_is_nibabels(header, tmp_path):
    path = write(tmp_path / "scan.nii", header)
    affine = affine_of(path, open_nifti(path))
    np.testing.assert_array_equal(affine, nibabel.load(path).affine)
    if header != "neither":
        np.testing.assert_allclose(affine, oblique_affine(), atol=1e-4)


@pytest.mark.parametrize(
    ("header", "edits", "problem"),
    [
        ("both", {"SROW": [np.nan] * 12}, "its sform has NaN or infinite values"),
        ("both", {"SROW": [0] * 12}, "its sform is all zeros"),
        ("sform", {"SROW": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]}, "its sform gives axis 3 no length"),
        ("qform", {"PIXDIM": [np.nan] * 3}, "its qform has NaN or infinite values"),
        ("qform", {"QUATERNION": [np.nan] * 3}, "its qform has NaN or infinite values"),
        ("qform", {"QUATERNION": [1, 1, 1]}, "cannot be read as a NIfTI file, copy or convert it again"),
        ("qform", {"PIXDIM": [1, 0, 1]}, r"voxels have no length along axis 2 \(pixdim\), and there is no sform"),
        ("neither", {"PIXDIM": [0, 0, 0]}, "voxels have no length along axis 1"),
        ("neither", {"PIXDIM": [1, np.inf, 1]}, "its pixdim has NaN or infinite values"),
    ],
)
def test_a_header_that_places_nothing_is_refused(header, edits, problem, tmp_path):
    path = write(tmp_path / "scan.nii", header, **edits)
    with refused(f"scan.nii: .*({problem})"):
        affine_of(path, open_nifti(path))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
def test_nothing_is_remarked_where_all_agrees(name, tmp_path):
    for header in ("both", "qform"):
        image = nibabel.Nifti1Image(VALUES, oblique_affine())
        if header == "both":
            image.set_qform(oblique_affine(), 1)
        nibabel.save(image, tmp_path / name)
        assert geometry_remark(tmp_path / name) is None


@pytest.mark.parametrize(
    ("header", "edits", "remark"),
    [
        ("sform", {}, "voxels measure 1.5 x 1.25 x 4 mm by the sform and 1 x 1 x 1 by pixdim: the sform counts"),
        ("both", {"PIXDIM": [1.52, 1.25, 4]}, "and 1.52 x 1.25 x 4 by pixdim"),
        ("different", {}, "by pixdim, and sform and qform are up to .* voxels apart: the sform counts"),
        ("both", {"QUATERNION": [1, 1, 1]}, "the qform is damaged: the sform counts"),
        ("both", {"QUATERNION": [np.nan] * 3}, "the qform is damaged: the sform counts"),
        ("neither", {}, "voxel sizes alone .*: position and orientation are made up"),
        ("both", {"UNITS": [3]}, "lengths are in micrometres: they are read as millimetres"),
    ],
)
def test_a_header_that_contradicts_itself_is_named(header, edits, remark, tmp_path):
    path = write(tmp_path / "scan.nii", header, **edits)
    affine_of(path, open_nifti(path))
    found = geometry_remark(path)
    assert found is not None
    assert found.startswith(f"{path}: ")
    assert re.search(remark, found), found


def test_what_registration_rounds_is_not_named(tmp_path):
    write(tmp_path / "scan.nii", "both", PIXDIM=[1.505, 1.25, 4.02])
    assert geometry_remark(tmp_path / "scan.nii") is None


def test_the_qform_of_a_sheared_volume_is_named(tmp_path):
    path = write(tmp_path / "scan.nii", "both", registered(oblique_affine()))
    assert "sform and qform are up to" in geometry_remark(path)


def test_a_damaged_or_missing_file_is_named(tmp_path):
    for content, problem in ((b"", "the file is empty"), (b"x" * 400, "cannot be read as a NIfTI file")):
        (tmp_path / "scan.nii").write_bytes(content)
        with refused(f"scan.nii: {problem}"):
            open_nifti(tmp_path / "scan.nii")
    with refused("nowhere.nii: no such file"):
        open_nifti(tmp_path / "nowhere.nii")
