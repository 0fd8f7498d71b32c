"""DICOM series: geometry, order, and what is no single volume."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_slices import PUBLISHED, without_preamble
from monai.data import PydicomReader
from monai.transforms import LoadImage

from common.datasets.readers.dicom import list_slices
from common.datasets.readers.series import SeriesReader, find_issues, read_series
from common.errors import InputError

SERIES = ["CT/1/DICOM_anon", "CT/2/DICOM_anon", "MR/1/T1DUAL/DICOM_anon/InPhase", "MR/2/T2SPIR/DICOM_anon"]


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def series(pristine, tmp_path):
    """A copy of a CT series, stored from the feet up, to be damaged."""
    return Path(shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "series"))


def edit(path, **tags):
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def move(path, offset):
    edit(path, ImagePositionPatient=(np.add(pydicom.dcmread(path).ImagePositionPatient, offset)).tolist())


def read_volume(folder):
    return SeriesReader().get_data(SeriesReader().read(folder))


def issues_of(folder):
    with pytest.raises(InputError) as caught:
        read_series(folder)
    return str(caught.value)


@pytest.mark.parametrize("name", SERIES)
def test_affine_maps_every_pixel_to_where_its_own_header_says(pristine, name):
    volume, meta = read_volume(pristine / "Train_Sets" / name)
    paths = sorted((pristine / "Train_Sets" / name).iterdir())
    assert volume.shape[2] == len(paths)
    for path in paths:
        dataset = pydicom.dcmread(path)
        right, down = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
        row, column = 5, 31
        lps = np.array(dataset.ImagePositionPatient, float)
        lps += column * float(dataset.PixelSpacing[1]) * right + row * float(dataset.PixelSpacing[0]) * down
        index = np.linalg.inv(meta["affine"]) @ [-lps[0], -lps[1], lps[2], 1]
        assert index[:3] == pytest.approx([column, row, round(index[2])], abs=1e-3)
        stored = int(dataset.pixel_array[row, column])
        expected = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert volume[column, row, round(index[2])] == expected


@pytest.mark.parametrize("name", SERIES)
def test_volume_and_affine_are_those_of_monai_where_the_instance_numbers_are_right(pristine, name):
    volume, meta = read_volume(pristine / "Train_Sets" / name)
    reader = PydicomReader()
    expected, expected_meta = reader.get_data(reader.read(str(pristine / "Train_Sets" / name)))
    affine = expected_meta["affine"]
    if affine[2, 2] < 0:  # stored from the head down
        expected = expected[..., ::-1]
        affine[:3, 3] += (expected.shape[2] - 1) * affine[:3, 2]
        affine[:3, 2] *= -1
    assert np.array_equal(volume, expected)
    assert meta["affine"] == pytest.approx(affine, abs=1e-3)


def test_slices_are_stacked_by_position_whatever_their_names_and_numbers(series):
    volume, meta = read_volume(series)
    paths = list_slices(series)
    for path, place in zip(paths, [3, 0, 7, 5, 1, 6, 2, 4], strict=True):
        edit(path, InstanceNumber=1)
        path.rename(series / f"slice{place}")
    shuffled, shuffled_meta = read_volume(series)
    assert np.array_equal(shuffled, volume)
    assert np.array_equal(shuffled_meta["affine"], meta["affine"])


def test_load_image_takes_a_folder_and_a_nifti_file_by_the_same_reader(series, tmp_path):
    load = LoadImage(reader=SeriesReader, ensure_channel_first=True)
    volume = load(series)
    assert volume.shape == (1, 48, 40, 8)
    nibabel.save(nibabel.Nifti1Image(volume[0].numpy(), volume.affine.numpy()), tmp_path / "volume.nii.gz")
    again = load(tmp_path / "volume.nii.gz")
    assert np.array_equal(again, volume)
    assert again.affine.numpy() == pytest.approx(volume.affine.numpy(), abs=1e-4)


def test_load_image_does_not_fall_back_to_a_reader_that_ignores_issues(series):
    list_slices(series)[3].unlink()
    with pytest.raises(InputError, match="1 slice is missing"):
        LoadImage(reader=SeriesReader)(series)


@pytest.mark.parametrize(("first", "count", "what"), [(3, 1, "1 slice is missing"), (2, 3, "3 slices are missing")])
def test_missing_slices_are_counted_and_located(series, first, count, what):
    paths = list_slices(series)
    for path in paths[first : first + count]:
        path.unlink()
    message = issues_of(series)
    assert f"{what} between {paths[first - 1].name} and {paths[first + count].name}" in message
    assert str(series) in message


def test_slice_that_is_there_twice_is_named(series):
    shutil.copy(list_slices(series)[2], series / "i0002,0000b copy.dcm")
    message = issues_of(series)
    assert "1 extra slice: " in message
    assert "i0002,0000b copy.dcm" in message
    assert "0 mm apart" in message


def test_slice_between_two_others_is_named(series):
    extra = series / "i0099,0000b.dcm"
    shutil.copy(list_slices(series)[2], extra)
    move(extra, [0, 0, 6])
    assert "extra" in issues_of(series)
    assert "i0099,0000b.dcm" in issues_of(series)


def test_both_phases_in_one_folder_are_mixed_series(pristine, tmp_path):
    dicom = pristine / "Train_Sets/MR/1/T1DUAL/DICOM_anon"
    both = Path(shutil.copytree(dicom / "InPhase", tmp_path / "both"))
    shutil.copytree(dicom / "OutPhase", both, dirs_exist_ok=True)
    assert "10 extra slices" in issues_of(both)
    assert "two series are mixed" in issues_of(both)


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ({"Rows": 20, "PixelData": bytes(20 * 48 * 2)}, "48 x 20 pixels"),
        ({"PixelSpacing": [5.0, 5.0]}, "of 5 x 5 mm"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "orientation 1 0 0 0 0 -1"),
    ],
)
def test_slice_of_another_series_is_named_with_what_differs(series, tags, shown):
    edit(list_slices(series)[4], **tags)
    message = issues_of(series)
    assert "mixed series: 1 of 8 slices" in message
    assert f"{list_slices(series)[4].name} (" in message
    assert shown in message


def test_slice_beside_the_others_is_named(series):
    move(list_slices(series)[4], [30, 0, 0])
    assert f"{list_slices(series)[4].name} lies 30 mm beside the line" in issues_of(series)


def test_tilted_gantry_and_slightly_uneven_slices_are_accepted(series):
    for index, path in enumerate(list_slices(series)):
        move(path, [0, 12 * index, 0.3 * (index % 2)])
    slices = read_series(series)
    assert find_issues(slices) == []
    assert read_volume(series)[1]["affine"][1, 2] == pytest.approx(-12, abs=0.01)


def test_order_of_instance_numbers_and_of_positions_makes_no_difference(series):
    volume, meta = read_volume(series)
    for index, path in enumerate(reversed(list_slices(series))):
        edit(path, InstanceNumber=index, SpacingBetweenSlices=99, SliceThickness=99)
        path.rename(series / f"{index}.tmp")
    again, again_meta = read_volume(series)
    assert np.array_equal(again, volume)
    assert np.array_equal(again_meta["affine"], meta["affine"])


def test_slices_that_are_not_evenly_spaced_are_refused(series):
    for index, path in enumerate(list_slices(series)):
        move(path, [0, 0, max(index - 3, 0) * 8])
    message = issues_of(series)
    assert "slices are not evenly spaced: i0003,0000b.dcm lies" in message
    assert "mm from where even steps of" in message


def test_two_series_whose_slices_lie_between_each_other_are_mixed(series):
    for index, path in enumerate(list_slices(series)):
        edit(path, SeriesInstanceUID=f"1.2.{index % 2}")
    assert "mixed series: 2 different SeriesInstanceUIDs, first in i0000,0000b.dcm and i0001,0000b.dcm" in issues_of(
        series
    )


def test_one_uid_for_all_and_one_for_each_are_the_same_to_a_volume(series):
    volume, _ = read_volume(series)
    for path in list_slices(series):
        edit(path, SeriesInstanceUID="1.2.3")
    assert np.array_equal(read_volume(series)[0], volume)


def test_localizer_among_the_slices_is_named(series):
    localizer = series / "a_localizer.dcm"
    shutil.copy(list_slices(series)[0], localizer)
    edit(localizer, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert "mixed series: 1 of 9 slices have another size, spacing or orientation, first a_loc" in issues_of(series)


def test_object_that_is_no_image_among_the_slices_is_named(series):
    shutil.copy(PUBLISHED / "rtstruct.dcm", series / "contours")
    with pytest.raises(InputError, match="contours: is no image but RT Structure Set; move it out of the folder"):
        read_series(series)


def test_slice_without_preamble_and_suffix_is_part_of_the_volume(series):
    volume, _ = read_volume(series)
    path = list_slices(series)[3]
    without_preamble(path, series / "IM0003", keep_meta=False)
    path.unlink()
    assert np.array_equal(read_volume(series)[0], volume)


def test_folder_without_a_volume_is_named(series):
    for path in list_slices(series)[1:]:
        path.unlink()
    assert "expected the slices of a volume, found 1" in issues_of(series)
    list_slices(series)[0].unlink()
    assert f"{series}: no DICOM files here" in issues_of(series)


def test_slices_that_all_lie_in_one_place_are_refused(series):
    for path in list_slices(series):
        edit(path, ImagePositionPatient=[0, 0, 0])
    assert "all 8 slices lie in the same place" in issues_of(series)
