"""Polygons of annotation tools, judged by the rectangles that they are."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import damage
from fuzzing.folders import read_labels
from fuzzing.sources import noise
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

_SIZE = (40, 32)
_CLASSES = ("background", "wound", "skin")
_TOOLS = ("coco", "coco runs", "via json", "via csv", "labelme", "labelme mask")
_COUNT = 6
_HARMLESS = (None, "twice", "other folder", "windows path", "no region", "bom", "extra image", "reversed")
_HARMFUL = ("unknown name", "outside", "nan", "text", "null", "huge", "two corners", "image size", "unlisted",
            "no name")  # fmt: skip
_BOX = st.tuples(st.integers(0, 28), st.integers(0, 20), st.integers(2, 11), st.integers(2, 11))
_PLANS = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(_TOOLS),
        "change": st.sampled_from([*_HARMLESS, *_HARMFUL, "damage", "float"]),
        "boxes": st.lists(st.tuples(_BOX, _BOX), min_size=_COUNT, max_size=_COUNT),
        "damage": damage.ANY,
    }
)


def _corners(box: list[int]) -> list[list[Any]]:
    x, y, width, height = box
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


def _ids(plan: dict[str, Any], index: int) -> np.ndarray:
    """Return the class ids: borders belong to a polygon, COCO's corners lie between pixels; the later class is seen."""
    ids = np.zeros(_SIZE[::-1], np.uint8)
    border = 0 if plan["tool"].startswith("coco") else 1
    for number, (x, y, width, height) in enumerate(plan["boxes"][index], start=1):
        if not (plan["change"] == "no region" and index == 0):
            ids[y : y + height + border, x : x + width + border] = number
    return ids


def _regions(plan: dict[str, Any], index: int) -> list[tuple[str, list[list[Any]]]]:
    """Return the names and corners of an image; those of the first are changed."""
    regions = [(name, _corners(box)) for name, box in zip(_CLASSES[1:], plan["boxes"][index], strict=True)]
    if index > 0:
        return regions
    name, corners = regions[0]
    odd = {"nan": float("nan"), "text": "five", "null": None, "huge": 10**30, "float": corners[0][0] + 0.5}
    match plan["change"]:
        case "twice":
            return [regions[0], *regions]
        case "no region":
            return []
        case "reversed":
            return [(each, points[::-1]) for each, points in regions]
        case "unknown name":
            return [("spleen", corners), regions[1]]
        case "no name":
            return [("", corners), regions[1]]
        case "outside":
            return [(name, _corners([35, 25, 30, 30])), regions[1]]
        case "two corners":
            return [(name, corners[:2]), regions[1]]
    if plan["change"] in odd:
        return [(name, [[odd[plan["change"]], corners[0][1]], *corners[1:]]), regions[1]]
    return regions


def _listed(plan: dict[str, Any]) -> list[tuple[int, str, tuple[int, int]]]:
    """Return number, name in the file, and size of each image that is listed."""
    listed = [(index, f"{index}.png", _SIZE) for index in range(_COUNT)]
    match plan["change"]:
        case "other folder":
            listed = [(index, f"/home/x/photos/{name}", size) for index, name, size in listed]
        case "windows path":
            listed = [(index, f"C:\\x\\{name}", size) for index, name, size in listed]
        case "image size":
            listed[0] = (0, "0.png", (_SIZE[0] + 4, _SIZE[1]))
        case "unlisted":
            del listed[0]
    return listed


def _runs(corners: list[list[Any]]) -> list[int]:
    """Return the runs of a rectangle, column by column, beginning with what is outside."""
    mask = np.zeros(_SIZE[::-1], bool)
    (x, y), _, (right, bottom), _ = sorted(corners[:1]) + corners[1:2] + corners[2:3] + corners[3:]
    mask[y:bottom, x:right] = True
    flat = mask.T.ravel()
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    runs = np.diff([0, *ends]).tolist()
    return [0, *runs] if flat[0] else runs


def _coco(plan: dict[str, Any]) -> dict[str, Any]:
    images, annotations = [], []
    for index, name, (width, height) in _listed(plan):
        images.append({"id": index, "file_name": name, "width": width, "height": height})
        for label, corners in _regions(plan, index):
            number = {"wound": 1, "skin": 2}.get(label, 3)
            flat = [value for corner in corners for value in corner]
            drawn = plan["tool"] == "coco runs" and plan["change"] not in (*_HARMFUL, "float", "reversed")
            mask = {"size": list(_SIZE[::-1]), "counts": _runs(corners)} if drawn else [flat]
            annotation = {"id": len(annotations), "image_id": index, "category_id": number, "segmentation": mask}
            annotations.append(annotation)
    if plan["change"] == "extra image":
        images.append({"id": 99, "file_name": "elsewhere.png", "width": 9, "height": 9})
    other = "" if plan["change"] == "no name" else "spleen"
    categories = [{"id": index, "name": name} for index, name in enumerate(("wound", "skin", other), start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _via_shape(corners: list[list[Any]]) -> dict[str, Any]:
    x, y = ([corner[axis] for corner in corners] for axis in (0, 1))
    return {"name": "polygon", "all_points_x": x, "all_points_y": y}


def _via_json(plan: dict[str, Any]) -> dict[str, Any]:
    content = {}
    for index, name, _ in _listed(plan):
        regions = [
            {"shape_attributes": _via_shape(corners), "region_attributes": {"class": label} if label else {}}
            for label, corners in _regions(plan, index)
        ]
        content[f"{name}1"] = {"filename": name, "size": 1, "regions": regions, "file_attributes": {}}
    if plan["change"] == "extra image":
        content["elsewhere.png1"] = {"filename": "elsewhere.png", "size": 1, "regions": [], "file_attributes": {}}
    return content


def _via_csv(plan: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
             "region_attributes")  # fmt: skip
    writer.writerow(names)
    for index, name, _ in _listed(plan):
        regions = _regions(plan, index)
        for number, (label, corners) in enumerate(regions):
            attributes = json.dumps({"class": label} if label else {})
            writer.writerow([name, 1, "{}", len(regions), number, json.dumps(_via_shape(corners)), attributes])
        if not regions:
            writer.writerow([name, 1, "{}", 0, 0, "{}", "{}"])
    if plan["change"] == "extra image":
        writer.writerow(["elsewhere.png", 1, "{}", 0, 0, "{}", "{}"])
    return text.getvalue()


def _labelme(plan: dict[str, Any], index: int, name: str, size: tuple[int, int]) -> dict[str, Any]:
    shapes = []
    for label, corners in _regions(plan, index):
        shape: dict[str, Any] = {"label": label, "points": corners, "shape_type": "polygon"}
        if plan["tool"] == "labelme mask" and plan["change"] not in (*_HARMFUL, "float", "reversed"):
            (x, y), (right, bottom) = corners[0], corners[2]
            picture = io.BytesIO()
            Image.new("L", (right - x + 1, bottom - y + 1), 255).save(picture, "PNG")
            mask = base64.b64encode(picture.getvalue()).decode()
            shape = {"label": label, "points": [[x, y], [right, bottom]], "shape_type": "mask", "mask": mask}
        shapes.append(shape)
    return {"version": "5", "shapes": shapes, "imagePath": name, "imageWidth": size[0], "imageHeight": size[1]}


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    root = place / "in" / "data"
    (root / "photos").mkdir(parents=True)
    for index in range(_COUNT):
        Image.fromarray(noise(index, _SIZE[1], _SIZE[0], 3)).save(root / "photos" / f"{index}.png")
    encoding = "utf-8-sig" if plan["change"] == "bom" else "utf-8"
    if plan["tool"].startswith("labelme"):
        (root / "outlines").mkdir()
        for index, name, size in _listed(plan):
            text = json.dumps(_labelme(plan, index, name, size))
            (root / "outlines" / f"{index}.json").write_text(text, encoding=encoding)
        if plan["change"] == "extra image":
            text = json.dumps(_labelme({**plan, "change": "no region"}, 0, "elsewhere.png", _SIZE))
            (root / "outlines" / "elsewhere.json").write_text(text, encoding=encoding)
    elif plan["tool"] == "via csv":
        _file(plan, root).write_text(_via_csv(plan), encoding=encoding)
    else:
        content = _via_json(plan) if plan["tool"] == "via json" else _coco(plan)
        _file(plan, root).write_text(json.dumps(content), encoding=encoding)
    if plan["change"] == "damage":
        damage.apply(plan["damage"], _file(plan, root))


def _file(plan: dict[str, Any], root: Path) -> Path:
    if plan["tool"].startswith("labelme"):
        return root / "outlines" / "0.json"
    return root / ("outlines.csv" if plan["tool"] == "via csv" else "outlines.json")


def _run(plan: dict[str, Any], place: Path) -> dict[str, Any]:
    root = place / "in" / "data"
    labels = "outlines" if plan["tool"].startswith("labelme") else _file(plan, root).name
    source = {"images": "photos", "labels": labels, "classes": list(_CLASSES), "label_format": "polygons"}
    return read_labels(root, source)


def _is_harmful(plan: dict[str, Any]) -> bool:
    # The VGG Image Annotator does not say how large the images were.
    return plan["change"] in _HARMFUL and not (plan["change"] == "image size" and plan["tool"].startswith("via"))


def _judge(plan: dict[str, Any], place: Path, result: dict[str, Any], printed: str) -> Verdict:
    found = result["labels"]
    wrong = [
        index for index in range(_COUNT) if not np.array_equal(found.get(f"photos/{index}.png"), _ids(plan, index))
    ]
    if plan["change"] in ("damage", "float"):
        if plan["change"] == "float" and wrong not in ([], [0]):
            return silent(f"images {wrong} are other than drawn")
        return not_judged("what the bytes or a corner between pixels mean") if wrong else RIGHT
    if _is_harmful(plan):
        return silent(f"read, though: {plan['change']}")
    return silent(f"images {wrong} are other than drawn") if wrong else RIGHT


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] in _HARMLESS


POLYGONS = Target("polygons", _PLANS, _make, _run, _judge, _accepts, share=1.2)
