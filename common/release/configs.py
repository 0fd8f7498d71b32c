"""The configs of a release: those of the stages that a student has use for, naming nothing of this repository."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from common.errors import InputError
from common.pipeline.configs import check_overrides

STAGES = ("inference", "train", "evaluate")
JSON_STAGES = ("inference", "train")  # monai.bundle.load reads configs/<workflow_type>.json and nothing else
GPU_OVERLAYS = ("multi_gpu.yaml", "multi_gpu_train.yaml")  # the second one for MONAI Label
PACKAGE = "scripts"  # where a bundle has its code

_FIXED = ("bundle_root", "dataset_dir", "output_dir", "ckpt_path", "stage", "device", "subject", "pretrained")
# What a release sets itself, by stage: it knows where it is, has no teacher, and its weights are in models/.
_BUNDLE_ROOT = {"bundle_root": "$str(logs.Path(logs.__file__).parents[1])"}
_OWN_VALUES = {
    "inference": _BUNDLE_ROOT,
    "train": {
        **_BUNDLE_ROOT,
        "initial_weights": "$checkpoints.first_of(@output_dir + '/model.pt', @bundle_root + '/models/model.pt')",
    },
    "evaluate": {
        **_BUNDLE_ROOT,
        "subject": "student",
        "network": "$evaluation.load_subject(@subject, @network_def, @ckpt_path).to(@device)",
    },
}
_DROPPED = {"inference": (), "train": (), "evaluate": ("pretrained",)}
# What heads and messages say of stages that stay behind: patterns of lines to leave out, then of words to replace.
_LINES_ELSEWHERE = re.compile(r"teacher|distilled\.pt")
_WORDS_ELSEWHERE = (
    (r", or the teacher,", ""),
    (
        r"from distill\.yaml, or a finished student",
        "a student to go on from; models/model.pt unless output_dir has one",
    ),
    (r" --ckpt_path \S+", ""),
    (r",\s*'distill'\)", ")"),  # names the stage that makes a file, for a message
)


class ConfigText:
    """The text of a YAML config, whose keys at the top can be set and dropped without losing its comments.

    Args:
        text: a head of comments, a blank line, and keys.
    """

    def __init__(self, text: str) -> None:
        head, _, body = text.partition("\n\n")
        self.head = head.splitlines()
        self.blocks: list[tuple[str, list[str]]] = []
        for line in body.splitlines():
            match = re.match(r"([+\w]\S*?):(\s|$)", line)
            if match:
                self.blocks.append((match[1], [line]))
            elif self.blocks:
                self.blocks[-1][1].append(line)

    def __str__(self) -> str:
        return "\n".join([*self.head, "", *(line for _, lines in self.blocks for line in lines)]) + "\n"

    def config(self) -> dict[str, Any]:
        """Return what the text says."""
        return yaml.safe_load(str(self))

    def set(self, key: str, value: Any) -> None:
        """Set a key, or one within it, as in ``network_def::depth``; a plain value keeps the comment beside it.

        Raises:
            KeyError: if the key at the top does not exist.
        """
        key = key.replace("#", "::")
        top = key.split("::")[0]
        index = [name for name, _ in self.blocks].index(top) if top in self.config() else None
        if index is None:
            raise KeyError(key)
        old = self.blocks[index][1]
        if key != top:
            parser = ConfigParser({top: self.config()[top]})
            parser[key] = value
            value = parser[top]
        text = yaml.safe_dump({top: value}, sort_keys=False, width=110, allow_unicode=True)
        lines = text.rstrip().splitlines()
        comment = re.search(r"\s+#.*$", old[0])
        if comment and len(lines) == 1 and not isinstance(value, str):
            lines[0] += comment[0]
        while old and not old[-1].strip():  # the blank line before the next section
            lines.append(old.pop())
        self.blocks[index] = (top, lines)

    def drop(self, key: str) -> None:
        """Take a key out."""
        self.blocks = [(name, lines) for name, lines in self.blocks if name != key]


def read_settings(configs: Path, overrides: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a release sets in its configs: what the student was measured with, and overrides.

    Args:
        configs: the folder of the source's configs.
        overrides: values by key, as for a pipeline.
        measured: settings of the evaluation.

    Raises:
        InputError: if an override is of no use here, or contradicts the evaluation.
    """
    stages = {stage: ConfigParser.load_config_file(str(configs / f"{stage}.yaml")) for stage in STAGES}
    for key in overrides:
        if key.replace("#", "::").split("::")[0] in _FIXED:
            raise InputError(f"--{key}: a release has its own; leave it out")
    check_overrides(stages.items(), overrides)
    for key, value in overrides.items():
        if key in measured and measured[key] != value:
            raise InputError(
                f"--{key} {value}: the student was evaluated with {measured[key]}; leave it out, or evaluate again"
            )
    return {**measured, **overrides}


def source_config(configs: Path, stage: str, settings: Mapping[str, Any]) -> ConfigParser:
    """Return a stage of the source with these settings, as far as it has such keys, ready to be parsed."""
    parser = ConfigParser(ConfigParser.load_config_file(str(configs / f"{stage}.yaml")))
    for key, value in settings.items():
        if key in parser:
            parser[key] = value
    return parser


def released_configs(configs: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a release's configs by file name.

    Args:
        configs: the folder of the source's configs.
        settings: see :func:`read_settings`.
    """
    texts = {f"{stage}.yaml": _stage_text(configs / f"{stage}.yaml", stage, settings) for stage in STAGES}
    for stage in JSON_STAGES:
        texts[f"{stage}.json"] = json.dumps(yaml.safe_load(texts[f"{stage}.yaml"]), indent=2, ensure_ascii=False) + "\n"
    if (configs / "cpu.yaml").is_file():
        texts["cpu.yaml"] = _cpu_text(configs, settings)
    for name in GPU_OVERLAYS:
        if (configs / name).is_file():
            texts[name] = rename((configs / name).read_text(encoding="utf-8"))
    return texts


def rename(text: str) -> str:
    """Return text in which modules of ``common`` are called by their names in a release."""
    return re.sub(r"\bcommon\.(?=[A-Za-z_])", f"{PACKAGE}.", text)


def _stage_text(path: Path, stage: str, settings: Mapping[str, Any]) -> str:
    text = ConfigText(path.read_text(encoding="utf-8"))
    text.head = _replace_words("\n".join(text.head)).splitlines()
    text.head = [re.sub(r", or$", "", line) for line in text.head if not _LINES_ELSEWHERE.search(line)]
    known = ConfigParser(text.config())
    for key, value in settings.items():
        if key in known and known[key] != value:
            text.set(key, value)
    for key, value in _OWN_VALUES[stage].items():
        text.set(key, value)
    for key in _DROPPED[stage]:
        text.drop(key)
    _look_at_data_when_run(text)
    return rename(_replace_words(str(text)))


def _look_at_data_when_run(text: ConfigText) -> None:
    """Move checks of the training data from ``initialize`` to ``run``: monai.bundle.load initializes without data."""
    config = text.config()
    checks = [line for line in config["initialize"] if "@train::" in line]
    if checks:
        text.set("initialize", [line for line in config["initialize"] if line not in checks])
        text.set("run", [*checks, *config["run"]])


def _replace_words(text: str) -> str:
    for pattern, replacement in _WORDS_ELSEWHERE:
        text = re.sub(pattern, replacement, text)
    return text


def _cpu_text(configs: Path, settings: Mapping[str, Any]) -> str:
    """Return the overlay as it acts on train.yaml, without what the student was trained with."""
    train = source_config(configs, "train", settings)
    overlay = ConfigParser.load_config_file(str(configs / "cpu.yaml"))
    parser = ConfigParser({**overlay, "stage": "train"})
    values = {
        key: value if key == "device" else parser.get_parsed_content(key)
        for key, value in overlay.items()
        if key in train and key not in settings
    }
    head = "# Overlay for a machine without a GPU.\n#\n"
    head += "# Run:    python -m monai.bundle run --config_file \"['configs/train.yaml','configs/cpu.yaml']\" "
    head += "--dataset_dir /data/images\n\n"
    return head + yaml.safe_dump(values, sort_keys=False)
