"""Commands with odd values, as ``python -m`` runs them."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent
from fuzzing.trap import NAME

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
STUDENT = "{'_target_': 'common.students.vit.ViTSegmenter', 'in_channels': 3, 'num_classes': 2, 'hidden_size': 24, \
'depth': 1, 'num_heads': 2, 'conv_channels': [4, 4]}"


def run_module(module: str, *arguments: str) -> None:
    """Do what ``python -m module arguments`` does, in this process; nothing is returned where it ends well."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


_WHOLE = ("1", "2", "3")
_NOT_WHOLE = ("0", "-1", "2.5", "all", "", "nan", "[1]", "true", "1e400", "'2", "{}", "10**9", "1 2")
_SWITCHES = ("true", "false", "True", "False")
# Values that are right, and values that can only be wrong, by key.
_TRAIN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "epochs": (("1",), _NOT_WHOLE),
    "batch_size": (("1", "2"), _NOT_WHOLE),
    "num_labels": (("1", "2", "null", "None", "$None"), ("0", "-1", "2.5", "all", "99", "[1]", "true")),
    "num_validation": (("1",), ("0", "-1", "1.5", "x", "99", "true", "null")),
    "image_size": (("16", "32"), ("0", "-16", "2.5", "15", "x", "null", "[16]", "16px")),
    "learning_rate": (("0.001", "1e-3", "1"), ("0", "-1", "x", "nan", "inf", "null", "1,5", "0,001")),
    "val_interval": (("1",), ("0", "-1", "x", "1.5", "null")),
    "seed": (("0", "7"), ("x", "1.5", "-1", "null")),
    "split_seed": (("0", "3"), ("x", "1.5", "null")),
    "num_workers": (("0",), ("-1", "x", "1.5", "null")),
    "device": (("cpu",), ("gpu", "cuda:99", "", "7", "null")),
    "samples_per_epoch": (("2",), ("0", "-1", "x", "1.5", "null")),
    "amp": (_SWITCHES, ("maybe", "2", "")),
    "no_such_key": ((), ("1", "x")),
    "epoch": ((), ("1",)),
    "dataset_dir": (("in/data",), ("in/none", "in/changed.txt", "", "null", "2024", "~/none", "/dev/null", "[]")),
    "output_dir": (("out", "out/2024", "out/a b", "out/ä"), ("in/changed.txt", "out/a#b", "/proc/none", "/dev/null/x")),
    "initial_weights": (("$None", "null", "None"), ("in/none.pt", "in/data", "in/changed.txt", "true", "7")),
    "student_def": ((STUDENT,), ("x", "{}", "{'_target_': 'NoSuchNetwork'}", "[1, 2]", "{'_target_': 7}", "null", "{")),
    "train::trainer::max_epochs": (("1",), ("0", "x")),
}  # fmt: skip
_FILES = ("initial_weights", "dataset_dir", "output_dir")  # whose value is a name as well
_KEY = st.sampled_from(sorted(_TRAIN))


@st.composite
def _plan(draw: st.DrawFn) -> dict[str, Any]:
    key = draw(_KEY)
    right, wrong = _TRAIN[key]
    is_right = bool(right) and draw(st.booleans()) and draw(st.booleans())
    value = draw(st.sampled_from(right if is_right else wrong))
    command = draw(st.sampled_from(["bundle", "pipeline"]))
    form = draw(st.sampled_from(["space", "equals"]))
    return {
        "command": command,
        "key": key,
        "value": value,
        "right": is_right,
        "form": form,
        "keys": [key, *([value] if key in _FILES and value else [])],
    }


_SMALL = {
    "dataset_dir": "in/data",
    "output_dir": "out",
    "epochs": "1",
    "batch_size": "2",
    "samples_per_epoch": "2",
    "num_validation": "1",
    "image_size": "16",
    "num_workers": "0",
    "val_interval": "1",
    "initial_weights": "$None",
    "student_def": STUDENT,
}


def make_data(plan: Any, place: Path, sources: Path) -> None:
    """Write phantoms of PH2, and a file that is none of what is expected."""
    shutil.copytree(sources / "ph2", place / "in" / "data")
    (place / "in" / "changed.txt").write_text("neither a folder nor a picture")


def _run(plan: dict[str, Any], place: Path) -> None:
    values = {**_SMALL, plan["key"]: plan["value"]}
    bundle = BUNDLES / "ph2_segmentation"
    if plan["key"] == "train::trainer::max_epochs":
        values.pop("epochs")
    if plan["command"] == "bundle":
        head = ["run", *_option("config_file", str(bundle / "configs" / "train.yaml"), "space")]
        values["bundle_root"] = str(bundle)
    else:
        head = ["pipeline", str(bundle), "--stages", "train", "--method", "scratch"]
        _run_stages_here()
    options = [each for key, value in values.items() for each in _option(key, value, plan["form"])]
    run_module("monai.bundle" if plan["command"] == "bundle" else "common", *head, *options)


def _run_stages_here() -> None:
    """Let the pipeline run stages in this process, which has imported all that they need."""
    from common.pipeline import stage_process

    stage_process._IMPORTS = []
    stage_process.run_stage = _run_stage


def _run_stage(arguments: list[str], distributed: bool = False) -> int:
    run_module("monai.bundle", "run", *arguments)
    return 0


def _option(key: str, value: str, form: str) -> list[str]:
    return [f"--{key}={value}"] if form == "equals" else [f"--{key}", value]


def _judge(plan: dict[str, Any], place: Path, result: None, printed: str) -> Verdict:
    if not plan["right"]:
        return silent(f"--{plan['key']} {plan['value']!r} was taken")
    return RIGHT if any((place / "out").rglob("model.pt")) else silent("ended well, and wrote no model.pt")


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return plan["right"]


VALUES = Target("values", _plan(), make_data, _run, _judge, _accepts, share=1.5)

_OVERLAYS = {
    "empty": "",
    "list": "- 1\n- 2\n",
    "text": "just a text",
    "tab": "epochs:\t1\n\tbatch_size: 2\n",
    "open": "epochs: [1\n",
    "twice": "epochs: 1\nepochs: 0\n",
    "unknown": "epoks: 1\n",
    "wrong value": "epochs: none at all\n",
    "reference": "epochs: '@no_such_key'\n",
    "circle": "epochs: '@epochs'\n",
    "expression": "epochs: $1 / 0\n",
    "syntax": "epochs: $1 +\n",
    "target": "loss: {_target_: NoSuchLoss}\n",
    "argument": "loss: {_target_: DiceLoss, no_such_argument: 1}\n",
    "binary": "\x00\x01\x02",
    "tag": "epochs: !!python/object/apply:os.mkdir ['" + NAME + "']\n",
    "right": "epochs: 1\n",
    "number": "7: 1\n",
    "null": "epochs: null\n",
    "utf-16": "epochs: 1\n",
    "folder": "",
}
_YAML = st.fixed_dictionaries(
    {
        "overlay": st.sampled_from(sorted(_OVERLAYS)),
        "keys": st.just(["epochs", "batch_size", "loss", "epoks"]),
        "name": st.sampled_from(["x", "a b"]),
    }
)


def _make_overlay(plan: dict[str, Any], place: Path, sources: Path) -> None:
    make_data(plan, place, sources)
    shutil.copytree(BUNDLES / "ph2_segmentation" / "configs", place / "in" / "bundle" / "configs")
    path = place / "in" / "bundle" / "configs" / f"{plan['name']}.yaml"
    if plan["overlay"] == "folder":
        path.mkdir()
    else:
        path.write_bytes(_OVERLAYS[plan["overlay"]].encode("utf-16" if plan["overlay"] == "utf-16" else "utf-8"))


def _run_overlay(plan: dict[str, Any], place: Path) -> bool:
    # Not by monai.bundle run, which reads a config before anything of a bundle can say what is wrong with it.
    values = {**_SMALL, "stages": "train", "method": "scratch", "overlay": plan["name"]}
    values.pop("epochs")
    options = [each for key, value in values.items() for each in _option(key, value, "space")]
    _run_stages_here()
    run_module("common", "pipeline", str(place / "in" / "bundle"), *options)
    return (place / "out" / "model.pt").exists()


def _judge_overlay(plan: dict[str, Any], place: Path, result: bool, printed: str) -> Verdict:
    if plan["overlay"] == "right":
        return RIGHT if result else silent("wrote no model.pt")
    if plan["overlay"] in ("unknown", "empty", "number"):
        return not_judged("an overlay may have keys of its own")
    return silent(f"an overlay was taken: {plan['overlay']}")


def _accepts_overlay(plan: dict[str, Any], place: Path) -> bool:
    return plan["overlay"] == "right"


OVERLAYS = Target("overlay", _YAML, _make_overlay, _run_overlay, _judge_overlay, _accepts_overlay, share=0.5)
