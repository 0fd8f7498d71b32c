"""Masks of volumes lie where the volumes do, as NIfTI and as DICOM Segmentation."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_slices import edit, write_slice
from integration import refused
from oriented import SHAPE, oblique_affine, save, turned
from pydicom.uid import generate_uid
from tiny_onnx import write_onnx
from tiny_weights import facts_of, write_weights

from common.datasets.readers.dicom_series import read_series
from common.prediction import dicom_seg
from common.prediction.predict import predict

FACTS = {
    "sees": "slices",
    "image_size": 16,
    "in_channels": 1,
    "classes": ["background", "liver"],
    "intensity": {"window": [0, 100]},
}
THICKNESS = 3


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_onnx(tmp_path / "model.onnx", FACTS)


def organ(shape=SHAPE) -> np.ndarray:
    """Return values of a volume in LPS, with a bright block away from its middle, in some slices only."""
    values = np.full(shape, 10, np.float32)
    values[1:8, 5:, 1:3] = 95
    return values


@pytest.fixture
def series(tmp_path) -> Path:
    """A DICOM series of five slices, stored from the head down."""
    folder = tmp_path / "scans" / "series"
    folder.mkdir(parents=True)
    named = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    values = organ()
    for number in range(SHAPE[2]):
        write_slice(
            folder / f"{number}.dcm",
            values[..., SHAPE[2] - 1 - number].T.astype("<u2").tobytes(),
            shape=(SHAPE[1], SHAPE[0]),
            ImagePositionPatient=[-5, 7, 40 - THICKNESS * number],
            PixelSpacing=[2, 1.5],
            SliceThickness=THICKNESS,
            SOPInstanceUID=generate_uid(),
            **named,
        )
    return folder


def oblique_series(folder: Path) -> Path:
    """Write an MR series that lies tilted in the patient, its names in another order than its slices."""
    folder.mkdir()
    named = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    to_lps = np.diag([-1, -1, 1, 1]) @ oblique_affine()
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    directions = (to_lps[:3, :2] / spacing[:2]).T.ravel()
    values = np.random.default_rng(0).integers(0, 4000, (4, 6, 8)).repeat(6, 1).repeat(6, 2).astype("<u2")
    for number, pixels in enumerate(values):
        write_slice(
            folder / f"{3 * number % 5}.dcm",
            pixels.tobytes(),
            shape=pixels.shape,
            Modality="MR",
            ImagePositionPatient=[f"{each:.9g}" for each in (to_lps @ [0, 0, number, 1])[:3]],
            ImageOrientationPatient=[f"{each:.9g}" for each in directions],
            PixelSpacing=[spacing[1], spacing[0]],
            SliceThickness=spacing[2],
            SOPInstanceUID=generate_uid(),
            **named,
        )
    return folder


def pixels_in_patient(found: highdicom.seg.Segmentation) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each frame's segment, and where its pixels are, in millimetres in RAS, by the frame's own headers."""
    shared = found.SharedFunctionalGroupsSequence[0]
    directions = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, pixels in zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array, strict=True):
        first = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(pixels)
        lps = first + np.outer(columns * between_columns, directions[0]) + np.outer(rows * between_rows, directions[1])
        yield frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber, lps * [-1, -1, 1]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SRA", "PIR"])
def test_however_the_axes_of_a_volume_run_its_mask_lies_on_it(weights, tmp_path, axes):
    (tmp_path / "in").mkdir()
    save(turned(organ(), oblique_affine(), axes), tmp_path / "in" / "a.nii")
    predict(tmp_path / "in", weights, tmp_path / "out", table=True, overlays=True, probabilities=True)
    image, mask = nibabel.load(tmp_path / "in" / "a.nii"), nibabel.load(tmp_path / "out" / "a_mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    found = np.asarray(mask.dataobj)
    assert found.dtype == np.uint8
    bright = np.asarray(image.dataobj) > 50
    assert ((found == 1) == bright).mean() > 0.95
    assert 2 * ((found == 1) & bright).sum() / (found.sum() + bright.sum()) > 0.8
    with np.load(tmp_path / "out" / "a_probabilities.npz") as archive:
        np.testing.assert_array_equal(archive["probabilities"].argmax(0), found)
    assert (tmp_path / "out" / "a_overlay.png").is_file()
    rows = table(tmp_path / "out")
    axis = next(axis for axis, name in enumerate(axes) if name in "IS")
    for row in rows[1:]:
        count = int((found.take(int(row["slice"]), axis) == 1).sum())
        assert row["liver pixels"] == str(count)
        assert float(row["liver mm2"]) == pytest.approx(count * 1.5 * 1.25, abs=0.01)
    assert rows[0]["slice"] == ""
    assert rows[0]["liver pixels"] == str(found.sum())
    assert float(rows[0]["liver ml"]) == pytest.approx(found.sum() * 1.5 * 1.25 * 4 / 1000, abs=0.001)
    assert len(rows) == 1 + SHAPE[2]


def test_a_dicom_series_becomes_nifti_by_itself(series, weights, tmp_path):
    predict(series.parent, weights, tmp_path / "out")
    mask = np.asarray(nibabel.load(tmp_path / "out" / "series_mask.nii.gz").dataobj)
    assert ((mask == 1) == (organ() > 50)).mean() > 0.95


class TestDicomSegmentation:
    def test_it_has_the_voxels_names_and_place_of_the_mask(self, series, weights, tmp_path):
        predict(series, weights, tmp_path / "nifti")
        predict(series, weights, tmp_path / "out", format="dicom-seg")
        found = highdicom.seg.segread(tmp_path / "out" / "series_mask.dcm")
        assert [each.SegmentLabel for each in found.SegmentSequence] == ["liver"]
        source = pydicom.dcmread(series / "0.dcm")
        assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert found.StudyInstanceUID == source.StudyInstanceUID
        mask = np.asarray(nibabel.load(tmp_path / "nifti" / "series_mask.nii.gz").dataobj)
        slices = [pydicom.dcmread(each.path) for each in read_series(series)]
        voxels = found.get_pixels_by_source_instance(
            [each.SOPInstanceUID for each in slices],
            combine_segments=True,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
        np.testing.assert_array_equal(voxels, mask.transpose(2, 1, 0))
        assert voxels.any()
        for frame in found.PerFrameFunctionalGroupsSequence:
            reference = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            (where,) = [each.ImagePositionPatient for each in slices if each.SOPInstanceUID == reference]
            assert frame.PlanePositionSequence[0].ImagePositionPatient == where
        shared = found.SharedFunctionalGroupsSequence[0]
        assert shared.PixelMeasuresSequence[0].PixelSpacing == [2, 1.5]
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient

    def test_a_mask_of_nothing_is_written_too(self, series, weights, tmp_path):
        dicom_seg.write_segmentation(np.zeros(SHAPE, np.uint8), series, FACTS["classes"], tmp_path / "empty.dcm")
        assert not highdicom.seg.segread(tmp_path / "empty.dcm").pixel_array.any()

    def test_each_of_several_structures_is_a_segment(self, series, tmp_path):
        ids = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
        dicom_seg.write_segmentation(ids, series, ["background", "liver", "spleen"], tmp_path / "two.dcm")
        found = highdicom.seg.segread(tmp_path / "two.dcm")
        assert [(each.SegmentNumber, each.SegmentLabel) for each in found.SegmentSequence] == [
            (1, "liver"),
            (2, "spleen"),
        ]
        for number in (1, 2):
            frames = [
                frame
                for frame, place in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True)
                if place.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
            ]
            assert sum(frame.sum() for frame in frames) == (ids == number).sum()

    def test_of_an_oblique_series_every_segment_lies_on_its_structure(self, tmp_path):
        """Each pixel of each frame is in the patient where the NIfTI mask has a voxel of the same class."""
        slices = oblique_series(tmp_path / "series")
        weights = write_weights(tmp_path / "model.pt", facts_of("chaos", size=32))
        for name in ("nifti", "dicom-seg"):
            predict(slices, weights, tmp_path / name, format=name)
        mask = nibabel.load(tmp_path / "nifti" / "series_mask.nii.gz")
        ids = np.asarray(mask.dataobj)
        np.testing.assert_allclose(mask.affine, oblique_affine(), atol=1e-4)
        assert len(np.unique(ids)) == 5, "a test of nothing"
        found = np.zeros_like(ids)
        for number, points in pixels_in_patient(highdicom.seg.segread(tmp_path / "dicom-seg" / "series_mask.dcm")):
            indices = nibabel.affines.apply_affine(np.linalg.inv(mask.affine), points)
            np.testing.assert_allclose(indices, indices.round(), atol=1e-3)
            found[tuple(indices.round().astype(int).T)] = number
        np.testing.assert_array_equal(found, ids)

    def test_volumes_that_are_no_dicom_are_left_out(self, series, weights, tmp_path):
        save(turned(organ(), oblique_affine(), "LPS"), series.parent / "a.nii")
        with refused("1 mask written", "a.nii .is no DICOM series"):
            predict(series.parent, weights, tmp_path / "out", format="dicom-seg")

    def test_none_is_put_among_the_slices_of_a_series(self, series, weights):
        with refused(f"--output_dir {series}: .*series_mask.dcm would lie among the slices of a series"):
            predict(series, weights, series, format="dicom-seg")
        shutil.copytree(series, series / "deeper")
        with refused("series/deeper_mask.dcm would lie among the slices"):
            predict(series.parent, weights, series.parent, format="dicom-seg")

    @pytest.mark.parametrize("name", ["FrameOfReferenceUID", "StudyInstanceUID"])
    def test_slices_that_do_not_say_where_they_belong_are_named(self, series, weights, tmp_path, name):
        edit(series / "2.dcm", [name])
        with refused(f"0 masks written .*2.dcm: has no {name}, .* --format nifti"):
            predict(series, weights, tmp_path / "out", format="dicom-seg")

    def test_slices_of_which_each_is_a_series(self, series, weights, tmp_path):
        for path in series.iterdir():
            edit(path, SeriesInstanceUID=generate_uid())
        with refused("5 different SeriesInstanceUIDs"):
            predict(series, weights, tmp_path / "out", format="dicom-seg")

    def test_without_highdicom_the_package_is_named_at_once(self, series, weights, tmp_path, monkeypatch):
        monkeypatch.setattr(dicom_seg, "optional_import", lambda name: (None, False))
        with refused(r"--format dicom-seg takes the package highdicom: pip install .*\[seg\]"):
            predict(series, weights, tmp_path / "out", format="dicom-seg")

    def test_the_same_command_again_takes_its_masks_for_none_of_the_input(self, series, weights, capsys):
        for _ in range(2):
            predict(series.parent, weights, series.parent / "out", format="dicom-seg")
            assert capsys.readouterr().out.splitlines()[-1].startswith("1 mask written")


def test_png_is_refused_for_volumes(series, weights, tmp_path):
    with refused("--format png: masks of volumes .* take nifti"):
        predict(series, weights, tmp_path / "out", format="png")


def test_a_damaged_volume_stops_no_other(series, weights, tmp_path):
    (series.parent / "b.nii").write_bytes(b"no volume")
    with refused("1 mask written", r"b.nii \("):
        predict(series.parent, weights, tmp_path / "out")
    assert (tmp_path / "out" / "series_mask.nii.gz").is_file()


class TestModality:
    def test_slices_of_another_modality_than_that_of_the_training_are_named(self, series, tmp_path, caplog):
        facts = {**FACTS, "intensity": {"percentiles": [1, 99]}, "dicom_modality": "MR"}
        predict(series, write_onnx(tmp_path / "mr.onnx", facts), tmp_path / "out")
        assert f"{series}: is of modality CT by its DICOM headers, but the student has learned MR" in caplog.text

    def test_those_of_the_same_or_of_none_that_is_known_are_not(self, series, weights, tmp_path, caplog):
        unknown = {**FACTS, "intensity": {"percentiles": [1, 99]}}
        predict(series, weights, tmp_path / "same")
        predict(series, write_onnx(tmp_path / "unknown.onnx", unknown), tmp_path / "unknown")
        assert "modality" not in caplog.text
