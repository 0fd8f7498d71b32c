"""Pictures and labels of all modes and formats, judged by the pixels that were drawn."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import damage
from fuzzing.nifti import matrix_of
from fuzzing.sources import noise, pictures
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

NAMES = (
    "a b.png",
    "ä ö 中.png",
    "v1.2.final.png",
    "-x.png",
    "A.PNG",
    "x" * 200 + ".png",
    "#1.png",
    "%s {}.png",
    "..png",
)
_MODES = (
    "1",
    "L",
    "P",
    "PA",
    "LA",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
    "P, clear",
    "RGB, clear",
)
_FORMATS = {".png", ".tif", ".bmp", ".gif", ".jpg", ".webp", ".jp2", ".ppm", ".jfif", ".tga", ".pcx", ".ico"}
_DRAWN = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(_MODES),
        "suffix": st.sampled_from(sorted(_FORMATS)),
        "size": st.lists(st.integers(1, 40), min_size=2, max_size=2),
        "seed": st.integers(0, 999),
        "alpha": st.sampled_from(["opaque", "some", "none"]),
        "exif": st.sampled_from([None, None, 1, 3, 6, 8, 9]),
        "pages": st.sampled_from([1, 1, 1, 2]),
    }
)
_KEPT = st.fixed_dictionaries(
    {"source": st.integers(0, 10**6)}, optional={"damage": damage.ANY, "name": st.sampled_from(NAMES)}
)
LOSSLESS = (".png", ".tif", ".bmp", ".ppm", ".tga", ".pcx")
_DEEP = ("I", "F", "I;16")


def drawn_picture(plan: dict[str, Any]) -> Image.Image:
    """Return the picture of a plan in its mode."""
    width, height = plan["size"]
    mode = plan["mode"].split(",")[0]
    pixels = noise(plan["seed"], height, width, 3)
    if mode in _DEEP:
        types = {"I": "int32", "F": "float32", "I;16": "uint16"}
        return Image.fromarray(noise(plan["seed"], height, width, high=60000).astype(types[mode]))
    picture = Image.fromarray(pixels)
    if mode in ("LA", "RGBA", "PA"):
        alpha = {"opaque": 255, "none": 0}.get(plan["alpha"], 100)
        picture.putalpha(alpha)
        return picture if mode == "RGBA" else picture.convert("LA")
    if plan["mode"] == "P, clear":
        picture = picture.convert("P")
        picture.info["transparency"] = 0
        return picture
    if mode == "LAB":
        return Image.frombytes("LAB", picture.size, pixels.tobytes())
    return picture.convert(mode)


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    if "source" in plan:
        found = pictures(sources)
        source = found[plan["source"] % len(found)]
        name = plan.get("name", source.name)
        path = place / "in" / (Path(name).stem + source.suffix)
        shutil.copy(source, path)
        shutil.copy(source, place / "home" / f"sound{source.suffix}")
        if "damage" in plan:
            damage.apply(plan["damage"], path)
        return
    save(drawn_picture(plan), place / "in" / f"image{plan['suffix']}", plan)
    if not list((place / "in").iterdir()):  # a format that cannot hold the mode
        drawn_picture({**plan, "mode": "RGB"}).save(place / "in" / "image.png")


def save(picture: Image.Image, path: Path, plan: dict[str, Any]) -> None:
    """Save a picture, with what the plan adds; nothing where the format cannot hold it."""
    options: dict[str, Any] = {}
    if plan.get("exif") is not None:
        exif = Image.Exif()
        exif[0x0112] = plan["exif"]
        options["exif"] = exif
    if plan.get("pages", 1) > 1:
        options |= {"save_all": True, "append_images": [picture.copy() for _ in range(plan["pages"] - 1)]}
    if path.suffix == ".jpg":
        options["quality"] = 100
    try:
        picture.save(path, **options)
    except (OSError, ValueError, KeyError, TypeError, SystemError):
        path.unlink(missing_ok=True)


def _input(place: Path) -> Path:
    return next((place / "in").iterdir())


def _run(plan: dict[str, Any], place: Path) -> np.ndarray:
    from common.datasets.readers.images import LoadPictured, to_rgb

    return LoadPictured(keys="image", converter=to_rgb)({"image": str(_input(place))})["image"].numpy()


def _judge(plan: dict[str, Any], place: Path, result: np.ndarray, printed: str) -> Verdict:
    found = result.transpose(2, 1, 0)
    path = _input(place)
    if "source" in plan:
        sound = next((place / "home").glob("sound*"))
        expected = np.asarray(Image.open(sound).convert("RGB"))
        if found.shape == expected.shape and (found == expected).all():
            return RIGHT
        if "damage" not in plan:
            return silent("other pixels than Pillow reads")
        if damage.is_cut(plan["damage"]):
            return silent("was read, though it is cut off")
        if path.suffix == ".png" and not png_is_sound(path):
            return silent("was read, though a checksum in it is wrong")
        return not_judged("flipped bytes that nothing in the file tells")
    if path.suffix != plan["suffix"]:  # which cannot hold the mode
        plan = {**plan, "mode": "RGB"}
    picture = drawn_picture(plan)
    if picture.mode in _DEEP and path.suffix != ".jpg":
        stored = Image.open(path)
        if stored.mode in _DEEP:
            return silent("more than 8 bits a channel were read as 8")
    if path.suffix not in LOSSLESS or plan["mode"] not in ("1", "L", "RGB", "P", "RGBA", "LA"):
        return not_judged("the format or the mode changes colours by itself")
    expected = (
        np.asarray(Image.open(path).convert("RGB")) if plan["mode"] == "P" else np.asarray(picture.convert("RGB"))
    )
    return RIGHT if found.shape == expected.shape and (found == expected).all() else silent("other pixels than drawn")


def png_is_sound(path: Path) -> bool:
    """Say whether the checksums of a PNG's critical chunks are right, reading it chunk by chunk."""
    content = path.read_bytes()
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        body = content[position + 4 : position + 8 + length]
        if body[:1].isupper() and content[position + 8 + length : position + 12 + length] != struct.pack(
            ">I", zlib.crc32(body)
        ):
            return False
        position += 12 + length
        if body[:4] == b"IEND":
            return content[:8] == b"\x89PNG\r\n\x1a\n"
    return False


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    if "source" in plan:
        return "damage" not in plan
    return (
        plan["mode"] in ("1", "L", "RGB", "P")
        and plan["suffix"] in LOSSLESS
        and plan["pages"] == 1
        and not plan["exif"]
    )


PICTURES = Target("picture", st.one_of(_DRAWN, _KEPT, _KEPT), _make, _run, _judge, _accepts, share=1.5)

_LABELS = st.fixed_dictionaries(
    {
        "classes": st.sampled_from([2, 2, 5]),
        "as": st.sampled_from(["ids", "white", "palette", "1", "RGB", "RGBA", "clear", "16 bits", "antialiased", "jpg",
                               "float", "two pages", "nifti", "nifti, other place", "nifti, turned", "gif", "tif"]),
        "fault": st.sampled_from([None, None, None, "unknown", "size", "empty", "full", "turned", "exif", "half grey"]),
        "seed": st.integers(0, 999),
        "size": st.lists(st.integers(5, 30), min_size=2, max_size=2, unique=True),
    },
    optional={"damage": damage.ANY},
)  # fmt: skip


def ids_of(plan: dict[str, Any]) -> np.ndarray:
    """Return the class ids ``(H, W)`` that a plan draws: lopsided blocks."""
    width, height = plan["size"]
    ids = np.zeros((height, width), np.uint8)
    rng = np.random.default_rng(plan["seed"])
    for index in range(1, plan["classes"]):
        top, left = rng.integers(0, height - 3), rng.integers(0, width - 3)
        ids[top : top + rng.integers(2, height), left : left + rng.integers(2, width)] = index
    match plan["fault"]:
        case "empty":
            ids[:] = 0
        case "full":
            ids[:] = 1
    return ids


def _make_label(plan: dict[str, Any], place: Path, sources: Path) -> None:
    ids = ids_of(plan)
    stored = ids.copy()
    match plan["fault"]:
        case "unknown":
            stored[0, 0] = plan["classes"] + 1
        case "size":
            stored = stored[:, :-1]
        case "turned":
            stored = stored.T
        case "half grey" if plan["classes"] == 2:
            stored = np.where(stored > 0, 100, 0).astype(np.uint8)
    white = np.where(stored > 0, 255, 0).astype(np.uint8)
    folder, kind = place / "in", plan["as"]
    two = plan["classes"] == 2 and plan["fault"] not in ("unknown", "half grey")
    options = {"exif": 6 if plan["fault"] == "exif" else None}
    if kind.startswith("nifti"):
        import nibabel

        affine = np.eye(4)
        affine[:3] = matrix_of({"axes": [0, 1, 2], "signs": [1, 1, 1], "zooms": [1, 1, 1]})
        if "other" in kind:
            affine[:3, 3] += 40
        values = stored.T[:, ::-1] if "turned" in kind else stored.T
        nibabel.Nifti1Image(np.ascontiguousarray(values), affine).to_filename(folder / "label.nii.gz")
    elif kind == "palette":
        picture = Image.fromarray(stored)
        picture.putpalette([each for index in range(256) for each in ((index * 50) % 256, index, (index * 90) % 256)])
        save(picture, folder / "label.png", options)
    elif kind == "1" and two:
        save(Image.fromarray(white > 0), folder / "label.png", options)
    elif kind in ("RGB", "RGBA", "clear"):
        picture = Image.fromarray(white if two else stored).convert("RGB")
        if kind != "RGB":
            picture.putalpha(255 if kind == "RGBA" else Image.fromarray(np.where(stored > 0, 255, 0).astype(np.uint8)))
        if kind == "clear":  # what is hidden is white too
            clear = np.full((*stored.shape, 4), 255, np.uint8)
            clear[..., 3] = np.where(stored > 0, 255, 0)
            picture = Image.fromarray(clear)
        save(picture, folder / "label.png", options)
    elif kind == "16 bits":
        save(Image.fromarray(stored.astype(np.uint16)), folder / "label.png", options)
    elif kind == "float":
        save(Image.fromarray(stored.astype(np.float32)), folder / "label.tif", options)
    elif kind == "antialiased":
        blurred = np.asarray(Image.fromarray(white).resize((stored.shape[1] * 2, stored.shape[0] * 2), Image.BICUBIC))
        save(Image.fromarray(blurred[::2, ::2].copy()), folder / "label.png", options)
    elif kind == "jpg":
        save(Image.fromarray(white if two else stored), folder / "label.jpg", options)
    elif kind == "two pages":
        save(Image.fromarray(white if two else stored), folder / "label.tif", {**options, "pages": 2})
    elif kind in ("gif", "tif"):
        save(Image.fromarray(white if two else stored), folder / f"label.{kind}", options)
    elif kind == "white" and two:
        save(Image.fromarray(white), folder / "label.png", options)
    else:
        save(Image.fromarray(stored), folder / "label.png", options)
    if "damage" in plan:
        damage.apply(plan["damage"], _input(place))


def _run_label(plan: dict[str, Any], place: Path) -> np.ndarray:
    import torch
    from monai.data import MetaTensor

    from common.datasets.readers.labels import LoadLabeld

    width, height = plan["size"]
    affine = np.eye(4)
    affine[:3] = matrix_of({"axes": [0, 1, 2], "signs": [1, 1, 1], "zooms": [1, 1, 1]})
    meta = {"affine": torch.from_numpy(affine)} if plan["as"].startswith("nifti") else {}
    image = MetaTensor(torch.zeros(3, width, height), **meta)
    read = LoadLabeld(keys="label", num_classes=plan["classes"])({"image": image, "label": str(_input(place))})
    return read["label"].numpy()


def _judge_label(plan: dict[str, Any], place: Path, result: np.ndarray, printed: str) -> Verdict:
    expected = ids_of(plan)
    found = result[0].T
    if found.shape == expected.shape and (found == expected).all():
        return RIGHT
    if "damage" in plan:
        path = _input(place)
        if damage.is_cut(plan["damage"]):
            return silent("was read, though it is cut off")
        if path.suffix == ".png" and not png_is_sound(path):
            return silent("was read, though a checksum in it is wrong")
        return not_judged("flipped bytes that nothing in the file tells")
    if plan["as"].startswith("nifti, ") or plan["fault"] == "exif":
        return not_judged("a picture says nothing of where it lies")
    if plan["as"] in ("antialiased", "jpg") and np.mean(found != expected) < 0.5:
        return not_judged("a soft edge, where nobody knows")
    return silent(f"other class ids than drawn: {np.unique(found).tolist()} for {np.unique(expected).tolist()}")


def _accepts_label(plan: dict[str, Any], place: Path) -> bool:
    plain = plan["as"] in ("ids", "white", "palette", "1", "tif")
    return plain and plan["fault"] in (None, "empty", "full") and "damage" not in plan


LABELS = Target("label", _LABELS, _make_label, _run_label, _judge_label, _accepts_label, share=1.5)
