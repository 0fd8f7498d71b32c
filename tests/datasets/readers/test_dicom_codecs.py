"""Compressed pixels: read as they were before compression, or refused with what would read them."""

import io
import struct
from types import SimpleNamespace

import jpeg_ls
import numpy as np
import pydicom
import pytest
from dicom_slices import PUBLISHED, write_slice
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from common.datasets.readers import dicom_codecs
from common.datasets.readers.dicom import read_pixels, read_slice
from common.datasets.readers.slices import LoadSliced
from common.errors import InputError

SHAPE = (80, 64)
BITS = [(8, 8, False), (8, 8, True), (16, 12, False), (16, 12, True), (16, 16, False), (16, 16, True)]


def random_values(stored: int, signed: bool) -> np.ndarray:
    values = np.random.default_rng(stored).integers(0, 1 << stored, SHAPE)
    return values - (1 << stored - 1) if signed else values


def to_unsigned(values: np.ndarray, stored: int) -> np.ndarray:
    """Return values as a codec sees them that knows no sign: two's complement in the bits that are stored."""
    return (values & (1 << stored) - 1).astype(np.uint8 if stored <= 8 else np.uint16)


def encode_jpeg_ls(values: np.ndarray, stored: int, signed: bool) -> bytes:
    return bytes(jpeg_ls.encode_array(to_unsigned(values, stored)))


def encode_jpeg_2000(values: np.ndarray, stored: int, signed: bool) -> bytes:
    kind = ("i" if signed else "u") + ("1" if stored <= 8 else "2")
    return bytes(encode_array(values.astype(kind), bits_stored=stored, photometric_interpretation=2))


def encode_jpeg_2000_without_sign(values: np.ndarray, stored: int, signed: bool) -> bytes:
    return encode_jpeg_2000(to_unsigned(values, stored), stored, signed=False)


def encode_lossless_jpeg(values: np.ndarray, stored: int, signed: bool) -> bytes:
    """Encode as ISO 10918-1, annex H, says: the difference to the pixel before, all categories with five bits."""
    pixels = to_unsigned(values, stored).astype(int)
    before = np.empty_like(pixels)
    before[:, 1:], before[1:, 0], before[0, 0] = pixels[:, :-1], pixels[:-1, 0], 1 << stored - 1
    bits = []
    for difference in ((pixels - before + 32767) % 65536 - 32767).ravel().tolist():
        category = abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if 0 < category < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
        elif category == 16:
            assert difference == 32768
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    segments = {
        b"\xff\xc3": struct.pack(">BHHBBBB", stored, *pixels.shape, 1, 1, 0x11, 0),
        b"\xff\xc4": bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)]),
        b"\xff\xda": bytes([1, 1, 0, 1, 0, 0]),
    }
    header = b"".join(marker + struct.pack(">H", len(body) + 2) + body for marker, body in segments.items())
    return b"\xff\xd8" + header + scan + b"\xff\xd9"


def write(folder, frame, allocated=16, stored=12, signed=False, syntax=JPEG2000Lossless, **tags):
    return write_slice(folder / "s.dcm", frame, tags.pop("shape", SHAPE), (allocated, stored), signed, syntax, **tags)


@pytest.mark.parametrize(("allocated", "stored", "signed"), BITS)
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLSLossless, encode_jpeg_ls),
        (JPEG2000Lossless, encode_jpeg_2000),
        (JPEG2000Lossless, encode_jpeg_2000_without_sign),
        (JPEG2000, encode_jpeg_2000),
    ],
)
def test_values_are_those_before_compression(tmp_path, syntax, encode, allocated, stored, signed):
    values = random_values(stored, signed)
    path = write(tmp_path, encode(values, stored, signed), allocated, stored, signed, syntax)
    assert np.array_equal(read_pixels(path)[1], values.T)
    assert np.array_equal(LoadSliced("image")({"image": str(path)})["image"][0], values.T)


@pytest.mark.parametrize(("allocated", "stored", "signed"), BITS)
def test_lossless_jpeg_is_read_where_its_library_is_installed(tmp_path, allocated, stored, signed):
    pytest.importorskip("libjpeg", reason="pylibjpeg-libjpeg is not among our extras, as its licence is the GPL")
    values = random_values(stored, signed)
    path = write(
        tmp_path, encode_lossless_jpeg(values, stored, signed), allocated, stored, signed, syntax=JPEGLosslessSV1
    )
    assert np.array_equal(read_pixels(path)[1], values.T)


def test_jpeg_2000_of_another_encoder_is_read(tmp_path):
    values, stream = random_values(12, signed=False).astype(np.uint16), io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG2000", no_jp2=True, irreversible=False)
    assert np.array_equal(read_pixels(write(tmp_path, stream.getvalue()))[1], values.T)


def test_baseline_jpeg_is_read(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.tile(np.arange(0, 256, 4, np.uint8), (80, 1))).save(stream, "JPEG", quality=95)
    path = write(tmp_path, stream.getvalue(), 8, 8, syntax=JPEGBaseline8Bit)
    assert np.array_equal(read_pixels(path)[1], np.asarray(Image.open(stream)).T)


def test_near_lossless_jpeg_ls_is_read_within_its_error(tmp_path):
    values = random_values(12, signed=False)
    frame = bytes(jpeg_ls.encode_array(values.astype(np.uint16), lossy_error=3))
    error = np.abs(read_pixels(write(tmp_path, frame, syntax=JPEGLSNearLossless))[1] - values.T)
    assert 0 < error.max() <= 3


def test_a_frame_in_several_fragments_is_joined(tmp_path):
    values = random_values(12, signed=False)
    path = write(tmp_path, encode_jpeg_ls(values, 12, False), syntax=JPEGLSLossless)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([encode_jpeg_ls(values, 12, False)], fragments_per_frame=3)
    dataset.save_as(path)
    assert np.array_equal(read_pixels(path)[1], values.T)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_published_files_have_the_values_of_the_uncompressed_one(name):
    assert np.array_equal(read_pixels(PUBLISHED / name)[1], read_pixels(PUBLISHED / "MR_small.dcm")[1])


def test_published_file_whose_frame_knows_no_sign_has_hounsfield_units():
    values = read_pixels(PUBLISHED / "J2K_pixelrep_mismatch.dcm")[1]
    assert values[0, 0] == values.min() == -2000
    assert 1000 < values.max() < 3000


@pytest.mark.parametrize(
    ("syntax", "advice"),
    [
        (JPEG2000Lossless, "pip install pylibjpeg-openjpeg"),
        (JPEG2000, "pip install pylibjpeg-openjpeg"),
        (JPEGLSLossless, "pip install pyjpegls"),
        (JPEGLosslessSV1, "pip install pylibjpeg-libjpeg, or decompress the files, for example with gdcmconv --raw"),
        (JPEGLossless, "pip install pylibjpeg-libjpeg"),
        (JPEGExtended12Bit, "pip install pylibjpeg-libjpeg"),
        (MPEG2MPML, "decompress the files, for example with gdcmconv --raw"),
    ],
)
def test_without_a_library_the_compression_is_named_with_what_would_read_it(tmp_path, monkeypatch, syntax, advice):
    monkeypatch.setattr(dicom_codecs, "optional_import", lambda name: (None, False))
    path = write(tmp_path, bytes(20), syntax=syntax)
    assert read_slice(path).rows == SHAPE[0]
    with pytest.raises(InputError) as caught:
        read_pixels(path)
    what = f"its pixels are compressed ({syntax.name}) and cannot be decoded here"
    assert str(caught.value).startswith(f"{path}: {what}: {advice}")


class TestDamage:
    VALUES = random_values(12, signed=False)

    def frames(self):
        yield JPEGLSLossless, encode_jpeg_ls(self.VALUES, 12, False)
        yield JPEG2000Lossless, encode_jpeg_2000(self.VALUES, 12, False)

    def test_frame_that_is_cut_off_is_refused(self, tmp_path):
        for syntax, frame in self.frames():
            for length in (0, 2, 20, 60, len(frame) // 2, len(frame) - 2):
                with pytest.raises(InputError, match=r"s.dcm: its pixels cannot be (decoded|read), copy it again"):
                    read_pixels(write(tmp_path, frame[:length] or b"\0\0", syntax=syntax))

    def test_frame_without_its_end_is_refused_though_the_library_fills_it_up(self, tmp_path, monkeypatch):
        lenient = SimpleNamespace(decode=lambda frame: np.zeros(SHAPE, np.uint16))
        monkeypatch.setattr(dicom_codecs, "optional_import", lambda name: (lenient, True))
        frame = encode_lossless_jpeg(self.VALUES, 12, signed=False)
        assert not read_pixels(write(tmp_path, frame, syntax=JPEGLosslessSV1))[1].any()
        with pytest.raises(InputError, match=r"s.dcm: its pixels cannot be decoded, copy it again \(their end"):
            read_pixels(write(tmp_path, frame[:-100], syntax=JPEGLosslessSV1))

    def test_file_that_is_cut_off_is_refused(self, tmp_path):
        for syntax, frame in self.frames():
            path = write(tmp_path, frame, syntax=syntax)
            content = path.read_bytes()
            for missing in (9, 30, len(frame) // 2, len(frame)):
                path.write_bytes(content[:-missing])
                with pytest.raises(InputError, match=r"s.dcm: .*copy it again"):
                    read_pixels(path)

    def test_frame_of_another_size_is_refused(self, tmp_path):
        for syntax, frame in self.frames():
            with pytest.raises(InputError, match=r"s.dcm: its compressed pixels are 64 x 80 .* but .* says 80 x 64"):
                read_pixels(write(tmp_path, frame, syntax=syntax, shape=SHAPE[::-1]))

    def test_frame_in_colour_is_refused(self, tmp_path):
        frame = bytes(encode_array(np.zeros((*SHAPE, 3), np.uint8), photometric_interpretation=0))
        with pytest.raises(InputError, match=r"s.dcm: its compressed pixels are 64 x 80 with 3 samples"):
            read_pixels(write(tmp_path, frame, 8, 8))

    def test_values_of_more_bits_than_are_stored_are_refused(self, tmp_path):
        frame = encode_jpeg_2000(random_values(16, signed=False), 16, False)
        with pytest.raises(InputError, match=r"s.dcm: its compressed pixels have 16 bits, more than its BitsStored 12"):
            read_pixels(write(tmp_path, frame))

    def test_sign_that_may_be_in_one_of_two_places_is_refused(self, tmp_path):
        frame = encode_jpeg_ls(random_values(12, signed=True), 12, True)
        with pytest.raises(InputError, match=r"s.dcm: its compressed pixels have 12 bits, but its BitsStored is 16"):
            read_pixels(write(tmp_path, frame, 16, 16, signed=True, syntax=JPEGLSLossless))

    def test_negative_values_in_pixels_that_should_have_none_are_refused(self, tmp_path):
        frame = encode_jpeg_2000(random_values(12, signed=True), 12, True)
        with pytest.raises(InputError, match=r"s.dcm: its compressed pixels have 12 bits"):
            read_pixels(write(tmp_path, frame))

    def test_several_frames_where_the_header_says_one_are_refused(self, tmp_path):
        run_lengths = struct.pack("<16L", 2, 64, 66, *[0] * 13) + b"\x81\0\x81\0"
        for syntax, frame in (*self.frames(), (RLELossless, run_lengths)):
            path = write(tmp_path, frame, syntax=syntax)
            dataset = pydicom.dcmread(path)
            dataset.PixelData = encapsulate([frame, frame])
            dataset.save_as(path)
            with pytest.raises(InputError, match=r"s.dcm: holds 2 frames, but its header says one"):
                read_pixels(path)

    def test_damaged_bytes_are_never_a_traceback(self, tmp_path):
        rng = np.random.default_rng(0)
        refused = 0
        for syntax, frame in self.frames():
            for _ in range(100):
                damaged = bytearray(frame)
                for position in rng.integers(0, 120, 2):
                    damaged[position] = rng.integers(256)
                try:
                    assert read_pixels(write(tmp_path, bytes(damaged), syntax=syntax))[1].shape == SHAPE[::-1]
                except InputError as error:
                    refused += str(tmp_path) in str(error)
        assert refused > 100
