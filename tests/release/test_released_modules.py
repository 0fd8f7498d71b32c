"""The modules of a release: those that its configs and they themselves import, renamed."""

from __future__ import annotations

import ast
import sys

import pytest
import yaml
from integration import refused
from students import NAMES, bundle_of

from common.release.configs import released_configs
from common.release.sources import find_modules, rename_imports, required_packages, write_modules

SOURCE = '''"""See :class:`common.evaluation.report.EvaluationReport`; what they have in common. Then more."""

from __future__ import annotations

import common.training.logs
import common.training.sizes as sizes
from common import errors
from common.files.weights import (
    load_weights,
    save_weights,
)

COMMON = "common.datasets.drive:DriveDataset"  # see common.datasets
ö = common.training.logs.start, errors.InputError


def teacher(common_part, thing):
    from common.teachers.folder import load_teacher
    import common.teachers.sam as sam; from common import students

    return load_teacher(thing.common), sam, students, "common.yaml", common_part, common.training
'''
RENAMED = '''"""See :class:`scripts.evaluation.report.EvaluationReport`; what they have in common. Then more."""

from __future__ import annotations

import scripts.training.logs
import scripts.training.sizes as sizes
from scripts import errors
from scripts.files.weights import (
    load_weights,
    save_weights,
)

COMMON = "scripts.datasets.drive:DriveDataset"  # see scripts.datasets
ö = scripts.training.logs.start, errors.InputError


def teacher(common_part, thing):
    from scripts.teachers.folder import load_teacher
    import scripts.teachers.sam as sam; from scripts import students

    return load_teacher(thing.common), sam, students, "common.yaml", common_part, scripts.training
'''


def test_every_reference_to_the_package_is_renamed_and_nothing_else():
    assert rename_imports(SOURCE, "scripts") == RENAMED
    assert rename_imports(RENAMED, "scripts") == RENAMED


def test_what_a_module_does_not_import_is_not_renamed():
    source = "def f(common):\n    return common.size\n"
    assert rename_imports(source, "scripts") == source


def test_a_name_for_the_whole_package_is_renamed():
    assert rename_imports("import common\nx = common.errors\n", "scripts") == "import scripts\nx = scripts.errors\n"
    assert rename_imports("import common as c\nx = c.errors\n", "scripts") == "import scripts as c\nx = c.errors\n"


def test_something_else_of_that_name_is_not_renamed():
    source = "from common.sizes import common\n\n\ndef f():\n    common = g()\n    return common.size\n"
    assert rename_imports(source, "scripts") == source.replace("from common", "from scripts")


@pytest.mark.parametrize("name", NAMES)
class TestBundles:
    @pytest.fixture
    def modules(self, name) -> list[str]:
        texts = released_configs(bundle_of(name) / "configs", {})
        return find_modules(yaml.safe_load(text) for text in texts.values())

    def test_they_are_the_students_and_of_no_other_dataset(self, name, modules):
        assert {f"common.datasets.{name}", "common.students.vit", "common.files.weights"} <= set(modules)
        others = [f"common.datasets.{other}" for other in NAMES if other != name]
        left_behind = ("teachers", "synthesis", "distillation", "pipeline", "study", "report", "release", "templates")
        left_behind = [f"common.{package}" for package in (*left_behind, "datasets.phantoms")]
        assert [module for module in modules if module.startswith((*others, *left_behind))] == []
        assert "common.datasets.registry" not in modules, "which names all datasets"
        assert "common.evaluation.student_or_teacher" not in modules, "which loads teachers"

    def test_they_need_no_more_than_a_student_may(self, name, modules):
        """DICOM is read where the data are DICOM, outlines are told from areas where anybody may have drawn them."""
        allowed = {"monai", "torch", "numpy", "einops", "pytorch-ignite", "nibabel", "pillow", "pyyaml", "fire"}
        allowed |= {"chaos": {"pydicom"}, "busi": {"scipy"}}.get(name, set())
        assert set(required_packages(modules)) <= allowed
        assert ("pydicom" in required_packages(modules)) == (name == "chaos")

    def test_all_that_they_import_is_among_them(self, modules, tmp_path):
        write_modules(modules, tmp_path, "scripts")
        for path in (tmp_path / "scripts").rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "scripts":
                    source = tmp_path.joinpath(*node.module.split("."))
                    for alias in node.names:
                        assert source.with_suffix(".py").is_file() or (source / f"{alias.name}.py").is_file()

    def test_packages_import_nothing(self, modules, tmp_path):
        write_modules(modules, tmp_path, "scripts")
        inits = list((tmp_path / "scripts").rglob("__init__.py"))
        assert len(inits) > 3
        for init in inits:
            assert len(ast.parse(init.read_text()).body) == 1, "a docstring"


def test_a_config_that_names_no_module_is_refused():
    with refused("common.nets.vit.ViTSegmenter, but there is no such module"):
        find_modules([{"network": {"_target_": "common.nets.vit.ViTSegmenter"}}])


def test_modules_are_found_wherever_a_value_names_them():
    config = {
        "imports": ["$import common", "$import common.files.weights as weights"],
        "root": "$common.__file__",
        "nested": [{"steps": ["$common.students.vit.normalise(@x), 'uncommon.errors'"]}],
    }
    found = find_modules([config])
    assert {"common.files.weights", "common.students.vit"} <= set(found)
    assert find_modules([{"x": "$uncommon.students.vit", "y": 3}]) == []


def test_what_type_checkers_alone_import_stays_behind(tmp_path, monkeypatch):
    source = """
from __future__ import annotations

from typing import TYPE_CHECKING

from common import errors

if TYPE_CHECKING:
    from common.teachers.base import Teacher
else:
    from common.files import atomic
"""
    (tmp_path / "typed.py").write_text(source)
    (tmp_path / "errors.py").touch()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "atomic.py").touch()
    monkeypatch.setattr("common.release.sources._ROOT", tmp_path)
    assert find_modules([{"x": "$common.typed.y"}]) == ["common.errors", "common.files.atomic", "common.typed"]


def test_a_package_whose_content_is_used_comes_with_it(tmp_path, monkeypatch):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "__init__.py").write_text('NAMES = {"disc": "common.shapes.disc:Disc"}\n')
    (tmp_path / "shapes" / "disc.py").touch()
    monkeypatch.setattr("common.release.sources._ROOT", tmp_path)
    assert find_modules([{"a": "$common.shapes.NAMES"}]) == ["common.shapes"], "not what it names"
    assert find_modules([{"a": "$common.shapes.disc.Disc"}]) == ["common.shapes.disc"], "not its package"
    write_modules(["common.shapes"], tmp_path / "release", "scripts")
    text = (tmp_path / "release" / "scripts" / "shapes" / "__init__.py").read_text()
    assert text == 'NAMES = {"disc": "scripts.shapes.disc:Disc"}\n'


def test_a_registry_comes_without_what_it_names():
    modules = find_modules([{"a": "$common.datasets.registry.find_dataset('drive')"}])
    assert {"common.datasets.registry", "common.errors"} <= set(modules)
    assert "common.datasets.drive" not in modules
    assert "scripts" not in sys.modules
