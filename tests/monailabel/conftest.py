"""One server for all that needs no other: five models, pictures and volumes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import MONAIBUNDLE, ROOT, Server, make_app, monaibundle_conf, serve

from bundles import DATASETS, tiny_copy, write_pictures


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bundles", type=Path, default=ROOT / "bundles", help="folder of bundles, such as releases, to serve instead"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of datasets of which ``--bundles`` has no bundle; the repository's own has all."""
    served = {name for name in DATASETS if (config.getoption("bundles") / f"{name}_segmentation").is_dir()}
    left_out = [item for item in items if not _datasets_of(item) <= served]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _datasets_of(item: pytest.Item) -> set[str]:
    """Return the datasets that a test is about: by its parameters, or by the mark ``dataset``."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    marked = [name for mark in item.iter_markers("dataset") for name in mark.args]
    return {value for value in (*given, *marked) if isinstance(value, str) and value in DATASETS}


@pytest.fixture(scope="session")
def folders(request, tmp_path_factory) -> dict[str, Path]:
    """Tiny copies of the bundles by dataset, with weights; not to be changed."""
    parent = tmp_path_factory.mktemp("bundles")
    found = {name: request.config.getoption("bundles") / f"{name}_segmentation" for name in DATASETS}
    copies = {name: tiny_copy(folder, parent) for name, folder in found.items() if folder.is_dir()}
    assert copies, "no bundle to serve"
    if not request.config.getoption("bundles").samefile(ROOT / "bundles"):
        return copies
    assert copies.keys() == found.keys(), "of the repository's own all are served"
    return copies


@pytest.fixture(scope="session")
def alone(folders) -> bool:
    """Whether the bundles do without this repository, as releases do."""
    return all(any(folder.glob("scripts_*")) for folder in folders.values())


@pytest.fixture(scope="session")
def server(folders, alone, tmp_path_factory) -> Iterator[Server]:
    """A server of all bundles, and of copies that lack a file, in MONAI Label's own app."""
    folder = tmp_path_factory.mktemp("server")
    studies = write_pictures(folder / "studies")
    lacking = []
    for name, missing in {"without_weights": "models/model.*", "without_inference": "configs/inference.*"}.items():
        lacking.append(folder / name)
        shutil.copytree(next(iter(folders.values())), lacking[-1])
        for path in lacking[-1].glob(missing):
            path.unlink()
    bundles = [*folders.values(), *lacking]
    app = make_app(folder / "app", bundles, MONAIBUNDLE)
    with serve(app, studies, alone, **monaibundle_conf(bundle.name for bundle in bundles)) as running:
        yield running
