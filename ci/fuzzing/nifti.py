"""NIfTI volumes with headers of every kind, judged by nibabel's affine and by the voxels that were written."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from hypothesis import strategies as st

from fuzzing import damage
from fuzzing.sources import noise
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

TYPES = {  # code, numpy's name, bits
    "uint8": (2, "u1", 8),
    "int16": (4, "i2", 16),
    "int32": (8, "i4", 32),
    "float32": (16, "f4", 32),
    "float64": (64, "f8", 64),
    "int8": (256, "i1", 8),
    "uint16": (512, "u2", 16),
    "uint32": (768, "u4", 32),
    "int64": (1024, "i8", 64),
    "complex64": (32, "c8", 64),
    "rgb": (128, "V3", 24),
    "unknown": (1536, "V16", 128),
}
REAL = ("uint8", "int16", "int32", "float32", "float64", "int8", "uint16", "uint32", "int64")
_ODD = st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e-30, 1e30])
_MATRIX = st.sampled_from(["axes", "oblique", "sheared", "zero", "singular", "nan", "tiny", "large"])


def header(odd: bool = True) -> st.SearchStrategy:
    """Return a strategy of headers: sound ones, or with odd values in some fields."""
    usual = {
        "shape": st.lists(st.integers(2, 9), min_size=3, max_size=3),
        "type": st.sampled_from(REAL),
        "axes": st.permutations([0, 1, 2]),
        "signs": st.lists(st.sampled_from([1, -1]), min_size=3, max_size=3),
        "zooms": st.lists(st.floats(0.3, 5), min_size=3, max_size=3),
        "codes": st.sampled_from([[1, 1], [0, 1], [1, 0], [2, 3], [0, 2]]),
        "order": st.sampled_from("<>"),
        "gzip": st.booleans(),
        "seed": st.integers(0, 999),
    }
    changes = {
        "shape": st.lists(st.sampled_from([0, 1, 1, 2, 5, 7]), min_size=1, max_size=5),
        "type": st.sampled_from(list(TYPES)),
        "codes": st.lists(st.sampled_from([0, 1, 4, 9, -1]), min_size=2, max_size=2),
        "pixdim": st.lists(st.one_of(_ODD, st.floats(0.3, 5)), min_size=3, max_size=3),
        "matrix": _MATRIX,
        "quaternion": st.lists(st.one_of(st.floats(-1, 1), _ODD), min_size=3, max_size=3),
        "slope": st.one_of(_ODD, st.sampled_from([1.0, 2.5, -3.0])),
        "intercept": st.one_of(_ODD, st.sampled_from([-1024.0, 0.5])),
        "offset": st.sampled_from([0.0, 348.0, 353.5, 400.0, 1e9, -352.0, math.nan]),
        "magic": st.sampled_from(["ni1", "n+2", "", "junk"]),
        "bits": st.sampled_from([0, 8, 16, 64]),
        "ndim": st.sampled_from([0, 1, 2, 4, 7, 200, -1]),
        "name": st.sampled_from(
            ["image.nii.gz", "image.nii", "Image.NII.GZ", "ä b.c.nii.gz", "-x.nii", "i.nrrd", "x.mgz"]
        ),
        "damage": damage.ANY,
    }
    fixed = st.fixed_dictionaries(usual)
    if not odd:
        return fixed
    few = st.fixed_dictionaries({}, optional=changes).filter(lambda drawn: len(drawn) <= 3)
    return st.builds(lambda one, other: {**one, **other}, fixed, few)


def matrix_of(plan: dict[str, Any]) -> np.ndarray:
    """Return the sform of a plan, which its qform agrees with where the matrix is of axes."""
    linear = np.zeros((3, 3))
    for column, (row, sign, zoom) in enumerate(zip(plan["axes"], plan["signs"], plan["zooms"], strict=True)):
        linear[row, column] = sign * zoom
    match plan.get("matrix", "axes"):
        case "oblique":
            turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
            linear = turn @ linear
        case "sheared":
            linear[:, 1] += 0.4 * linear[:, 0]
        case "zero":
            linear[:] = 0
        case "singular":
            linear[:, 2] = linear[:, 0]
        case "nan":
            linear[1, 1] = math.nan
        case "tiny":
            linear *= 1e-20
        case "large":
            linear *= 1e6
    return np.concatenate([linear, [[-11.0], [5.5], [120.0]]], axis=1)


def voxels_of(plan: dict[str, Any]) -> np.ndarray | None:
    """Return the numbers that a plan writes; None where its type has no real numbers."""
    if plan["type"] not in REAL:
        return None
    high = 100 if plan["type"] == "int8" else 250
    return noise(plan["seed"], *plan["shape"], high=high).astype(plan["order"] + TYPES[plan["type"]][1])


def content_of(plan: dict[str, Any], voxels: np.ndarray | None = None) -> bytes:
    """Return the bytes of a NIfTI-1 file."""
    code, name, bits = TYPES[plan["type"]]
    values = voxels_of(plan) if voxels is None else voxels
    shape = plan["shape"] if voxels is None else list(voxels.shape)
    raw = bytes(math.prod(shape) * bits // 8) if values is None else values.astype(plan["order"] + name).tobytes("F")
    pixdim = [*plan.get("pixdim", plan["zooms"]), 1.0, 1.0]
    sform = matrix_of(plan)
    quaternion, qfac = _quaternion(plan)
    offset = plan.get("offset", 352.0)
    fields = struct.pack(plan["order"] + "i10s18sihcB", 348, b"", b"", 0, 0, b"r", 0)
    fields += struct.pack(plan["order"] + "8h", plan.get("ndim", len(shape)), *shape, *[1] * (7 - len(shape)))
    fields += struct.pack(plan["order"] + "3f4h", 0, 0, 0, 0, code, plan.get("bits", bits), 0)
    fields += struct.pack(plan["order"] + "8f", qfac, *pixdim, 0, 0)
    fields += struct.pack(plan["order"] + "3f", offset, plan.get("slope", 1.0), plan.get("intercept", 0.0))
    fields += struct.pack(plan["order"] + "hcB4f2i", 0, b"\0", 10, 0, 0, 0, 0, 0, 0) + bytes(104)
    fields += struct.pack(plan["order"] + "2h", *plan["codes"])
    fields += struct.pack(plan["order"] + "6f", *plan.get("quaternion", quaternion), -11.0, 5.5, 120.0)
    fields += struct.pack(plan["order"] + "12f", *sform.ravel()) + bytes(16)
    magic = plan.get("magic", "n+1").encode().ljust(4, b"\0")
    start = int(offset) if math.isfinite(offset) and 352 <= offset < 1000 else 352
    return (fields + magic).ljust(start, b"\0") + raw


def _quaternion(plan: dict[str, Any]) -> tuple[list[float], float]:
    """Return b, c, d and qfac of a rotation, by nibabel since it is only written here."""
    try:
        head = nibabel.Nifti1Header()
        affine = np.eye(4)
        affine[:3] = matrix_of({**plan, "matrix": "axes"})
        head.set_qform(affine)
        return [float(head[f"quatern_{each}"]) for each in "bcd"], float(head["pixdim"][0])
    except Exception:  # no rotation, such as one with a zoom of zero
        return [0.0, 0.0, 0.0], 1.0


def name_of(plan: dict[str, Any]) -> str:
    """Return the name of the file of a plan."""
    return plan.get("name", "image.nii.gz" if plan["gzip"] else "image.nii")


def write(plan: dict[str, Any], path: Path, voxels: np.ndarray | None = None) -> None:
    """Write the file of a plan."""
    content = content_of(plan, voxels)
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.name.lower().endswith(".gz") else content)
    if "damage" in plan:
        damage.apply(plan["damage"], path)


def must_refuse(path: Path) -> str | None:
    """Return why a file has no volume in a known place, if it has none."""
    try:
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
    except Exception as error:  # on damaged bytes nibabel raises far more than its ImageFileError
        return f"nibabel cannot read it ({type(error).__name__})"
    if values.dtype.kind not in "iufb":
        return f"its values are {values.dtype}"
    if not np.isfinite(values).all():
        return "it has values that are no numbers"
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-12:
        return "its affine has no inverse"
    return None


def is_sound(path: Path) -> bool:
    """Say whether a file has nothing odd about it."""
    image = nibabel.load(path)
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
    same = np.allclose(lengths, image.header.get_zooms()[:3], rtol=1e-3)
    return must_refuse(path) is None and same and len(image.shape) == 3 and min(image.shape) > 1 and min(lengths) > 0.01


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    write(plan, place / "in" / name_of(plan))


def _run(plan: dict[str, Any], place: Path) -> dict[str, np.ndarray]:
    from common.datasets.readers.volumes import LoadVolumed

    loaded = LoadVolumed(keys="image")({"image": str(place / "in" / name_of(plan))})["image"]
    return {"values": loaded.numpy(), "affine": np.asarray(loaded.affine)}


def _judge(plan: dict[str, Any], place: Path, result: dict[str, np.ndarray], printed: str) -> Verdict:
    path = place / "in" / name_of(plan)
    reason = must_refuse(path)
    if reason:
        return silent(f"was read, though {reason}")
    image = nibabel.load(path)
    if not np.allclose(image.affine, result["affine"], rtol=1e-4, atol=1e-4 * np.abs(image.affine).max()):
        return silent(f"affine {result['affine'].round(3).tolist()}, nibabel's is {image.affine.round(3).tolist()}")
    values = np.asarray(image.dataobj)
    if "damage" not in plan and not {"slope", "intercept", "offset", "bits", "ndim"} & plan.keys():
        values = voxels_of(plan)
    found = result["values"][0]
    if math.prod(values.shape[3:]) == 1:
        values = values.reshape(values.shape[:3])  # axes of length 1 after the third hold nothing more
    if found.shape != values.shape:
        return silent(f"shape {found.shape}, that of the file is {values.shape}")
    if not np.allclose(found, values.astype(np.float64), rtol=1e-5):
        return silent("other values than in the file")
    if "damage" in plan and damage.is_cut(plan["damage"]):
        return silent("was read, though it is cut off")
    return RIGHT if "damage" not in plan else not_judged("flipped bytes that nothing in the file tells")


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return (
        "damage" not in plan
        and name_of(plan).lower().endswith((".nii", ".nii.gz"))
        and is_sound(place / "in" / name_of(plan))
    )


NIFTI = Target("nifti", header(), _make, _run, _judge, _accepts, share=1.5)
