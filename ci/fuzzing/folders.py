"""Images of one's own: layouts, label formats and datalists, read and made into bundles, judged by the drawn labels."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import damage
from fuzzing.commands import run_module
from fuzzing.sources import noise
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

SIZE = (40, 32)
CLASSES = ("background", "wound", "skin")
_COLOURS = {"background": (0, 0, 0), "wound": (200, 30, 30), "skin": (30, 200, 30)}
_GREYS = (0, 85, 170)
# Where image and label of a name are, and the keys of the source.
_LAYOUTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "two folders": ("photos/{}.jpg", "masks/{}.png", {"images": "photos", "labels": "masks"}),
    "suffix": ("{}.jpg", "{}_mask.png", {"images": ".", "label_suffix": "_mask"}),
    "cases": ("{}/image.jpg", "{}/mask.png", {"images": ".", "image_suffix": "image", "label_suffix": "mask"}),
    "patients": ("{}/photos/a.jpg", "{}/masks/a.png",
                 {"images": ".", "image_suffix": "photos/", "label_suffix": "masks/"}),
    "nnU-Net": ("imagesTr/{}_0000.jpg", "labelsTr/{}.png",
                {"images": "imagesTr", "labels": "labelsTr", "image_suffix": "_0000"}),
    "csv": ("photos/{}.jpg", "masks/{}.png", {"images": "list.csv"}),
    "json": ("photos/{}.jpg", "masks/{}.png", {"images": "list.json"}),
    "dataset.json": ("imagesTr/{}.jpg", "labelsTr/{}.png", {"images": "dataset.json"}),
}  # fmt: skip
_FORMATS = ("black_white", "ids", "grey values", "colours", "palette", "file_per_class")
_NAMES = ("n{}", "IMG_{}", "a b {}", "ä {}", "v1.{}", "0{}", "{}.x", "P{}_left")
_HARMLESS = (None, "junk", "capitals", "hidden")
_CSV_HARMLESS = ("sep", "bom", "crlf", "semicolons", "tabs", "spaces", "columns", "quotes", "backslashes", "absolute",
                 "empty rows")  # fmt: skip
_HARMFUL = ("label gone", "image gone", "label size", "unknown value", "two labels", "label as JPEG", "overlay", "cut")
_CSV_HARMFUL = ("row twice", "no label column", "file missing", "open quote", "too many cells", "utf-16", "not utf-8")
_OTHER = ("damage", "list damage")
PLANS = st.fixed_dictionaries(
    {
        "layout": st.sampled_from([*_LAYOUTS, "csv", "csv"]),
        "format": st.sampled_from(_FORMATS),
        "change": st.sampled_from([*_HARMLESS, *_CSV_HARMLESS, *_HARMFUL, *_CSV_HARMFUL, *_OTHER]),
        "name": st.sampled_from(_NAMES),
        "count": st.integers(6, 8),
        "seed": st.integers(0, 999),
        "which": st.integers(0, 99),
        "damage": damage.ANY,
        "cut": damage.CUT,
    }
)


def change_of(plan: dict[str, Any]) -> str | None:
    """Return the change of a plan, None where its layout has no such files."""
    change = plan["change"]
    needs_list = change in (*_CSV_HARMLESS, *_CSV_HARMFUL)
    if needs_list and plan["layout"] != "csv":
        return None
    return None if change == "list damage" and plan["layout"] not in ("csv", "json", "dataset.json") else change


def format_of(plan: dict[str, Any]) -> str:
    """Return how labels are drawn; folders of each case have one label alone."""
    alone = plan["layout"] in ("cases", "patients", "csv", "json", "dataset.json", "nnU-Net")
    return "ids" if plan["format"] == "file_per_class" and alone else plan["format"]


def classes_of(plan: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes by id."""
    return CLASSES[:2] if format_of(plan) == "black_white" else CLASSES


def names_of(plan: dict[str, Any]) -> list[str]:
    """Return the names of the images."""
    return [plan["name"].format(index) for index in range(plan["count"])]


def ids_of(plan: dict[str, Any], index: int) -> np.ndarray:
    """Return the class ids of an image as they were drawn, uint8 ``(H, W)``, all classes among them."""
    blocks = noise(1000 * plan["seed"] + index, SIZE[1] // 8, SIZE[0] // 8, high=len(classes_of(plan)))
    blocks.ravel()[: len(classes_of(plan))] = range(len(classes_of(plan)))
    return np.kron(blocks, np.ones((8, 8), np.uint8))


def source_of(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the source that says what was written."""
    classes, form = classes_of(plan), format_of(plan)
    source: dict[str, Any] = {**_LAYOUTS[plan["layout"]][2], "classes": list(classes)}
    source["label_format"] = {"grey values": "ids", "palette": "ids"}.get(form, form)
    if form == "grey values":
        source["values"] = {_GREYS[index]: index for index in range(len(classes))}
    if form == "colours":
        source["colours"] = {name: list(_COLOURS[name]) for name in classes}
    if form == "file_per_class":
        source["class_files"] = {name: f"_{name}" for name in classes[1:]}
    return source


def _save_label(plan: dict[str, Any], path: Path, ids: np.ndarray) -> list[Path]:
    """Write a label, and return its files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form, classes = format_of(plan), classes_of(plan)
    if form == "file_per_class":
        stem = path.stem.removesuffix("_mask")
        suffix = path.stem.removeprefix(stem)
        paths = {name: path.with_name(f"{stem}_{name}{suffix}.png") for name in classes[1:]}
        for name, each in paths.items():
            Image.fromarray((ids == classes.index(name)).astype(np.uint8) * 255).save(each)
        return list(paths.values())
    pixels = {
        "black_white": lambda: ids * 255,
        "ids": lambda: ids,
        "palette": lambda: ids,
        "grey values": lambda: np.array(_GREYS, np.uint8)[ids],
        "colours": lambda: np.array([_COLOURS[name] for name in classes], np.uint8)[ids],
    }[form]()
    picture = Image.fromarray(pixels)
    if form == "palette":
        picture = picture.convert("P")
        colours = [*_COLOURS.values(), *((value, value, 99) for value in range(len(CLASSES), 256))]
        picture.putpalette([part for colour in colours for part in colour])  # whole, lest Pillow stores fewer bits
    picture.save(path)
    return [path]


def make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    """Write the images and labels of a plan, changed as it says."""
    root, change = place / "in" / "data", change_of(plan)
    image_at, label_at, _ = _LAYOUTS[plan["layout"]]
    rows, labels = [], []
    for index, name in enumerate(names_of(plan)):
        image = root / image_at.format(name)
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(plan["seed"] + index, SIZE[1], SIZE[0], 3)).save(image)
        labels.append(_save_label(plan, root / label_at.format(name), ids_of(plan, index)))
        rows.append([image_at.format(name), label_at.format(name)])
    which = plan["which"] % plan["count"]
    label, image = labels[which][0], root / rows[which][0]
    (place / "in" / "changed.txt").write_text(label.name, encoding="utf-8")
    _change_files(plan, change, image, label)
    match plan["layout"]:
        case "csv":
            (root / "list.csv").write_bytes(_csv(change, rows, which, root))
        case "json":
            listed = [{"image": each, "label": label} for each, label in rows]
            (root / "list.json").write_text(json.dumps(listed), encoding="utf-8")
        case "dataset.json":
            names = {str(index): name for index, name in enumerate(classes_of(plan))}
            listed = [{"image": f"./{each}", "label": f"./{label}"} for each, label in rows]
            content = {"name": "x", "labels": names, "numTraining": len(rows), "training": listed, "test": []}
            (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    if change == "list damage":
        damage.apply(plan["damage"], root / source_of(plan)["images"])


def _change_files(plan: dict[str, Any], change: str | None, image: Path, label: Path) -> None:
    match change:
        case "junk":
            (image.parent / "Thumbs.db").write_bytes(b"junk")
            (label.parent / "notes.txt").write_text("junk")
        case "hidden":
            shutil.copy(image, image.with_name(f"._{image.name}"))
        case "capitals":
            if plan["layout"] in ("two folders", "nnU-Net"):
                label.rename(label.with_name(label.stem.upper() + ".PNG"))
        case "label gone":
            label.unlink()
        case "image gone":
            image.unlink()
        case "label size":
            with Image.open(label) as stored:
                larger = stored.resize((SIZE[0] + 1, SIZE[1]), Image.Resampling.NEAREST)
            larger.save(label)
        case "unknown value":
            with Image.open(label) as stored:
                changed = stored.copy()
            changed.paste((9, 99, 199) if changed.mode == "RGB" else 77, (0, 0, 20, 20))
            changed.save(label)
        case "two labels":
            shutil.copy(label, label.with_suffix(".bmp"))
        case "label as JPEG":
            with Image.open(label) as stored:
                stored.convert("RGB").save(label.with_suffix(".jpg"))
            label.with_suffix(".jpg").replace(label)  # by its content
        case "overlay":
            shutil.copy(image, image.with_name(f"{image.stem}_overlay.jpg"))
        case "damage":
            damage.apply(plan["damage"], label)
        case "cut":
            damage.apply(plan["cut"], label)


def _csv(change: str | None, rows: list[list[str]], which: int, root: Path) -> bytes:
    """Return the bytes of a datalist."""
    columns = [" Image ", "LABEL", "Notes"] if change == "columns" else ["image", "label", "notes"]
    rows = [[*row, "x, y"] for row in rows]
    match change:
        case "backslashes":
            rows = [[cell.replace("/", "\\") for cell in row] for row in rows]
        case "absolute":
            rows = [[*(str(root / cell) for cell in row[:2]), row[2]] for row in rows]
        case "spaces":
            rows = [[f"  {cell} " for cell in row] for row in rows]
        case "row twice":
            rows.append(rows[which])
        case "file missing":
            rows[which] = [rows[which][0], f"no/{rows[which][1]}", ""]
        case "no label column":
            columns[1] = "comment"
        case "too many cells":
            rows[which] = [*rows[which], "x"]
        case "empty rows":
            rows[which:which] = [[], ["", "", ""]]
    delimiter = {"semicolons": ";", "sep": ";", "tabs": "\t"}.get(change or "", ",")
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if change == "quotes" else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n" if change == "crlf" else "\n", quoting=quoting)
    writer.writerows([columns, *rows])
    content = text.getvalue()
    if change == "sep":
        content = f"sep=;\n{content}"
    if change == "open quote":
        content += '"photos/x.jpg,masks/x.png,\n'
    if change == "not utf-8":
        content += "ph\u00fc.jpg,m.png,\n"
    encoding = {"bom": "utf-8-sig", "utf-16": "utf-16", "not utf-8": "latin-1"}.get(change or "", "utf-8")
    return content.encode(encoding, "replace")


def read_labels(root: Path, source: dict[str, Any]) -> dict[str, Any]:
    """Check a dataset and return the class ids of each image by its path, and the remarks of the check."""
    from common.datasets.folder import FolderDataset

    dataset = FolderDataset(root=root, source=source, num_validation=1)
    dataset.check()
    entries = [entry for each in dataset.all_entries().values() for entry in each]
    labels = {Path(entry["image"]).relative_to(root.absolute()).as_posix(): dataset.load(entry)[1] for entry in entries}
    return {"labels": labels, "notes": dataset.notes}


def _run_read(plan: dict[str, Any], place: Path) -> dict[str, Any]:
    return read_labels(place / "in" / "data", source_of(plan))


def _run_create(plan: dict[str, Any], place: Path) -> dict[str, Any]:
    import yaml

    data, source = place / "in" / "data", source_of(plan)
    options = ["--images", str(data / source["images"]), "--classes", ",".join(source["classes"])]
    if "labels" in source:
        options += ["--labels", str(data / source["labels"])]
    if format_of(plan) in ("grey values", "colours"):  # what create can but ask for
        key = {"grey values": "values", "colours": "colours"}[format_of(plan)]
        pairs = source[key].items()
        told = (f"{a}=#{bytes(b).hex()}" if key == "colours" else f"{a}={b}" for a, b in pairs)
        options += [f"--{key}", ",".join(told)]
    run_module("common", "create", "fuzzed", *options, "--output_dir", "out")
    config = yaml.safe_load((place / "out" / "fuzzed_segmentation" / "configs" / "train.yaml").read_text("ascii"))
    return read_labels(Path(config["dataset_dir"]), config["source"])


def _judge(plan: dict[str, Any], place: Path, result: dict[str, Any], printed: str) -> Verdict:
    change, changed = change_of(plan), (place / "in" / "changed.txt").read_text(encoding="utf-8")
    said = "\n".join([printed, *result["notes"]])
    which = plan["which"] % plan["count"]
    images = [_LAYOUTS[plan["layout"]][0].format(name) for name in names_of(plan)]
    expected = {image: ids_of(plan, index) for index, image in enumerate(images)}
    wrong = [
        name
        for name, ids in result["labels"].items()
        if name not in expected or not np.array_equal(ids, expected[name])
    ]
    missing = [name for name in expected if name not in result["labels"]]
    if change in ("damage", "list damage"):
        lossless = damage.is_cut(plan["damage"]) and change == "damage"
        if wrong and lossless:
            return silent(f"{changed}: cut, and read as something else")
        return not_judged("damage that nothing tells") if wrong or missing else RIGHT
    if change == "image gone" and missing == [images[which]] and not wrong:
        return RIGHT if Path(changed).stem in said or format_of(plan) == "file_per_class" else silent("a lost image")
    if change == "unknown value" and format_of(plan) == "black_white" and wrong == [images[which]]:
        return silent("grey areas count as white")
    if change == "label gone" and format_of(plan) == "file_per_class":
        told = "counts as absent" in said
        return RIGHT if told and wrong in ([], [images[which]]) else silent("a class that is lost without a word")
    if change == "label as JPEG" and format_of(plan) == "black_white":
        return not_judged("borders of JPEG") if wrong else RIGHT
    if wrong or missing:
        return silent(f"{change}: wrong {wrong[:2]}, missing {missing[:2]}")
    if change in (*_HARMLESS, *_CSV_HARMLESS, "cut", "overlay"):  # no pixels may be cut off, nor overlays be listed
        return RIGHT
    harmful = change in (*_HARMFUL, *_CSV_HARMFUL)
    if harmful and Path(changed).stem not in said:
        return silent(f"read, though: {change}")
    return RIGHT


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return change_of(plan) in (*_HARMLESS, *_CSV_HARMLESS)


FOLDER = Target("folder", PLANS, make, _run_read, _judge, _accepts, share=1.5)
CREATE = Target("create", PLANS, make, _run_create, _judge, _accepts, share=1.2)
