"""``list``: what there is to give to the other commands."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.commands.bundles import describe_bundles, describe_keys, describe_overlays, describe_stages
from common.commands.docstrings import plain
from common.commands.sources import read_docstring
from common.configs.arguments import UsageError
from common.pipeline.bundle_folder import find_configs

_Rows = Iterable[Sequence[str]]


def list_contents(what: str | None = None, bundle: str | os.PathLike | None = None, stage: str | None = None) -> None:
    """List what there is to give to the other commands: bundles, stages, keys, overlays, datasets, methods, teachers.

    Args:
        what: bundles, stages, keys, overlays, datasets, methods or teachers; by default what each of these lists is.
        bundle: with stages, keys and overlays: folder of the bundle that is meant.
        stage: with keys: the stage that is meant; by default all, with the stages that have each key.

    Raises:
        UsageError: if there is no such list, or it lacks its bundle.
        InputError: if there is no such bundle or stage.
    """
    if what is None:
        print(_table([("LIST", "WHAT IT HAS"), *((name, each.summary) for name, each in _LISTS.items())]))
        return
    name = str(what)
    if name not in _LISTS:
        raise UsageError(f"list: there is no list of {name!r}; there are {', '.join(_LISTS)}")
    print(_table([_LISTS[name].head, *_LISTS[name].rows(bundle, stage)]))


class _List:
    """A list: what it says, the head and the rows of its table, and whether it is of a bundle."""

    def __init__(
        self, summary: str, head: str, make: Callable[..., _Rows], takes: Sequence[str] = (), needs: str = ""
    ) -> None:
        self.summary, self.head = summary, [cell.strip().upper() for cell in head.split("|")]
        self._make, self._takes, self._needs = make, takes, needs

    def rows(self, bundle: str | os.PathLike | None, stage: str | None) -> _Rows:
        """Return the rows of the table."""
        given = {name: value for name, value in (("bundle", bundle), ("stage", stage)) if value is not None}
        for name in given.keys() - set(self._takes):
            raise UsageError(f"list: --{name}: this list is of no {name}; leave it out")
        if self._needs and self._needs not in given:
            raise UsageError(f"list: --{self._needs} is missing: give the folder of the bundle whose keys are meant")
        return self._make(**given)


def _datasets() -> _Rows:
    from common.datasets.registry import DATASETS  # each list imports what it is of

    for name, target in DATASETS.items():
        yield name, _first_line(target.split(":")[0])


def _methods() -> _Rows:
    from common.distillation.methods import METHODS, PROPOSED
    from common.pipeline.stages import stages_of

    for name, method in METHODS.items():
        said = f"{method.title}{', the default' if name == PROPOSED else ''}; stages: {', '.join(stages_of(method))}"
        yield name, said


def _teachers() -> _Rows:
    from common.teachers.base_names import STAND_IN
    from common.teachers.published_weights import PUBLISHED
    from common.teachers.registry import TEACHERS

    yield f"--pretrained {STAND_IN}", "the stand-in teacher: ships with this package, pre-trained on procedural shapes"
    for name, published in PUBLISHED.items():
        size = f"{published.size / 1e6:.0f} MB"
        yield f"--pretrained {name}", f"{published.title}'s published weights; downloaded by pip when needed ({size})"
    yield (
        "--pretrained OWNER/NAME",
        "of the Hugging Face hub, such as facebook/sam-vit-base; downloaded when needed",
    )
    yield (
        "--pretrained PATH",
        "a folder in Hugging Face's format, an original checkpoint such as medsam_vit_b.pth, the model.pt of an "
        "earlier training, or weights of a network that --teacher_network_def says",
    )
    for name, target in TEACHERS.items():
        yield f"family {name}", _first_line(target.split(":")[0])


def _first_line(module: str) -> str:
    return plain(read_docstring(module).partition("\n\n")[0])


def _stages(bundle: str | os.PathLike | None = None) -> _Rows:
    return describe_stages(None if bundle is None else find_configs(bundle))


def _keys(bundle: str | os.PathLike, stage: str | None = None) -> _Rows:
    return describe_keys(find_configs(bundle), stage)


def _overlays(bundle: str | os.PathLike | None = None) -> _Rows:
    return describe_overlays(None if bundle is None else find_configs(bundle))


_WHAT = "what it is"
_LISTS = {
    "bundles": _List(
        "bundles in this folder, and those that create writes", f"bundle | {_WHAT}", lambda: describe_bundles(Path())
    ),
    "stages": _List(
        "what pipeline runs, in order: list stages [BUNDLE]", "stage | writes | what it does", _stages, ["bundle"]
    ),
    "keys": _List(
        "what --KEY VALUE overrides: list keys BUNDLE [STAGE]",
        f"key | value | {_WHAT}",
        _keys,
        ["bundle", "stage"],
        "bundle",
    ),
    "overlays": _List(
        "what --overlay lays on each stage: list overlays [BUNDLE]", f"overlay | {_WHAT}", _overlays, ["bundle"]
    ),
    "datasets": _List("datasets that this project reads", f"dataset | {_WHAT}", _datasets),
    "methods": _List("what prepares a student before it is fine-tuned, as --method", f"method | {_WHAT}", _methods),
    "teachers": _List("what a student can be distilled from, as --pretrained", f"teacher | {_WHAT}", _teachers),
}


def _table(rows: _Rows) -> str:
    """Return rows in columns, the last of which is wrapped."""
    rows = [tuple(row) for row in rows]
    columns = max(map(len, rows))
    widths = [max(len(row[number]) for row in rows) for number in range(columns - 1)]
    before = sum(widths) + 2 * len(widths)
    room = max(shutil.get_terminal_size().columns, before + 40) - before
    lines = []
    for row in rows:
        head = "".join(f"{cell:{width}}  " for cell, width in zip(row, widths, strict=False))
        text = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"{head}{text[0]}".rstrip(), *(f"{'':{before}}{each}" for each in text[1:])]
    return "\n".join(lines)
