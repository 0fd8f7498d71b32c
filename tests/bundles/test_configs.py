"""The configs of every bundle: each name stands for something, nothing is found by its position, any device will do.

That bundles have the same files, keys and sections needs no test: they are rendered from one source (tests/templates).
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest
from integration import BUNDLES, METHOD_CONFIGS, load_stage
from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator, ConfigComponent, ConfigExpression
from monai.bundle.reference_resolver import ReferenceResolver
from monai.transforms import RandomizableTrait
from torch import nn

from common.configs.known_keys import unknown_references
from common.datasets import dataset_class
from common.files.weights import save_weights

FOLDERS = sorted(path for path in BUNDLES.iterdir() if (path / "configs").is_dir())
OVERLAYS = ("cpu", "demo", "multi_gpu", "multi_gpu_train")
TRAINED = ("finetune_teacher", "train_diffusion", "distill", "train")
STAGES = (*TRAINED[:2], "synthesize", *TRAINED[2:], "evaluate", "inference")
METHODS = sorted(METHOD_CONFIGS.glob("*.yaml"))
Names = tuple[str | Path, ...]  # of a stage, and of what is laid on it


def each_bundle(function: Callable) -> Callable:
    return pytest.mark.parametrize("bundle", FOLDERS, ids=lambda path: path.name)(function)


def path_of(bundle: Path, name: str | Path) -> str:
    return str(bundle / "configs" / f"{name}.yaml" if isinstance(name, str) else name)


def load(bundle: Path, *names: str | Path) -> dict[str, Any]:
    """Return a stage's config with overlays, given by name or by path, laid on it."""
    return ConfigParser.load_config_files([path_of(bundle, name) for name in names])


def stacks() -> list[Names]:
    """Return every config, alone or with an overlay on it, as it can be run."""
    return (
        [(name,) for name in STAGES]
        + [(name, overlay) for name in STAGES for overlay in ("cpu", "demo")]
        + [(name, "multi_gpu") for name in TRAINED]
        + [("train", "multi_gpu_train")]
        + [("distill", *overlay, method) for overlay in ((), ("cpu",)) for method in METHODS]
    )


def stack_name(names: Names) -> str:
    return "+".join(name if isinstance(name, str) else name.stem for name in names)


def leaves(config: Any) -> Iterator[Any]:
    """Yield every value that is neither a mapping nor a list."""
    if isinstance(config, (dict, list)):
        for value in config.values() if isinstance(config, dict) else config:
            yield from leaves(value)
    else:
        yield config


def strings(config: Any) -> list[str]:
    return [value for value in leaves(config) if isinstance(value, str)]


def components(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every section with a ``_target_``."""
    if ConfigComponent.is_instantiable(config):
        yield config
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from components(value)


@each_bundle
class TestNames:
    @pytest.mark.parametrize(
        "names", [*((name,) for name in (*STAGES, *OVERLAYS)), *(("distill", path) for path in METHODS)], ids=stack_name
    )
    def test_every_target_can_be_imported(self, bundle, names):
        locator = ComponentLocator()
        for component in components(load(bundle, *names)):
            target = ConfigComponent(component, locator=locator).resolve_module_name()
            assert locate(target) is not None, component["_target_"]

    @pytest.mark.parametrize("names", stacks(), ids=stack_name)
    def test_every_reference_is_a_key(self, bundle, names):
        assert unknown_references(load(bundle, *names)) == []

    @pytest.mark.parametrize("name", STAGES)
    def test_so_it_is_in_keys_that_nothing_refers_to(self, bundle, name):
        parser = ConfigParser(load(bundle, name))
        for value in strings(parser.get()):
            for reference in ReferenceResolver.match_refs_pattern(value):
                assert reference in parser, value

    @pytest.mark.parametrize("names", stacks(), ids=stack_name)
    def test_every_expression_finds_what_it_imports(self, bundle, names):
        config = load(bundle, *names)
        modules = {"monai": importlib.import_module("monai"), "torch": importlib.import_module("torch")}
        for line in config["imports"]:
            module, alias = re.fullmatch(r"\$import (\S+) as (\w+)", line).groups()
            modules[alias] = importlib.import_module(module)
        used = set()
        for value in strings({key: value for key, value in config.items() if key != "imports"}):
            if not ConfigExpression.is_expression(value):
                continue
            references = ReferenceResolver.match_refs_pattern(value)
            expression = ReferenceResolver.update_refs_pattern(value, dict.fromkeys(references, "")).removeprefix("$")
            for node in ast.walk(ast.parse(expression, mode="eval")):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                    used.add(node.value.id)
                    assert hasattr(modules[node.value.id], node.attr), value
        needless = modules.keys() - used - {"monai", "torch"}
        if len(names) > 1:  # an overlay may replace what the stage imports something for
            own = ConfigParser.load_config_file(path_of(bundle, names[-1])).get("+imports", [])
            needless = {alias for alias in needless if any(line.endswith(f" as {alias}") for line in own)}
        assert needless == set(), "imported for nothing"

    def test_the_classes_are_those_of_the_dataset(self, bundle, tmp_path):
        parser = ConfigParser({**load(bundle, "evaluate"), "dataset_dir": str(tmp_path), "output_dir": str(tmp_path)})
        dataset = parser.get_parsed_content("data")
        assert isinstance(dataset, dataset_class(parser.get()))
        assert parser.get_parsed_content("classes") == list(dataset.classes.values())
        formats = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))["network_data_format"]
        channels = formats["outputs"]["pred"]["channel_def"]
        assert channels == {str(value): name for value, name in dataset.classes.items()}
        assert formats["outputs"]["pred"]["num_channels"] == dataset.num_classes
        assert formats["inputs"]["image"]["num_channels"] == dataset.in_channels
        for name in STAGES:
            config = ConfigParser(load(bundle, name))
            assert config["in_channels"] == dataset.in_channels
            if "num_classes" in config:
                assert config.get_parsed_content("num_classes") == dataset.num_classes


@each_bundle
class TestConventions:
    @pytest.mark.parametrize("name", [*STAGES, *OVERLAYS])
    def test_nothing_is_found_by_its_position(self, bundle, name):
        text = (bundle / "configs" / f"{name}.yaml").read_text(encoding="ascii")
        for trick in (r"::\d", r"transforms\[", r"\.get\(@stage", r"\[:\d*\]$"):
            assert not re.search(trick, text, re.MULTILINE), trick

    @pytest.mark.parametrize("name", [*STAGES, *OVERLAYS])
    def test_no_line_is_longer_than_an_editor_is_wide(self, bundle, name):
        text = (bundle / "configs" / f"{name}.yaml").read_text(encoding="ascii")
        assert [line for line in text.splitlines() if len(line) > 120] == []

    @pytest.mark.parametrize("name", STAGES)
    def test_the_head_says_what_is_needed_and_shows_a_command(self, bundle, name):
        head = (bundle / "configs" / f"{name}.yaml").read_text(encoding="ascii").split("\n\n")[0]
        assert re.findall(r"^# ([A-Z]\w+):", head, re.MULTILINE) == ["Needs", "Writes", "Run", "Change"]
        assert f"configs/{name}.yaml" in head

    @pytest.mark.parametrize("name", STAGES)
    @pytest.mark.parametrize("overlay", ["cpu", "demo"])
    def test_an_overlay_has_a_value_for_every_key_of_a_stage(self, bundle, name, overlay):
        stages = [name] if name != "evaluate" else ["evaluate", "evaluate_teacher"]
        values = ConfigParser.load_config_file(path_of(bundle, overlay))
        for stage in stages:
            parser = ConfigParser({**load(bundle, name, overlay), "stage": stage})
            for key in values.keys() & load(bundle, name).keys():
                value = parser.get_parsed_content(key)
                assert value is not None or key == "lora_targets"  # the teacher's own
                assert not isinstance(value, dict), f"{key} is for all stages together"

    @pytest.mark.parametrize(("overlay", "rank", "share"), [("cpu", 32, 0.2), ("demo", 8, 0)])
    def test_an_overlay_has_other_values_for_the_stand_in_than_for_a_published_teacher(
        self, bundle, overlay, rank, share
    ):
        config = load(bundle, "finetune_teacher", overlay)

        def values(pretrained: str) -> list[Any]:
            parser = ConfigParser({**config, "stage": "finetune_teacher", "pretrained": pretrained})
            return [parser.get_parsed_content(key) for key in ("lora_rank", "lora_targets", "frozen_share")]

        assert values("facebook/dinov2-small") == [rank, None, share]
        assert values("embedded") == [64, ["qkv", "proj", "lin1", "lin2"], 0]

    def test_a_teacher_is_told_which_dataset_is_at_hand(self, bundle):
        parser = ConfigParser({**load(bundle, "finetune_teacher"), "dataset_dir": "/data", "output_dir": "/runs"})
        name = parser.get_parsed_content("teacher_def::teacher::dataset")
        assert f"{name}_segmentation" == bundle.name

    def test_without_a_gpu_a_teacher_is_not_averaged_over_more_orientations(self, bundle):
        """Where left and right differ, a mirrored image has no meaning."""
        overlay = ConfigParser.load_config_file(path_of(bundle, "cpu"))
        usual = load(bundle, "distill")["teacher_orientations"]
        assert overlay.get("teacher_orientations", usual) == min(2, usual)

    @pytest.mark.parametrize("name", STAGES)
    def test_the_device_can_be_named_on_the_command_line(self, bundle, name):
        """A name is a string, and ``cpu`` stays one."""
        parser = ConfigParser({**load(bundle, name), "device": "cpu"})
        for key in {"amp", "channels_last"} & load(bundle, name).keys():
            assert parser.get_parsed_content(key) is False

    @pytest.mark.parametrize("name", ["finetune_teacher", "distill", "train"])
    def test_without_any_one_transform_of_training_validation_is_not_random(self, bundle, name, tmp_path):
        """Lists are shared by name: nothing moves into validation when another list gets shorter."""
        folders = {"dataset_dir": tmp_path, "output_dir": tmp_path}
        config = load(bundle, name, "demo")["train"]
        lists = [key for key in config if key.endswith("_transforms")]
        assert {"deterministic_transforms", "random_transforms"} <= set(lists)
        for key in lists:
            for index in range(len(config[key])):
                shorter = config[key][:index] + config[key][index + 1 :]
                parser = load_stage(name, bundle=bundle, **folders, **{f"train::{key}": shorter}).parser
                transforms = parser.get_parsed_content("validate::preprocessing").flatten().transforms
                assert transforms
                assert not any(isinstance(transform, RandomizableTrait) for transform in transforms)


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_the_heads_of_methods_name_what_those_of_stages_do(path):
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert re.findall(r"^# ([A-Z]\w+):", head, re.MULTILINE) == ["Needs", "Writes", "Run", "Change"]
    assert f"--method {path.stem} " in head


@each_bundle
def test_the_student_is_evaluated_at_the_size_of_its_training_and_the_teacher_at_its_own(bundle, tmp_path):
    config = load(bundle, "evaluate")
    size = "crop_size" if "crop_size" in config else "image_size"
    weights = nn.Conv2d(1, 1, 1)
    save_weights(weights, tmp_path / "model.pt", {size: 48})
    for subject, expected in (("student", 48), ("teacher", 256)):
        parser = ConfigParser({**config, "ckpt_path": str(tmp_path / "model.pt"), "subject": subject})
        assert parser.get_parsed_content(size) == expected
