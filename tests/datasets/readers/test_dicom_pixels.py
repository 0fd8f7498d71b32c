"""Pixels of DICOM slices: the value that the standard gives to the bytes in the file, or a refusal."""

import warnings
from collections.abc import Iterable

import numpy as np
import pydicom
import pytest
from dicom_slices import PUBLISHED, edit, write_slice
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)

from common.datasets.readers.dicom import read_pixels, read_slice
from common.datasets.readers.series import SeriesReader
from common.datasets.readers.slices import LoadSliced
from common.errors import InputError

SHAPE = (4, 6)
MR = {"SOPClassUID": MRImageStorage, "Modality": "MR"}


def random_words(allocated: int, seed: int = 0) -> list[int]:
    """Return values that use all bits of a pixel, in rows."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << allocated, SHAPE[0] * SHAPE[1]).tolist()


def to_bytes(words: Iterable[int], allocated: int, order: str = "little") -> bytes:
    return b"".join(word.to_bytes(allocated // 8, order) for word in words)


def meaning(words: list[int], stored: int, signed: bool) -> np.ndarray:
    """Return what the lower bits of each word mean, ``(columns, rows)``: bit by bit, without a library."""
    values = []
    for word in words:
        value = sum(1 << bit for bit in range(stored - signed) if word >> bit & 1)
        values.append(value - (1 << stored - 1) if signed and word >> (stored - 1) & 1 else value)
    return np.reshape(values, SHAPE).T


def read(path) -> np.ndarray:
    return read_pixels(path)[1]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [(8, 8), (8, 7), (16, 8), (16, 10), (16, 12), (16, 15), (16, 16), (32, 20), (32, 24)])
def test_bits_above_those_stored_are_no_part_of_a_value(tmp_path, bits, signed, syntax):
    words = random_words(bits[0])
    path = write_slice(tmp_path / "s.dcm", to_bytes(words, bits[0]), SHAPE, bits, signed, syntax)
    assert np.array_equal(read(path), meaning(words, bits[1], signed))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [(16, 12), (16, 16), (32, 20)])
def test_big_endian_is_read(tmp_path, bits, signed):
    words = random_words(bits[0])
    path = write_slice(tmp_path / "s.dcm", to_bytes(words, bits[0], "big"), SHAPE, bits, signed, ExplicitVRBigEndian)
    assert np.array_equal(read(path), meaning(words, bits[1], signed))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [(8, 8), (16, 12), (16, 16)])
def test_run_lengths_are_read(tmp_path, bits, signed):
    words = random_words(bits[0])
    path = write_slice(tmp_path / "s.dcm", to_bytes(words, bits[0]), SHAPE, bits, signed)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    assert np.array_equal(read(path), meaning(words, bits[1], signed))


@pytest.mark.parametrize("extended", [True, False])
def test_negative_values_are_the_same_in_a_slice_and_in_a_series(tmp_path, extended):
    words = [value & (0xFFFF if extended else 0x0FFF) for value in range(-1024, -1000)]
    for index in range(3):
        where = {"ImagePositionPatient": [0, 0, 5 * index]}
        write_slice(tmp_path / f"{index}.dcm", to_bytes(words, 16), SHAPE, (16, 12), signed=True, **where)
    expected = np.arange(-1024, -1000).reshape(SHAPE).T
    volume, _ = SeriesReader().get_data(tmp_path)
    single = LoadSliced("image")({"image": str(tmp_path / "1.dcm")})["image"]
    assert np.array_equal(volume, np.stack([expected] * 3, axis=-1))
    assert np.array_equal(single[0], expected)
    assert single.dtype == volume.dtype or str(single.dtype) == "torch.float32"


def test_negative_values_in_pixels_that_should_have_none_are_refused(tmp_path):
    words = [value & 0xFFFF for value in range(-12, 12)]
    path = write_slice(tmp_path / "s.dcm", to_bytes(words, 16), SHAPE, (16, 12))
    with pytest.raises(InputError, match=r"s.dcm: some values are stored as negative numbers, .*PixelRepresentation 0"):
        read(path)


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ({"HighBit": 15}, "BitsAllocated 16, BitsStored 12, HighBit 15"),
        ({"HighBit": 10}, "HighBit 10"),
        ({"BitsStored": 17, "HighBit": 16}, "BitsStored 17"),
        ({"BitsStored": 0}, "BitsStored 0"),
        ({"PixelRepresentation": 2}, "PixelRepresentation 2"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "its BitsAllocated is 1; expected 8, 16 or 32"),
        ({"BitsAllocated": 12}, "its BitsAllocated is 12"),
        ({"BitsAllocated": 64}, "its BitsAllocated is 64"),
        ({"Rows": 0}, "has 0 rows and 6 columns"),
        ({"Columns": 0}, "has 4 rows and 0 columns"),
        ({"Rows": 5}, "expected 60 for 5 rows and 6 columns of 16 bits"),
        ({"Rows": 3}, "48 bytes, expected 36 for 3 rows"),
        ({"Columns": 7}, "expected 56 for 4 rows and 7 columns"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "48 bytes, expected 24"),
        ({"BitsAllocated": 32}, "48 bytes, expected 96"),
        ({"BitsStored": None}, "has no BitsStored"),
        ({"HighBit": None, "SamplesPerPixel": None}, "has no HighBit, SamplesPerPixel"),
        ({"PhotometricInterpretation": None}, "has no PhotometricInterpretation"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "expected grey values .*, got PALETTE COLOR"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "got RGB with 3 samples a pixel"),
        ({"SamplesPerPixel": 3}, "got MONOCHROME2 with 3 samples a pixel"),
    ],
)
def test_header_that_does_not_fit_the_pixels_is_refused(tmp_path, tags, shown):
    path = write_slice(tmp_path / "s.dcm", bytes(48), SHAPE, (16, 12), **tags)
    with pytest.raises(InputError, match=f"s.dcm: .*{shown}"):
        read(path)


def test_an_odd_number_of_bytes_is_padded(tmp_path):
    path = write_slice(tmp_path / "s.dcm", bytes(range(15)), (3, 5), (8, 8))
    assert np.array_equal(read(path), np.arange(15).reshape(3, 5).T)


@pytest.mark.parametrize("missing", [1, 2, 47, 48])
def test_pixels_that_are_cut_off_are_refused(tmp_path, missing):
    path = write_slice(tmp_path / "s.dcm", bytes(48), SHAPE, (16, 12))
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(InputError, match=r"s.dcm: .*copy it again"):
        read(path)


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, RLELossless])
def test_compressed_pixels_that_are_cut_off_are_refused(tmp_path, syntax):
    path = write_slice(tmp_path / "s.dcm", to_bytes(random_words(16), 16), SHAPE, (16, 12))
    dataset = pydicom.dcmread(path)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"s.dcm: .*copy it again"):
        read(path)


def test_floating_point_pixels_and_none_are_refused(tmp_path):
    path = write_slice(tmp_path / "s.dcm", b"", SHAPE)
    with pytest.raises(InputError, match=r"s.dcm: has no pixels, copy it again"):
        read(path)
    edit(path, FloatPixelData=bytes(96))
    with pytest.raises(InputError, match=r"s.dcm: its pixels are floating-point numbers"):
        read(path)


def test_values_are_those_of_the_published_file_in_every_encoding():
    expected = pydicom.dcmread(PUBLISHED / "MR_small.dcm").pixel_array
    for name in ("", "_RLE", "_bigendian", "_expb", "_implicit"):
        assert np.array_equal(read(PUBLISHED / f"MR_small{name}.dcm"), expected.T)


@pytest.mark.parametrize("name", ["MR_truncated", "MR_small_padded"])
def test_published_files_with_too_few_or_too_many_bytes_are_refused(name):
    with pytest.raises(InputError, match=rf"{name}.dcm: its pixels cannot be read, copy it again .*expected 8192"):
        read(PUBLISHED / f"{name}.dcm")


class TestRescaling:
    WORDS = range(24)

    def write(self, folder, **tags):
        return write_slice(folder / "s.dcm", to_bytes(self.WORDS, 16), SHAPE, (16, 12), **tags)

    @pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, 0), (-2, 7), ("0.000123456789", "1e-3")])
    def test_values_are_those_stored_times_slope_plus_intercept(self, tmp_path, slope, intercept):
        path = self.write(tmp_path, RescaleSlope=slope, RescaleIntercept=intercept)
        expected = np.reshape(self.WORDS, SHAPE).T * float(slope) + float(intercept)
        assert read(path) == pytest.approx(expected, rel=1e-6)

    def test_each_slice_of_a_series_has_its_own_slope(self, tmp_path):
        for index, slope in enumerate((0.5, 2, 7)):
            path = self.write(tmp_path, **MR, RescaleSlope=slope, ImagePositionPatient=[0, 0, 5 * index])
            path.rename(tmp_path / f"{index}.dcm")
        volume, _ = SeriesReader().get_data(tmp_path)
        assert np.array_equal(volume, np.reshape(self.WORDS, SHAPE).T[..., None] * np.array([0.5, 2, 7]))

    def test_values_of_mr_need_none(self, tmp_path):
        path = self.write(tmp_path, **MR, RescaleSlope=None, RescaleIntercept=None)
        assert np.array_equal(read(path), np.reshape(self.WORDS, SHAPE).T)

    @pytest.mark.parametrize("missing", [["RescaleSlope"], ["RescaleIntercept"], ["RescaleSlope", "RescaleIntercept"]])
    def test_hounsfield_units_need_both(self, tmp_path, missing):
        path = self.write(tmp_path, **dict.fromkeys(missing))
        with pytest.raises(InputError, match=rf"s.dcm: has no {' and no '.join(missing)}, so that nothing tells"):
            read(path)

    @pytest.mark.parametrize("missing", ["RescaleSlope", "RescaleIntercept"])
    def test_one_without_the_other_is_refused_in_mr_too(self, tmp_path, missing):
        path = self.write(tmp_path, **MR, **{missing: None})
        with pytest.raises(InputError, match=f"s.dcm: has no {missing}, so that nothing tells"):
            read(path)

    @pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
    def test_an_empty_one_is_refused(self, tmp_path, name):
        path = self.write(tmp_path, **MR)
        edit(path, **{name: None})
        with pytest.raises(InputError, match=r"s.dcm: its RescaleSlope or RescaleIntercept is damaged"):
            read(path)

    def test_slope_of_zero_is_refused(self, tmp_path):
        path = self.write(tmp_path, RescaleSlope=0)
        with pytest.raises(InputError, match=r"s.dcm: its RescaleSlope is 0"):
            read(path)

    def test_modality_lut_is_refused(self, tmp_path):
        path = self.write(tmp_path, ModalityLUTSequence=pydicom.Sequence([pydicom.Dataset()]))
        with pytest.raises(InputError, match=r"s.dcm: its values have a modality LUT"):
            read(path)

    def test_windows_are_left_alone(self, tmp_path):
        window = {"WindowCenter": 40, "WindowWidth": 5, "VOILUTFunction": "LINEAR"}
        lut = pydicom.Sequence([pydicom.Dataset()])
        path = self.write(tmp_path, **window, VOILUTSequence=lut, PresentationLUTShape="INVERSE")
        assert np.array_equal(read(path), np.reshape(self.WORDS, SHAPE).T)


class TestMonochrome1:
    def test_hounsfield_units_are_what_they_are_however_they_are_shown(self, tmp_path):
        shown = {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": -1024}
        path = write_slice(tmp_path / "s.dcm", to_bytes(list(range(24)), 16), SHAPE, (16, 12), **shown)
        assert np.array_equal(read(path), np.arange(24).reshape(SHAPE).T - 1024)

    def test_values_without_a_unit_are_refused(self, tmp_path):
        path = write_slice(tmp_path / "s.dcm", bytes(48), SHAPE, **MR, PhotometricInterpretation="MONOCHROME1")
        with pytest.raises(InputError, match=r"s.dcm: .*got MONOCHROME1, which may be a negative; convert the series"):
            read_slice(path)


class TestWithoutTransferSyntax:
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_uncompressed_pixels_are_read(self, tmp_path, syntax):
        words = random_words(16)
        path = write_slice(tmp_path / "s.dcm", to_bytes(words, 16), SHAPE, (16, 12), syntax=syntax)
        dataset = pydicom.dcmread(path)
        del dataset.file_meta.TransferSyntaxUID
        dataset.save_as(path, write_like_original=True)
        assert np.array_equal(read(path), meaning(words, 12, signed=False))

    def test_compressed_pixels_are_refused(self, tmp_path):
        path = write_slice(tmp_path / "s.dcm", bytes(range(48)), SHAPE, (16, 12), syntax=RLELossless)
        dataset = pydicom.dcmread(path)
        del dataset.file_meta.TransferSyntaxUID
        dataset.save_as(path, write_like_original=True)
        with pytest.raises(InputError, match=r"s.dcm: has no TransferSyntaxUID, so that nothing tells how"):
            read(path)


def test_damaged_bytes_of_the_header_are_never_a_traceback(tmp_path):
    content = write_slice(tmp_path / "s.dcm", to_bytes(random_words(16), 16), SHAPE, (16, 12)).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.dcm"
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(128, len(content) - 48, 3):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                values = read(path)
            except InputError as error:
                refused += str(path) in str(error)
            else:
                assert values.shape == SHAPE[::-1]
    assert refused > 50
