"""What the source of a function says of it: its signature and its docstring, without importing its module.

Modules of commands import PyTorch, MONAI and more, which takes seconds, and help should not; and what is wrong with a
command line is said at once.
"""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import common

_ROOT = Path(common.__file__).parent


class Source(NamedTuple):
    """A function as its source has it: annotations are texts, and defaults values."""

    signature: inspect.Signature
    docstring: str


def read_source(function: str) -> Source:
    """Return what the source of a function says.

    Args:
        function: of this package, as ``module:function``.
    """
    module, name = function.split(":")
    tree = ast.parse(source_file(module).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return Source(_signature(found.args, tree), ast.get_docstring(found) or "")


def read_docstring(module: str) -> str:
    """Return the docstring of a module of this package."""
    return ast.get_docstring(ast.parse(source_file(module).read_text(encoding="utf-8"))) or ""


def source_file(module: str) -> Path:
    """Return the file of a module of this package."""
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _signature(arguments: ast.arguments, tree: ast.Module) -> inspect.Signature:
    kind = inspect.Parameter
    named = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(named) - len(arguments.defaults)) + list(arguments.defaults)
    found = [
        _parameter(each, kind.POSITIONAL_OR_KEYWORD, default, tree)
        for each, default in zip(named, defaults, strict=True)
    ]
    if arguments.vararg:
        found.append(_parameter(arguments.vararg, kind.VAR_POSITIONAL, None, tree))
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [_parameter(each, kind.KEYWORD_ONLY, default, tree) for each, default in keywords]
    if arguments.kwarg:
        found.append(_parameter(arguments.kwarg, kind.VAR_KEYWORD, None, tree))
    return inspect.Signature(found)


def _parameter(argument: ast.arg, kind: Any, default: ast.expr | None, tree: ast.Module) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    annotation = empty if argument.annotation is None else ast.unparse(argument.annotation)
    value = empty if default is None else _value(default, tree)
    return inspect.Parameter(argument.arg, kind, default=value, annotation=annotation)


def _value(node: ast.expr, tree: ast.Module) -> Any:
    """Return a default: what is written, or what a name stands for in the module or in the one it comes from."""
    if not isinstance(node, ast.Name):
        return ast.literal_eval(node)
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module is not None:
            for alias in statement.names:
                if (alias.asname or alias.name) == node.id:
                    return getattr(import_module(statement.module), alias.name)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == node.id for target in targets):
                return ast.literal_eval(statement.value)
    raise ValueError(f"the default {node.id} is no name of its module")
