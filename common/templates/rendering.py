"""Render a bundle from the templates and a page of facts."""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import meta

from common.errors import InputError
from common.files.atomic import atomic_file, atomic_folder
from common.templates.config_text import config_text
from common.templates.facts_pages import read_facts

_FOLDER = Path(__file__).parent
_BUNDLE = _FOLDER / "bundle"
_WIDTH = 120
_COMMENT_COLUMN = 28  # where the comments beside keys begin
_NOTHING = "\0"  # what an empty value leaves behind, so that its line can go too


def create_bundle(facts: str | os.PathLike, output_dir: str | os.PathLike, overwrite: bool = False) -> Path:
    """Write the bundle ``<output_dir>/<name>_segmentation``.

    Args:
        facts: the name of a dataset of this project, or the path of a page of facts.
        output_dir: the folder of bundles.
        overwrite: whether to write the files of a bundle that is there anew; others in its folder stay as they are.

    Returns:
        The folder of the bundle.

    Raises:
        InputError: if a fact is missing, unknown or of no use, or the folder is there already.
    """
    page = read_facts(facts)
    folder = bundle_folder(page["name"], output_dir, overwrite)
    write_bundle(render_bundle(page), folder)
    return folder


def bundle_folder(name: str, output_dir: str | os.PathLike, overwrite: bool = False) -> Path:
    """Return the folder of a bundle.

    Raises:
        InputError: if it is there, and is not to be overwritten.
    """
    folder = Path(output_dir) / f"{name}_segmentation"
    if folder.exists() and not overwrite:
        raise InputError(f"output_dir: {folder} exists; choose another folder, or --overwrite the files of the bundle")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output_dir: {folder} is a file; choose another folder")
    return folder


def write_bundle(texts: Mapping[str, str], folder: Path) -> None:
    """Write the files of a bundle; in a folder that is there others stay as they are.

    Args:
        texts: by path in the bundle.
        folder: of the bundle.
    """
    if folder.exists():
        _write(texts, folder)
        return
    with atomic_folder(folder) as fresh:
        _write(texts, fresh)


def _write(texts: Mapping[str, str], folder: Path) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as fresh:
            fresh.write_text(text, encoding="utf-8", newline="\n")


def render_bundle(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of a bundle by their path in it.

    Args:
        facts: see :func:`common.templates.facts_pages.read_facts`.

    Raises:
        InputError: if a fact is missing, unknown, not in ASCII, or does not fit into a config.
    """
    environment = _environment()
    _check_names(environment, facts)
    names = sorted(path.relative_to(_BUNDLE).as_posix() for path in _BUNDLE.rglob("*") if path.is_file())
    texts = {}
    for name in names:
        try:
            text = environment.get_template(f"bundle/{name}").render(facts, stage=Path(name).stem)
        except jinja2.UndefinedError as error:
            raise InputError(f"facts: {name} needs more than the page says: {error}") from error
        texts[name] = _tidy(text, Path(name).suffix)
        _check_yaml(name, texts[name])
        if not texts[name].isascii() and not name.startswith("docs/"):
            line = next(line for line in texts[name].splitlines() if not line.isascii())
            raise InputError(f"facts: {name} would not be ASCII, which every locale reads alike: {line.strip()!r}")
    return texts


def _check_yaml(name: str, text: str) -> None:
    if Path(name).suffix not in (".yaml", ".json"):  # JSON is YAML, too
        return
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"facts: {name} would be no YAML with them ({' '.join(str(error).split())})") from error


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_FOLDER, _FOLDER / "shared"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_as_yaml,
        autoescape=False,  # what is rendered is YAML, JSON and Markdown
    )
    environment.filters |= {
        "channel_def": lambda names: json.dumps({str(index): name for index, name in enumerate(names)}),
        "fill": _fill,
        "flow": _flow,
        "json": json.dumps,
        "numbered": lambda names: ", ".join(f"{index} is {name}" for index, name in enumerate(names)),
        "keywords": lambda keys: " ".join(f"{each['key']}=@{each['key']}," for each in keys),
        "python": repr,
        "text": lambda text: _flow(config_text(text)),
        "texts": lambda value: _flow(_config_texts(value)),
        "references": lambda keys: " ".join(f'{each["key"]}: "@{each["key"]}",' for each in keys),
    }
    return environment


def _check_names(environment: jinja2.Environment, facts: Mapping[str, Any]) -> None:
    """Refuse a page with a fact that no template takes, such as a misspelt one."""
    known = set()
    for path in [*_BUNDLE.rglob("*"), *(_FOLDER / "shared").iterdir()]:
        if path.is_file():
            known |= meta.find_undeclared_variables(environment.parse(path.read_text(encoding="ascii")))
    unknown = facts.keys() - known
    if unknown:
        raise InputError(f"facts: {', '.join(sorted(unknown))}: unknown; a page has {', '.join(sorted(known))}")


def _as_yaml(value: Any) -> Any:
    """Return a value as a template shows it: nothing as a mark, and truth in YAML's words."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    return value.rstrip("\n") if isinstance(value, str) else value


def _tidy(text: str, suffix: str) -> str:
    """Take out lines of nothing but an empty value, and put the comments beside keys into one column."""
    text = re.sub(rf"^[ \t]*{_NOTHING}\n", "", text, flags=re.MULTILINE).replace(_NOTHING, "")
    if suffix in (".md", ".yaml"):
        text = re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"
    if suffix == ".yaml":
        text = re.sub(r"^(?!#)(.*?\S) +# ", _align_comment, text, flags=re.MULTILINE)
    return text


def _align_comment(match: re.Match[str]) -> str:
    return f"{match[1]:<{_COMMENT_COLUMN - 2}}  # "


def _flow(value: Any) -> str:
    """Return a mapping, list or scalar in YAML's flow style, in ASCII."""
    width = _WIDTH - 30 if isinstance(value, Mapping | list) else math.inf
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=width)
    return text.removesuffix("...\n").strip()


def _config_texts(value: Any) -> Any:
    """Return a value whose texts are as configs say them."""
    if isinstance(value, Mapping):
        return {key: _config_texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_config_texts(each) for each in value]
    return config_text(value) if isinstance(value, str) else value


def _fill(text: str) -> str:
    """Return a paragraph in lines of equal width, with room for the indentation of a list."""
    return textwrap.fill(" ".join(text.split()), _WIDTH - 3, break_long_words=False, break_on_hyphens=False)
