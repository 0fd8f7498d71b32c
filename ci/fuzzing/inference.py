"""Folders of pictures or volumes with an odd one among them, segmented by ``python -m monai.bundle run``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import damage, nifti, pictures
from fuzzing.commands import BUNDLES, run_module
from fuzzing.sources import CLASSES, TINY_STUDENT, noise
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

_GOOD = ("alpha", "beta")
_SUFFIXES = (".jfif", ".jpe", ".webp", ".jp2", ".JPG", ".tiff", ".png", ".gif", ".bmp", ".pgm", ".heic", ".svg", ".dcm")
_PICTURE = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["damage", "mode", "suffix", "name", "sub-folder", "pages", "same stem", "link", "exif",
                                 "hidden", "tiny", "nothing", "archive", "text"]),
        "seed": st.integers(0, 999),
        "damage": damage.ANY,
        "suffix": st.sampled_from(_SUFFIXES),
        "name": st.sampled_from(pictures.NAMES),
        "mode": st.sampled_from(["L", "P", "LA", "RGBA", "CMYK", "I;16", "F", "1", "I"]),
    }
)  # fmt: skip


def _picture(seed: int, width: int = 37, height: int = 26) -> Image.Image:
    return Image.fromarray(noise(seed, height, width, 3))


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    shutil.copy(sources / "ph2.pt", place / "in" / "model.pt")
    folder = place / "in" / "images"
    folder.mkdir()
    for number, name in enumerate(_GOOD):
        _picture(number).save(folder / f"{name}.png")
    odd = _picture(plan["seed"], 31, 22)
    path = folder / "odd.png"
    match plan["what"]:
        case "damage":
            odd.save(path)
            damage.apply(plan["damage"], path)
        case "mode":
            drawn = {"mode": plan["mode"], "size": [31, 22], "seed": plan["seed"], "alpha": "some"}
            suffix = ".tif" if plan["mode"] in ("CMYK", "F", "I") else ".png"
            pictures.save(pictures.drawn_picture(drawn), path.with_suffix(suffix), {})
        case "suffix":
            kinds = {".webp": "WEBP", ".jp2": "JPEG2000", ".tiff": "TIFF", ".png": "PNG", ".gif": "GIF", ".bmp": "BMP"}
            odd.save(path.with_suffix(plan["suffix"]), kinds.get(plan["suffix"], "JPEG"))
        case "name":
            odd.save(folder / plan["name"], "PNG")
        case "sub-folder":
            (folder / "more").mkdir()
            odd.save(folder / "more" / "odd.png")
        case "pages":
            odd.save(folder / "odd.tif", save_all=True, append_images=[odd.rotate(180)])
        case "same stem":
            odd.save(folder / "alpha.jpg")
        case "link":
            path.symlink_to("none.png")
        case "exif":
            pictures.save(odd, folder / "odd.jpg", {"exif": 6})
        case "hidden":
            odd.save(folder / ".odd.png")
        case "tiny":
            _picture(plan["seed"], 1, 1).save(path)
        case "archive":
            (folder / "odd.zip").write_bytes(b"PK\x03\x04" + bytes(50))
        case "text":
            (folder / "odd.txt").write_text("notes")


def _run(plan: dict[str, Any], place: Path) -> bool:
    _infer("ph2", ["--image_size", "16"])
    return True


def _infer(dataset: str, options: list[str]) -> None:
    bundle = BUNDLES / f"{dataset}_segmentation"
    channels = 1 if dataset == "chaos" else 3
    student = {
        "_target_": "common.students.vit.ViTSegmenter",
        "in_channels": channels,
        "num_classes": CLASSES[dataset],
        **TINY_STUDENT,
    }
    values = {
        "config_file": bundle / "configs" / "inference.yaml",
        "bundle_root": bundle,
        "dataset_dir": "in/images",
        "ckpt_path": "in/model.pt",
        "output_dir": "out",
        "device": "cpu",
        "network_def": student,
    }
    words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    run_module("monai.bundle", "run", *words, *options)


def judge_masks(place: Path, printed: str) -> Verdict | None:
    """Return a verdict where the good inputs have no masks."""
    for name in _GOOD:
        if not list((place / "out").rglob(f"{name}*mask*")):
            return silent(f"no mask of {name}, which is sound")
    return None


def _judge(plan: dict[str, Any], place: Path, result: Any, printed: str) -> Verdict:
    wrong = judge_masks(place, printed)
    if wrong:
        return wrong
    masks = [path for path in (place / "out").rglob("*mask*") if not path.name.startswith(_GOOD)]
    odd = [path for path in (place / "in" / "images").rglob("*") if path.is_file() and path.stem not in _GOOD]
    odd += (place / "in" / "images").glob("alpha.jpg")
    if plan["what"] in ("archive", "text", "hidden", "nothing", "same stem", "link"):
        names = [path.name for path in odd]
        named = all(name in printed for name in names)
        two = plan["what"] != "same stem" or len(list((place / "out").rglob("alpha*mask*"))) == 2
        return (
            RIGHT
            if (named and two) or plan["what"] in ("nothing", "text", "hidden")
            else silent(f"not a word of {names}")
        )
    if not masks:
        return RIGHT if odd[0].name in printed else silent(f"no mask of {odd[0].name}, and not a word of it")
    with Image.open(masks[0]) as mask:
        size, values = mask.size, np.unique(np.asarray(mask))
    with Image.open(odd[0]) as image:
        expected, pages = image.size, getattr(image, "n_frames", 1)
    if size != expected:
        return silent(f"the mask is {size}, the image {expected}")
    if pages > 1 and odd[0].name not in printed:
        return silent(f"{pages} pages, one mask, and not a word")
    if values.max(initial=0) >= CLASSES["ph2"]:
        return silent(f"the mask has values {values.tolist()}")
    if plan["what"] == "mode" and plan["mode"] in ("I;16", "F", "I"):
        return silent("more than 8 bits were read as 8")
    if plan["what"] == "damage":
        return not_judged("flipped bytes") if not damage.is_cut(plan["damage"]) else silent("a cut image has a mask")
    return RIGHT


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return plan["what"] in ("nothing", "text", "tiny") or (plan["what"] == "mode" and plan["mode"] in ("L", "P", "1"))


INFER_PICTURES = Target("infer_pictures", _PICTURE, _make, _run, _judge, _accepts, share=1.2)

_VOLUME = st.fixed_dictionaries({"head": nifti.header()})


def _make_volume(plan: dict[str, Any], place: Path, sources: Path) -> None:
    shutil.copy(sources / "chaos.pt", place / "in" / "model.pt")
    folder = place / "in" / "images"
    folder.mkdir()
    sound = {"shape": [9, 8, 4], "type": "int16", "axes": [0, 1, 2], "signs": [-1, -1, 1], "zooms": [1.0, 1.0, 3.0],
             "codes": [1, 1], "order": "<", "gzip": False}  # fmt: skip
    for number, name in enumerate(_GOOD):
        nifti.write({**sound, "seed": number}, folder / f"{name}.nii")
    nifti.write(plan["head"], folder / ("odd_" + nifti.name_of(plan["head"])))


def _run_volume(plan: dict[str, Any], place: Path) -> bool:
    _infer("chaos", ["--image_size", "16"])
    return True


def _judge_volume(plan: dict[str, Any], place: Path, result: Any, printed: str) -> Verdict:
    wrong = judge_masks(place, printed)
    if wrong:
        return wrong
    odd = next(path for path in (place / "in" / "images").iterdir() if path.name.startswith("odd_"))
    masks = [path for path in (place / "out").rglob("*mask*") if path.name.startswith("odd_")]
    if not masks:
        return RIGHT if odd.name in printed else silent(f"no mask of {odd.name}, and not a word of it")
    reason = nifti.must_refuse(odd)
    if reason:
        return silent(f"has a mask, though {reason}")
    image, mask = nibabel.load(odd), nibabel.load(masks[0])
    if image.shape != mask.shape:
        return silent(f"the mask is {mask.shape}, the image {image.shape}")
    if not np.allclose(image.affine, mask.affine, rtol=1e-4, atol=1e-4 * np.abs(image.affine).max()):
        return silent(f"the mask lies elsewhere: {mask.affine.round(3).tolist()} for {image.affine.round(3).tolist()}")
    lengths, zooms = np.linalg.norm(image.affine[:3, :3], axis=0), image.header.get_zooms()[:3]
    if int(image.header["sform_code"]) > 0 and not np.allclose(lengths, zooms, rtol=0.02) and odd.name not in printed:
        return silent(f"sform says voxels of {lengths.round(3).tolist()} mm, pixdim {zooms}, and not a word of it")
    if "damage" in plan["head"]:
        cut = damage.is_cut(plan["head"]["damage"])
        return silent("a cut volume has a mask") if cut else not_judged("flipped bytes that nothing tells")
    return RIGHT


def _accepts_volume(plan: dict[str, Any], place: Path) -> bool:
    odd = next(path for path in (place / "in" / "images").iterdir() if path.name.startswith("odd_"))
    return "damage" not in plan["head"] and odd.name.lower().endswith((".nii", ".nii.gz")) and nifti.is_sound(odd)


INFER_VOLUMES = Target("infer_volumes", _VOLUME, _make_volume, _run_volume, _judge_volume, _accepts_volume, share=1.2)
