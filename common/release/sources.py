"""The modules that a release needs: found by what its configs and they themselves import, renamed to its package.

The Model Zoo's bundles have their code in a package ``scripts``. MONAI Label, which serves several of them from one
process, therefore forgets every module of that name before each step of each request, while others may be using them,
unless ``MONAI_LABEL_RELOAD_APP_LIB`` is false, and then all bundles share the modules of the first. So the package of a
release is called ``scripts_<hash>``, by a hash of its code, configs and weights: no two releases share a name, those of
one bundle included, and nothing takes the modules of one for those of another. MONAI, MONAI Label and the Zoo's checks
put the folder of a bundle on the path for modules, whatever its packages are called.

What a module imports at its top is needed to import it, and comes along. What a function imports when it is called is
left behind: that is how a module marks what a student does without, such as a teacher or the phantoms of a dataset.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import common
from common.errors import InputError
from common.release.config_text import strings_in

_ROOT = Path(common.__file__).parent
_SOURCE = "common"


def find_modules(configs: Iterable[Any]) -> list[str]:
    """Return the names of the modules that configs need, sorted, packages whose own content they need included.

    Args:
        configs: contents of a release's configs.

    Raises:
        InputError: if a config names a module that does not exist.
    """
    texts = strings_in(list(configs))
    named = {name for text in texts for name in re.findall(rf"\b{_SOURCE}((?:\.[A-Za-z]\w*)+)", text)}
    waiting = sorted(_module_of(_SOURCE + name) for name in named)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sorted(_imports(name))
    return sorted(found)


def required_packages(modules: Iterable[str]) -> list[str]:
    """Return the distributions, such as ``pillow``, of which modules import something at their top."""
    distributions = _distributions()
    tops = {top for name in modules for top in _outside(name)}
    return sorted({distributions[top][0].lower() for top in tops if top in distributions})


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()  # takes half a second


def choose_package(modules: Iterable[str], texts: Mapping[str, str], weights: Path) -> str:
    """Return a name for the package of a release that no other release has, and this one has whenever it is made.

    Args:
        modules: of the release.
        texts: of its configs, by file name.
        weights: its file of weights.
    """
    parts = [weights.read_bytes()]
    parts += [part.encode() for name in sorted(texts) for part in (name, texts[name])]
    parts += [part for name in sorted(modules) for part in (name.encode(), _path(name).read_bytes())]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
    return f"scripts_{digest.hexdigest()[:8]}"


def write_modules(modules: Iterable[str], folder: Path, name: str) -> None:
    """Write modules to the package of this name in a folder, with their imports renamed."""
    package = folder / name
    for module in sorted(set(modules)):
        path = package / _path(module).relative_to(_ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rename_imports(_path(module).read_text(encoding="utf-8"), name), encoding="utf-8")
    for directory in [package, *sorted(path for path in package.rglob("*") if path.is_dir())]:
        init = directory / "__init__.py"
        if not init.exists():
            init.write_text('"""Part of a released student; see docs/README.md."""\n', encoding="utf-8")


def rename_imports(source: str, package: str) -> str:
    """Return the source of a module in which every reference to ``common`` is one to a release's package."""
    tree = ast.parse(source)
    plain = any(
        alias.name.split(".")[0] == _SOURCE and alias.asname is None
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    )  # ``import common.x`` binds the name common, so that it is used as such
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for node in sorted(_references(tree, plain), key=lambda node: (node.lineno, node.col_offset), reverse=True):
        assert node.end_lineno is not None  # it was read from text
        last = node.lineno if isinstance(node, ast.ImportFrom) else node.end_lineno
        for number in range(last, node.lineno - 1, -1):
            line = lines[number - 1]
            start = node.col_offset if number == node.lineno else 0
            end = node.end_col_offset if number == node.end_lineno else len(line)
            times = 1 if isinstance(node, ast.ImportFrom) else 0  # what is imported may be called common too
            part = re.sub(rb"(?<![\w.])common(?!\w)", package.encode(), line[start:end], count=times)
            lines[number - 1] = line[:start] + part + line[end:]
    text = b"".join(lines).decode()
    return re.sub(rf"\b{_SOURCE}\.(?=(?:{'|'.join(_submodules())})\b)", f"{package}.", text)  # in strings, comments


def _references(tree: ast.AST, plain: bool) -> Iterator[ast.Import | ast.ImportFrom | ast.Name]:
    """Yield the imports from this package, and where its name is used if ``plain``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(alias.name.split(".")[0] == _SOURCE for alias in node.names):
                yield node
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module is not None and node.module.split(".")[0] == _SOURCE:
                yield node
        elif isinstance(node, ast.Name) and plain and node.id == _SOURCE:
            yield node


def _submodules() -> list[str]:
    return sorted({path.stem for path in _ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()})


def _path(name: str) -> Path:
    """Return the file of a module or a package."""
    path = _ROOT.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _module_of(name: str) -> str:
    """Return the module that a dotted name, such as that of a class in it, starts with."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        module = ".".join(parts[:length])
        if _path(module).is_file():
            return module
    raise InputError(f"a config names {name}, but there is no such module")


def _top_level(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:  # what type checkers alone import stays behind
                yield from _top_level(ast.Module([other], []))
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _top_level(child)


def _imported(name: str) -> Iterator[str]:
    """Yield the absolute dotted names of what a module imports at its top, names from within modules included."""
    path = _path(name)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in _top_level(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _imports(name: str) -> set[str]:
    inside = {target for target in _imported(name) if target.split(".")[0] == _SOURCE and target != _SOURCE}
    return {_module_of(target) for target in inside}


def _outside(name: str) -> set[str]:
    tops = {target.split(".")[0] for target in _imported(name)}
    return tops - {_SOURCE} - set(sys.stdlib_module_names)
