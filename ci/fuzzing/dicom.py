"""DICOM slices written tag by tag, judged by their bits, and the series of a phantom with files changed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from fuzzing import damage
from fuzzing.sources import noise
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

_SYNTAXES = {
    "explicit": uid.ExplicitVRLittleEndian,
    "implicit": uid.ImplicitVRLittleEndian,
    "big": uid.ExplicitVRBigEndian,
    "RLE, in name alone": uid.RLELossless,
    "JPEG 2000, in name alone": uid.JPEG2000Lossless,
    "JPEG-LS, in name alone": uid.JPEGLSLossless,
}
_TAGS = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "BitsAllocated",
         "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PixelData",
         "RescaleSlope", "RescaleIntercept", "SOPClassUID", "Modality", "SliceThickness")  # fmt: skip
_USUAL = {
    "bits": st.sampled_from([[16, 16], [16, 12], [16, 10], [8, 8], [16, 15]]),
    "signed": st.booleans(),
    "slope": st.sampled_from([None, "1", "2.5"]),
    "intercept": st.sampled_from([None, "0", "-1024"]),
    "syntax": st.sampled_from(["explicit", "explicit", "implicit", "big"]),
    "modality": st.sampled_from(["CT", "MR"]),
    "seed": st.integers(0, 999),
}
_CHANGES = {
    "junk bits": st.booleans(),  # above the stored ones
    "removed": st.lists(st.sampled_from(_TAGS), min_size=1, max_size=2),
    "emptied": st.lists(st.sampled_from(_TAGS), min_size=1, max_size=2),
    "numbers": st.fixed_dictionaries({}, optional={
        "Rows": st.sampled_from([0, 1, 7, 65535]),
        "Columns": st.sampled_from([0, 1, 40000]),
        "BitsStored": st.sampled_from([0, 1, 17, 40]),
        "HighBit": st.sampled_from([0, 15, 30]),
        "BitsAllocated": st.sampled_from([0, 1, 12, 32, 64]),
        "PixelRepresentation": st.sampled_from([2, 9]),
        "SamplesPerPixel": st.sampled_from([0, 2, 3]),
        "NumberOfFrames": st.sampled_from(["0", "1", "2", "-1"]),
    }),
    "texts": st.fixed_dictionaries({}, optional={
        "PixelSpacing": st.sampled_from([["0", "1"], ["-1", "1"], ["1"], ["1"] * 3, ["nan", "1"], ["1e400", "1"]]),
        "ImageOrientationPatient": st.sampled_from([["1", "0", "0", "1", "0", "0"], ["0"] * 6, ["1", "0", "0"],
            ["2", "0", "0", "0", "1", "0"], ["nan"] * 6, ["0", "1", "0", "1", "0", "0"]]),
        "ImagePositionPatient": st.sampled_from([["0", "0"], ["nan", "0", "0"], ["1e308", "1e308", "0"], ["1e5"] * 3]),
        "RescaleSlope": st.sampled_from(["0", "nan", "inf", "-1"]),
        "RescaleIntercept": st.sampled_from(["nan", "-inf", "1e30"]),
        "PhotometricInterpretation": st.sampled_from(["MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL"]),
    }),
    "other syntax": st.sampled_from(list(_SYNTAXES)),
    "pixels": st.sampled_from(["short", "long", "none"]),
    "preamble": st.just(False),
    "name": st.sampled_from(["slice", "1.2.840.113619", "ä ö.dcm", "slice.DCM", "-s.dcm", "s.ima"]),
    "damage": damage.ANY,
}  # fmt: skip
_FEW = st.fixed_dictionaries({}, optional=_CHANGES).filter(lambda drawn: len(drawn) <= 2)
PLANS = st.builds(lambda one, other: {**one, **other}, st.fixed_dictionaries(_USUAL), _FEW)
ROWS, COLUMNS = 9, 12


def stored_of(plan: dict[str, Any]) -> np.ndarray:
    """Return the stored values of a plan ``(rows, columns)``, as they are meant: negative ones where it is signed."""
    bits = plan["bits"][1]
    values = noise(plan["seed"], ROWS, COLUMNS, high=2**bits, dtype="int64")
    return np.where(values >= 2 ** (bits - 1), values - 2**bits, values) if plan["signed"] else values


def dataset_of(plan: dict[str, Any]) -> Dataset:
    """Return the slice of a plan."""
    allocated, bits = plan["bits"]
    raw = stored_of(plan) & (2**bits - 1)
    if plan.get("junk bits") and allocated > bits:
        raw |= noise(plan["seed"] + 1, ROWS, COLUMNS, high=2 ** (allocated - bits), dtype="int64") << bits
    order = ">" if plan["syntax"] == "big" else "<"
    pixels = raw.astype(f"{order}u{allocated // 8}").tobytes()
    pixels = {"short": pixels[:-20], "long": pixels + bytes(64), "none": b""}.get(plan.get("pixels", ""), pixels)
    image = Dataset()
    kind = uid.MRImageStorage if plan["modality"] == "MR" else uid.CTImageStorage
    image.SOPClassUID, image.SOPInstanceUID = kind, "1.2.3.4"
    image.Modality, image.Rows, image.Columns, image.SliceThickness = plan["modality"], ROWS, COLUMNS, "5"
    image.PixelSpacing, image.ImagePositionPatient = ["0.7", "0.9"], ["-10", "20", "30"]
    image.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    image.BitsAllocated, image.BitsStored, image.HighBit = allocated, bits, bits - 1
    image.PixelRepresentation, image.SamplesPerPixel = int(plan["signed"]), 1
    image.PhotometricInterpretation = "MONOCHROME2"
    if plan["slope"] is not None:
        image.RescaleSlope = plan["slope"]
    if plan["intercept"] is not None:
        image.RescaleIntercept = plan["intercept"]
    image.add_new("PixelData", "OB" if allocated == 8 else "OW", pixels)
    for name, value in {**plan.get("numbers", {}), **plan.get("texts", {})}.items():
        setattr(image, name, value)
    for name in plan.get("emptied", []):
        setattr(image, name, None)
    for name in plan.get("removed", []):
        if name in image:
            delattr(image, name)
    return image


def write(plan: dict[str, Any], path: Path) -> None:
    """Write the slice of a plan."""
    image = dataset_of(plan)
    syntax = plan["syntax"]
    image.is_little_endian, image.is_implicit_VR = syntax != "big", syntax == "implicit"
    preamble = plan.get("preamble", True)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = _SYNTAXES[plan.get("other syntax", syntax)]
    if image.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in image:
        image.PixelData = encapsulate([image.PixelData or b""])
    image.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    if not preamble:
        image.is_little_endian, image.is_implicit_VR, image.file_meta = True, True, FileMetaDataset()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(path, image, write_like_original=not preamble)
    if "damage" in plan:
        damage.apply(plan["damage"], path)


def _path(plan: dict[str, Any], place: Path) -> Path:
    return place / "in" / plan.get("name", "slice.dcm")


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    write(plan, _path(plan, place))


def _run(plan: dict[str, Any], place: Path) -> dict[str, Any]:
    from common.datasets.readers.dicom import read_pixels
    from common.datasets.readers.slices import LoadSliced

    where, values = read_pixels(_path(plan, place))
    loaded = LoadSliced(keys="image")({"image": str(_path(plan, place))})["image"]
    return {
        "values": np.asarray(values),
        "slice": loaded.numpy()[0],
        "spacing": where.spacing,
        "directions": (*where.along_row, *where.along_column),
        "position": where.position,
    }


def _judge(plan: dict[str, Any], place: Path, result: dict[str, Any], printed: str) -> Verdict:
    if not np.allclose(result["values"], result["slice"], rtol=1e-5):
        return silent("inference reads other values than training")
    if "damage" in plan:
        cut = damage.is_cut(plan["damage"])
        expected = dataset_of(plan)
        if np.allclose(result["values"].T, _values(plan, expected)):
            return RIGHT
        return silent("was read, though it is cut off") if cut else not_judged("flipped bytes that nothing tells")
    if plan.get("pixels") in ("short", "none"):
        return silent("was read, though pixels are missing")
    if plan.get("numbers", {}).keys() | plan.get("emptied", []) or plan.get("removed") or "other syntax" in plan:
        return _judge_geometry(plan, result) or not_judged("contradictory numbers")
    if plan.get("texts", {}).get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        return not_judged("what is white is not said by numbers")
    if not np.allclose(result["values"].T, _values(plan, dataset_of(plan)), rtol=1e-5):
        return silent("other values than the bits say")
    return _judge_geometry(plan, result) or RIGHT


def _values(plan: dict[str, Any], image: Dataset) -> np.ndarray:
    return stored_of(plan) * float(image.get("RescaleSlope") or 1) + float(image.get("RescaleIntercept") or 0)


def _judge_geometry(plan: dict[str, Any], result: dict[str, Any]) -> Verdict | None:
    image = dataset_of(plan)
    for key, name in (("spacing", "PixelSpacing"), ("directions", "ImageOrientationPatient"),
                      ("position", "ImagePositionPatient")):  # fmt: skip
        if not np.allclose(result[key], [float(each) for each in image.get(name) or [np.nan]], rtol=1e-4):
            return silent(f"{name} is {result[key]}, the file says {image.get(name)}")
    if not np.isfinite(result["values"]).all():
        return silent("values that are no numbers")
    return None


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    missing = [plan["slope"], plan["intercept"]].count(None)
    says_units = missing == 0 or (missing == 2 and plan["modality"] == "MR")
    is_usual = plan["syntax"] != "big" or plan["bits"][0] > 8
    return says_units and is_usual and plan.keys() <= _USUAL.keys() | {"preamble", "name"}


SLICE = Target("dicom_slice", PLANS, _make, _run, _judge, _accepts, share=1.5)

_SERIES = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["CT/1/DICOM_anon", "MR/1/T2SPIR/DICOM_anon", "MR/1/T1DUAL/DICOM_anon/InPhase"]),
        "change": st.sampled_from(
            [
                "names",
                "numbers",
                "no suffix",
                "junk file",
                "gap",
                "end",
                "twice",
                "mixed",
                "moved",
                "spacing",
                "one",
                "damage",
                "size",
                "turned",
                "other volume",
                "uids",
            ]
        ),
        "damage": damage.ANY,
        "seed": st.integers(0, 999),
    }
)
_HARMLESS = ("names", "numbers", "no suffix", "uids")


def _make_series(plan: dict[str, Any], place: Path, sources: Path) -> None:
    source = sources / "chaos" / "Train_Sets" / plan["source"]
    rng = random.Random(plan["seed"])
    folder = place / "in" / "series"
    shutil.copytree(source, folder)
    shutil.copytree(source, place / "home" / "whole")
    files = sorted(folder.iterdir())
    chosen = rng.choice(files[1:-1])

    def change(path: Path, **values: Any) -> None:
        image = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(image, name, value)
        image.save_as(path)

    match plan["change"]:
        case "names":
            for number, path in enumerate(rng.sample(files, len(files))):
                path.rename(folder / f"x{number}.dcm")
        case "numbers":
            for path in files:
                change(path, InstanceNumber=rng.randrange(99))
        case "uids":
            for path in files:
                change(path, SeriesInstanceUID=f"1.2.{rng.randrange(99)}")
        case "no suffix":
            for path in files:
                path.rename(path.with_suffix(""))
        case "junk file":
            (folder / rng.choice(["Thumbs.db", "notes.txt", "a.dcm", ".DS_Store", "DICOMDIR"])).write_bytes(
                b"junk" * 40
            )
        case "gap":
            chosen.unlink()
        case "end":
            files[-1].unlink()
        case "one":
            for path in files[1:]:
                path.unlink()
        case "twice":
            shutil.copy(chosen, folder / "again.dcm")
        case "mixed":
            for path in (source.parent / "OutPhase" if "InPhase" in source.name else source).iterdir():
                shutil.copy(path, folder / f"other_{path.name}")
        case "other volume":
            other = sources / "chaos" / "Train_Sets" / "CT" / "2" / "DICOM_anon"
            for path in other.iterdir():
                shutil.copy(path, folder / f"other_{path.name}")
        case "moved":
            position = [float(each) for each in pydicom.dcmread(chosen).ImagePositionPatient]
            change(chosen, ImagePositionPatient=[each + rng.choice([-40, 40]) for each in position])
        case "spacing":
            change(chosen, PixelSpacing=[3, 3])
        case "turned":
            change(chosen, ImageOrientationPatient=[0, 1, 0, 1, 0, 0])
        case "size":
            image = pydicom.dcmread(chosen)
            image.Rows, image.PixelData = image.Rows - 2, image.PixelData[: -2 * 2 * image.Columns]
            image.save_as(chosen)
        case "damage":
            damage.apply(plan["damage"], chosen)


def _run_series(plan: dict[str, Any], place: Path) -> dict[str, np.ndarray]:
    from common.datasets.readers.volumes import LoadVolumed

    loaded = LoadVolumed(keys="image")({"image": str(place / "in" / "series")})["image"]
    return {"values": loaded.numpy()[0], "affine": np.asarray(loaded.affine)}


def _judge_series(plan: dict[str, Any], place: Path, result: dict[str, np.ndarray], printed: str) -> Verdict:
    whole, affine = _volume_of(place / "home" / "whole")
    same = result["values"].shape == whole.shape and np.allclose(result["values"], whole, rtol=1e-5)
    if plan["change"] == "end":
        return RIGHT if _is_part(result["values"], whole) else silent("other slices than there are")
    if same and np.allclose(result["affine"], affine, atol=1e-3):
        return RIGHT
    if plan["change"] == "damage" and not damage.is_cut(plan["damage"]):
        return not_judged("flipped bytes that nothing tells")
    return silent(f"another volume than the series was, shape {result['values'].shape} for {whole.shape}")


def _is_part(found: np.ndarray, whole: np.ndarray) -> bool:
    return any(
        found.shape == part.shape and np.allclose(found, part, rtol=1e-5) for part in (whole[..., 1:], whole[..., :-1])
    )


def _volume_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume and affine (RAS) of a sound series, by the formula of nibabel's documentation."""
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    first = slices[0]
    row, column = (np.array(first.ImageOrientationPatient[at : at + 3], float) for at in (0, 3))
    slices.sort(key=lambda each: float(np.cross(row, column) @ np.array(each.ImagePositionPatient, float)))
    start, end = (np.array(each.ImagePositionPatient, float) for each in (slices[0], slices[-1]))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * float(first.PixelSpacing[1]), column * float(first.PixelSpacing[0])
    affine[:3, 2], affine[:3, 3] = (end - start) / (len(slices) - 1), start
    values = [
        each.pixel_array.T * float(each.get("RescaleSlope", 1)) + float(each.get("RescaleIntercept", 0))
        for each in slices
    ]
    return np.stack(values, axis=-1), np.diag([-1, -1, 1, 1]) @ affine


def _accepts_series(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] in _HARMLESS


SERIES = Target("dicom_series", _SERIES, _make_series, _run_series, _judge_series, _accepts_series)
