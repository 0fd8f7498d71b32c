"""The bundles are siblings: the same files, the same keys in the same order, and sections that agree word for word.

Every folder of ``bundles/`` is compared with the first one. What a dataset has of its own is listed here; a new bundle
with keys, sections or lines that no other has adds them, with the reason.
"""

from __future__ import annotations

import ast
import copy
import importlib
import json
import re
from collections.abc import Callable, Iterator
from difflib import unified_diff
from pathlib import Path
from pydoc import locate
from typing import Any

import numpy as np
import pytest
import torch
from integration import BUNDLE as REFERENCE
from integration import BUNDLES, METHOD_CONFIGS
from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator, ConfigComponent, ConfigExpression
from monai.bundle.reference_resolver import ReferenceResolver

FOLDERS = sorted(path for path in BUNDLES.iterdir() if (path / "configs").is_dir())
CONFIGS = sorted(path.name for path in (REFERENCE / "configs").glob("*.yaml"))
OVERLAYS = ("cpu.yaml", "demo.yaml", "multi_gpu.yaml", "multi_gpu_train.yaml")
TRAINED = ("finetune_teacher.yaml", "train_diffusion.yaml", "distill.yaml", "train.yaml")
METHODS = sorted(METHOD_CONFIGS.glob("*.yaml"))

# Keys at the top of a config that not every bundle has.
OWN_KEYS = {
    "drive_segmentation": {
        "overlap",  # a window slides over the image; the others see it whole
        "patches_per_image",  # of further images without labels, which the others see whole
        "resized",  # the diffusion model learns patches, or whole images as in the others
    },
    "kidneyus_segmentation": {"task", "annotator"},  # several labels of one image
    "chaos_segmentation": {"modality", "window", "percentiles"},  # several modalities, and how each is scaled
}
# Values that suit a dataset, and say the same thing in every bundle.
OWN_VALUES = {
    *("imports", "dataset_dir", "num_validation", "in_channels", "num_classes", "classes"),
    *("patch_size", "patches_per_epoch", "batch_size", "epochs", "val_interval", "sample_interval", "num_images"),
    *("input_scale", "ema_momentum", "teacher_orientations"),
}
# Sections, by path, about how images are read, seen and brought back in any bundle.
SEEN_SECTIONS = {
    *("train::preprocessing", "train::augmentation", "validate::preprocessing", "preprocessing"),
    *("validate::inferer", "inferer"),
    *("validate::postprocessing", "postprocessing", "validate::handlers::0::image_key"),
    *("training::preprocessing", "teacher_view"),
}
# Results that were measured on a dataset.
RESULTS = {"comparison.md", "comparison_phantoms.md"}
# Sections, by path, that one bundle has to itself.
OWN_SECTIONS = {
    "drive_segmentation": {
        "train::view",  # patches or whole images
        "train::unlabelled",  # patches of them
        *("training::size", "training::crop", "training::patches", "training::views"),  # likewise
    },
    "ph2_segmentation": {"validate::handlers::0::overlay_style"},  # the border of the lesion
    "kidneyus_segmentation": {
        *("loss::batch", "loss::supervised::batch"),  # Dice over a batch, since many images lack a class
        "validate::handlers::0::annotator_dice",  # images were read twice
    },
    "chaos_segmentation": {
        *("loss::batch", "loss::supervised::batch"),  # Dice over a batch, since many slices lack a class
        *("train::files", "train::views::dataset", "train::synthetic_preprocessing"),  # PNG and DICOM
        "train::dataset::_target_",  # of volumes, too
        "train::unlabelled",  # DICOM too
        *("validate::dataset::data", "images::_target_"),  # trained on slices, used on volumes
        *("validate::additional_metrics::hd95::_target_", "validate::handlers::0::distance_unit"),  # millimetres
        "validate::handlers::0::case_key",  # a patient, not a file
    },
}
# Lines of a list that not every bundle has.
OWN_LINES = ("$checks.check_patches(",)  # that images are no smaller than the patches that are cut out of them


def each_bundle(function: Callable) -> Callable:
    return pytest.mark.parametrize("bundle", FOLDERS, ids=lambda path: path.name)(function)


def each_sibling(function: Callable) -> Callable:
    others = [path for path in FOLDERS if path != REFERENCE]
    return pytest.mark.parametrize("bundle", others, ids=lambda path: path.name)(function)


def each_config(function: Callable) -> Callable:
    return pytest.mark.parametrize("name", CONFIGS)(function)


def load(bundle: Path, *names: str | Path) -> dict[str, Any]:
    """Return the bundle's configs, or those at other paths, laid over one another."""
    return ConfigParser.load_config_files([str(bundle / "configs" / name) for name in names])


def dataset_of(bundle: Path) -> str:
    return bundle.name.removesuffix("_segmentation")


def own(table: dict[str, set[str]], bundle: Path) -> set[str]:
    """Return what a bundle and the reference have that the other one need not have."""
    return table.get(bundle.name, set()) | table.get(REFERENCE.name, set())


def generic(value: Any, dataset: str, keys: set[str]) -> Any:
    """Return a leaf of a config without the name of the dataset's module, and without arguments from some keys."""
    if not isinstance(value, str):
        return value
    value = re.sub(rf"\b{dataset}\b", "<dataset>", value)
    return re.sub(rf",\s*(\w+=)?@({'|'.join(keys)})\b", "", value)


def flatten(config: Any, path: str = "", without: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every leaf of a config with the path to it, in order, without lines of lists that start in some way."""
    if isinstance(config, list):
        config = [item for item in config if not str(item).startswith(without)]
    if isinstance(config, (dict, list)) and config:
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from flatten(value, f"{path}::{key}" if path else str(key), without)
    else:
        yield path, config


def common_part(config: dict[str, Any], dataset: str, keys: set[str], sections: set[str]) -> list[str]:
    """Return a config without some keys and sections, as a line for each leaf, in order."""
    shared = {key: "<own>" if key in OWN_VALUES else value for key, value in config.items() if key not in keys}
    return [
        f"{path}: {generic(value, dataset, keys)}"
        for path, value in flatten(shared, without=OWN_LINES)
        if not any(f"{path}::".startswith(f"{section}::") for section in sections)
    ]


def differences(config: dict[str, Any], bundle: Path, expected: dict[str, Any]) -> list[str]:
    """Return where a bundle's config has drifted from the reference's: lines that were taken out (-) or put in (+)."""
    excepted = own(OWN_KEYS, bundle), own(OWN_SECTIONS, bundle) | SEEN_SECTIONS
    before, after = (
        common_part(values, dataset_of(folder), *excepted)
        for values, folder in ((expected, REFERENCE), (config, bundle))
    )
    lines = unified_diff(before, after, n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def files_of(bundle: Path) -> set[str]:
    """Return the files that belong to a bundle, pictures and results of its page aside."""
    files = [path for pattern in ("*", "configs/*", "docs/*") for path in bundle.glob(pattern) if path.is_file()]
    return {path.relative_to(bundle).as_posix() for path in files if path.suffix != ".png" and path.name not in RESULTS}


class TestDrift:
    @each_sibling
    def test_the_files_are_the_same(self, bundle):
        assert files_of(bundle) == files_of(REFERENCE)
        for name in ("LICENSE", "configs/logging.conf"):
            assert (bundle / name).read_bytes() == (REFERENCE / name).read_bytes()

    @each_config
    @each_sibling
    def test_keys_and_sections_agree(self, bundle, name):
        assert differences(load(bundle, name), bundle, load(REFERENCE, name)) == []

    @each_config
    @each_sibling
    def test_the_heads_name_the_same_things(self, bundle, name):
        def head(folder: Path) -> list[str]:
            lines = (folder / "configs" / name).read_text(encoding="utf-8").split("\n\n")[0].splitlines()
            return [match[1] for line in lines if (match := re.match(r"# ([A-Z]\w+):", line))]

        assert head(bundle) == head(REFERENCE)
        assert "Run" in head(bundle)

    @each_bundle
    def test_monai_labels_overlay_is_the_one_for_several_gpus(self, bundle):
        assert load(bundle, "multi_gpu_train.yaml") == load(bundle, "multi_gpu.yaml")

    @pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
    def test_the_heads_of_methods_name_what_those_of_stages_do(self, path):
        head = path.read_text(encoding="utf-8").split("\n\n")[0]
        assert re.findall(r"^# ([A-Z]\w+):", head, re.MULTILINE) == ["Needs", "Writes", "Run", "Change"]
        assert f"--method {path.stem} " in head

    @each_sibling
    def test_the_pages_have_the_same_sections(self, bundle):
        def headings(folder: Path) -> list[str]:
            lines = (folder / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
            return [line for line in lines if line.startswith("## ")]

        assert headings(bundle) == headings(REFERENCE)

    @each_sibling
    def test_the_metadata_have_the_same_keys(self, bundle):
        def keys(folder: Path) -> list[str]:
            metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
            return [path for path, _ in flatten(metadata) if not re.search(r"channel_def|references|packages", path)]

        assert keys(bundle) == keys(REFERENCE)

    @each_sibling
    def test_no_other_dataset_is_named(self, bundle):
        """What was left over when one bundle was made from another."""
        others = "|".join(dataset_of(folder) for folder in FOLDERS if folder != bundle)
        for name in files_of(bundle) - {"LICENSE"}:
            text = (bundle / name).read_text(encoding="utf-8")
            assert not re.search(rf"\b({others})(_segmentation)?\b", text, re.IGNORECASE), name

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("train.yaml", lambda config: config["train"]["trainer"].update(amp=True)),
            ("train.yaml", lambda config: config["train"]["trainer"].pop("to_kwargs")),
            ("train.yaml", lambda config: config["train"]["handlers"].reverse()),
            ("train.yaml", lambda config: config["loss"].update(include_background=True)),
            ("train.yaml", lambda config: config.update(learning_rate=config.pop("learning_rate"))),
            ("train.yaml", lambda config: config.update(another_key=1)),
            ("train.yaml", lambda config: config.pop("patch_size")),
            ("train.yaml", lambda config: config["train"].update(files="$abdomen.datalist(@dataset_dir)")),
            ("evaluate.yaml", lambda config: config["validate"]["key_metric"]["dice"].update(include_background=True)),
            ("distill.yaml", lambda config: config["initialize"].pop(0)),
            ("synthesize.yaml", lambda config: config.update(num_inference_steps=26)),
            ("cpu.yaml", lambda config: config.update(lora_rank=8)),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_drift_is_noticed(self, name, change):
        config = load(REFERENCE, name)
        drifted = copy.deepcopy(config)
        assert differences(drifted, REFERENCE, config) == []
        change(drifted)
        assert differences(drifted, REFERENCE, config) != []


# Does every name in a config stand for something?


@pytest.fixture(scope="module")
def locator() -> ComponentLocator:
    return ComponentLocator()


def stacks() -> list[tuple[str | Path, ...]]:
    """Return every config, alone or with an overlay on it, as it can be run."""
    alone = [name for name in CONFIGS if name not in OVERLAYS]
    return (
        [(name,) for name in alone]
        + [(name, overlay) for name in alone for overlay in ("cpu.yaml", "demo.yaml")]
        + [(name, "multi_gpu.yaml") for name in TRAINED]
        + [("train.yaml", "multi_gpu_train.yaml")]
        + [("distill.yaml", *overlay, method) for overlay in ((), ("cpu.yaml",)) for method in METHODS]
    )


def stack_name(names: tuple[str | Path, ...]) -> str:
    return "+".join(Path(name).stem for name in names)


def strings(config: dict[str, Any]) -> list[str]:
    return [value for _, value in flatten(config) if isinstance(value, str)]


def components(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every section with a ``_target_``."""
    if ConfigComponent.is_instantiable(config):
        yield config
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from components(value)


@each_bundle
class TestNames:
    @pytest.mark.parametrize(
        "names", [*((name,) for name in CONFIGS), *(("distill.yaml", path) for path in METHODS)], ids=stack_name
    )
    def test_every_target_can_be_imported(self, bundle, names, locator):
        for component in components(load(bundle, *names)):
            target = ConfigComponent(component, locator=locator).resolve_module_name()
            assert locate(target) is not None, component["_target_"]

    @pytest.mark.parametrize("names", stacks(), ids=stack_name)
    def test_every_reference_is_a_key(self, bundle, names):
        parser = ConfigParser(load(bundle, *names))
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
        if names[-1] in METHODS:  # has no use for all that the stage does
            own = ConfigParser.load_config_file(str(names[-1])).get("+imports", [])
            needless = {alias for alias in needless if any(line.endswith(f" as {alias}") for line in own)}
        assert needless == set(), "imported for nothing"

    def test_the_classes_are_those_of_the_dataset(self, bundle):
        dataset = importlib.import_module(f"common.datasets.{dataset_of(bundle)}")
        parser = ConfigParser(load(bundle, "evaluate.yaml"))
        classes = dataset.CLASSES[parser["modality"]] if "modality" in parser else dataset.CLASSES
        assert parser.get_parsed_content("classes") == list(classes.values())
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        formats = metadata["network_data_format"]
        channels = formats["outputs"]["pred"]["channel_def"]
        assert channels == {str(value): name for value, name in classes.items()}
        assert formats["outputs"]["pred"]["num_channels"] == len(classes)
        assert formats["inputs"]["image"]["num_channels"] == dataset.IN_CHANNELS
        for name in sorted(set(CONFIGS) - set(OVERLAYS)):
            config = ConfigParser(load(bundle, name))
            assert config["in_channels"] == dataset.IN_CHANNELS
            if "num_classes" in config:
                assert config.get_parsed_content("num_classes") == len(classes)


@pytest.mark.parametrize("steps", range(1, 13))
@pytest.mark.parametrize("name", TRAINED)
@each_bundle
def test_a_training_of_any_number_of_steps_has_its_learning_rates(bundle, name, steps):
    """MONAI Label and federated rounds train for as few steps as a user likes."""
    section = load(bundle, name)["lr_scheduler"]
    section["optimizer"] = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1)
    section |= {"max_lr": 1, "total_steps": steps}
    scheduler = ConfigParser({"lr_scheduler": section}).get_parsed_content("lr_scheduler")
    rates = []
    for _ in range(steps):
        rates += scheduler.get_last_lr()
        section["optimizer"].step()
        scheduler.step()
    assert 0 < min(rates) <= max(rates) <= 1
    assert np.argmax(rates) <= 0.1 * steps, "it warms up for a tenth, and goes down from there"
