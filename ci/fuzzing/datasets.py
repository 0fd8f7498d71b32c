"""Phantoms of each dataset with files changed, given to ``python -m common check``."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import damage
from fuzzing.commands import BUNDLES, run_module
from fuzzing.sources import TINY_PHANTOMS
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

_HARMFUL = ("cut", "gone", "size", "deep", "unknown value", "folder", "link loop", "emptied folder", "other kind")
_CHANGES = (None, "junk", "damage", "same content", "name", "alpha", "exif", "colour", "pages", *_HARMFUL)
_PLANS = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(sorted(TINY_PHANTOMS)),
        "change": st.sampled_from(_CHANGES),
        "file": st.integers(0, 10**6),
        "damage": damage.ANY,
        "cut": damage.CUT,
        "junk": st.sampled_from([".DS_Store", "Thumbs.db", "._21_training.tif", "desktop.ini", "notes.txt"]),
        "name": st.sampled_from(["a b", "ä 中", "UPPER", "x.y.z", "-x", "copy (1)"]),
    }
)
_DATA = (".tif", ".gif", ".png", ".bmp", ".dcm", ".jpg", ".xlsx")
_UNUSED = {"Test_Sets", "reviewed_masks_2", "capsule"}  # folders that the default settings do not read
_PICTURES = (".tif", ".gif", ".png", ".bmp", ".jpg")
_HARMLESS = {"busi": ("deep", "unknown value")}  # masks of 16 bits and grey images with a bar are read as they are


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    folder = place / "in" / "data"
    shutil.copytree(sources / plan["dataset"], folder)
    files = sorted(path for path in folder.rglob("*") if path.suffix in _DATA and _UNUSED.isdisjoint(path.parts))
    files = [path for path in files if plan["dataset"] != "chaos" or "T2SPIR" in path.parts]
    files = [path for path in files if not path.stem.endswith("_mask_1")]  # nobody can miss a second lesion's mask
    picked = [path for path in files if path.suffix in _PICTURES] if plan["change"] in _NEED_PICTURE else files
    path = picked[plan["file"] % len(picked)]
    (place / "in" / "changed.txt").write_text(path.relative_to(folder).as_posix())
    match plan["change"]:
        case "junk":
            for each in {path.parent, folder}:
                (each / plan["junk"]).write_bytes(b"junk")
        case "damage":
            damage.apply(plan["damage"], path)
        case "cut":
            damage.apply(plan["cut"], path)
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "link loop":
            path.unlink()
            path.symlink_to(path.name)
        case "emptied folder":
            for each in list(path.parent.iterdir()):
                if each.is_file():
                    each.unlink()
        case "name":
            path.rename(path.with_name(plan["name"] + path.suffix))
        case "other kind":
            path.write_bytes(b"%PDF-1.4\n" + bytes(2000))
        case "same content":
            others = [each for each in picked if each.parent == path.parent or each.suffix == path.suffix]
            shutil.copy(path, random.Random(plan["file"]).choice(others))
        case "size" | "deep" | "unknown value" | "alpha" | "exif" | "colour" | "pages":
            _change_picture(plan["change"], path)


_NEED_PICTURE = ("size", "deep", "unknown value", "alpha", "exif", "colour", "pages", "same content")


def _change_picture(change: str, path: Path) -> None:
    with Image.open(path) as stored:
        image = stored.copy()
    options: dict[str, Any] = {}
    match change:
        case "size":
            image = image.resize((image.width + 3, image.height - 2))
        case "deep":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        case "unknown value":
            pixels = np.array(image.convert("L"))
            pixels[: len(pixels) // 3] = 77
            image = Image.fromarray(pixels)
        case "alpha":
            image = image.convert("RGBA")
            image.putalpha(Image.fromarray((np.arange(image.width * image.height) % 256).astype(np.uint8).reshape(
                image.height, image.width)))  # fmt: skip
        case "exif":
            exif = Image.Exif()
            exif[0x0112] = 6
            options["exif"] = exif
        case "colour":
            image = image.convert("RGB")
            image.putpixel((0, 0), (250, 3, 99))
        case "pages":
            options |= {"save_all": True, "append_images": [image.copy()]}
    kind = {".tif": "TIFF", ".gif": "GIF", ".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG"}[path.suffix]
    if kind in ("GIF", "BMP", "JPEG") and change in ("deep", "alpha", "exif", "pages"):
        kind = "PNG"  # by content: what is read goes by that
    image.save(path, kind, **options)


def _run(plan: dict[str, Any], place: Path) -> dict[str, Any]:
    bundle = BUNDLES / f"{plan['dataset']}_segmentation"
    keys = ["--num_validation", "1"] if plan["dataset"] != "chaos" else ["--num_validation", "1", "--modality", "t2"]
    run_module("common", "check", str(bundle), "--dataset_dir", "in/data", "--output_dir", "out", *keys)
    return json.loads((place / "out" / "check.json").read_text())


def _judge(plan: dict[str, Any], place: Path, result: dict[str, Any], printed: str) -> Verdict:
    changed = Path((place / "in" / "changed.txt").read_text())
    named = changed.name in printed or changed.stem in printed
    if plan["change"] in (None, "junk"):
        return RIGHT
    if named:
        return RIGHT  # it was told
    if plan["change"] in _HARMFUL and plan["change"] not in _HARMLESS.get(plan["dataset"], ()):
        return silent(f"{changed}: {plan['change']}, and check says nothing")
    return not_judged(f"{plan['change']} without a word, which may be harmless")


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] in (None, "junk")


CHECK = Target("check", _PLANS, _make, _run, _judge, _accepts, share=1.2)
