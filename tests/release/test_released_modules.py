"""The modules of a release: those that its configs and they themselves import, renamed."""

from __future__ import annotations

import ast
import sys

import pytest
from integration import refused
from students import NAMES, bundle_of

from common.release.configs import STAGES
from common.release.sources import find_modules, rename_imports, required_packages, write_modules

SOURCE = '''"""See :class:`common.evaluation.report.EvaluationReport`; what they have in common. Then more."""

from __future__ import annotations

import common.logs
import common.networks.sizes as sizes
from common import errors
from common.checkpoints import (
    load_weights,
    save_weights,
)

COMMON = "common.datasets.drive"  # see common.datasets
ö = common.training.logs.start, errors.InputError


def teacher(common_part, thing):
    from common.lora import load_teacher
    import common.networks.sam as sam; from common import losses

    return load_teacher(thing.common), sam, losses, "common.yaml", common_part, common.logs
'''
RENAMED = '''"""See :class:`scripts.evaluation.EvaluationReport`; what they have in common. Then more."""

from __future__ import annotations

import scripts.logs
import scripts.networks.sizes as sizes
from scripts import errors
from scripts.checkpoints import (
    load_weights,
    save_weights,
)

COMMON = "scripts.datasets.drive"  # see scripts.datasets
ö = scripts.logs.start, errors.InputError


def teacher(common_part, thing):
    from scripts.lora import load_teacher
    import scripts.networks.sam as sam; from scripts import losses

    return load_teacher(thing.common), sam, losses, "common.yaml", common_part, scripts.logs
'''


def test_every_reference_to_the_package_is_renamed_and_nothing_else():
    assert rename_imports(SOURCE) == RENAMED
    assert rename_imports(RENAMED) == RENAMED


def test_what_a_module_does_not_import_is_not_renamed():
    source = "def f(common):\n    return common.size\n"
    assert rename_imports(source) == source


def test_a_name_for_the_whole_package_is_renamed():
    assert rename_imports("import common\nx = common.logs\n") == "import scripts\nx = scripts.logs\n"
    assert rename_imports("import common as c\nx = c.logs\n") == "import scripts as c\nx = c.logs\n"


def test_something_else_of_that_name_is_not_renamed():
    source = "from common.sizes import common\n\n\ndef f():\n    common = g()\n    return common.size\n"
    assert rename_imports(source) == source.replace("from common", "from scripts")


@pytest.mark.parametrize("name", NAMES)
class TestBundles:
    @pytest.fixture
    def modules(self, name) -> list[str]:
        return find_modules((bundle_of(name) / "configs" / f"{stage}.yaml").read_text() for stage in STAGES)

    def test_they_are_few_and_the_students(self, name, modules):
        assert {f"common.datasets.{name}", "common.networks.vit", "common.checkpoints", "common.handlers"} <= set(
            modules
        )
        assert len(modules) <= 22
        others = [f"common.datasets.{other}" for other in NAMES if other != name]
        assert (
            set(modules) & {"common.lora", "common.networks.sam", "common.datasets", "common.shapes", *others} == set()
        )

    def test_they_need_no_more_than_a_student_may(self, name, modules):
        """The issue's list; DICOM is read where the data are DICOM."""
        allowed = {"monai", "torch", "numpy", "einops", "pytorch-ignite", "nibabel", "pillow", "pyyaml", "fire"}
        allowed |= {"pydicom"} if name == "chaos" else set()
        assert set(required_packages(modules)) <= allowed
        assert ("pydicom" in required_packages(modules)) == (name == "chaos")

    def test_all_that_they_import_is_among_them(self, modules, tmp_path):
        write_modules(modules, tmp_path)
        for path in (tmp_path / "scripts").rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "scripts":
                    source = tmp_path.joinpath(*node.module.split("."))
                    for alias in node.names:
                        assert source.with_suffix(".py").is_file() or (source / f"{alias.name}.py").is_file()

    def test_packages_import_nothing(self, modules, tmp_path):
        write_modules(modules, tmp_path)
        inits = list((tmp_path / "scripts").rglob("__init__.py"))
        assert len(inits) == 3
        for init in inits:
            assert len(ast.parse(init.read_text()).body) == 1, "a docstring"


def test_a_config_that_names_no_module_is_refused():
    with refused("common.nets.vit.ViTSegmenter, but there is no such module"):
        find_modules(["network: {_target_: common.nets.vit.ViTSegmenter}"])


def test_comments_need_no_modules():
    assert find_modules(["a: 1  # see common.lora\n# common.diffusion\n"]) == []


def test_a_package_whose_content_is_used_comes_with_it(tmp_path):
    modules = find_modules(["a: $common.datasets.find_dataset('drive')"])
    assert modules == ["common.datasets", "common.errors"]
    write_modules(modules, tmp_path)
    text = (tmp_path / "scripts" / "datasets" / "__init__.py").read_text()
    assert 'import_module(f"scripts.datasets.{name}")' in text
    assert "scripts" not in sys.modules
