"""One release that several tests look at, and releases without the exports, which take most of the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from students import PLAIN_STUDENT, PROVENANCE, bundle_of, write_student

import common.release
from common.release import release_bundle


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--releases", type=Path, help="folder to leave the releases in that fresh_environment.py makes")


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory) -> Path:
    """The folder of a student for DRIVE; not to be changed."""
    return write_student("drive", tmp_path_factory.mktemp("student"), provenance=PROVENANCE).parent


@pytest.fixture(scope="session")
def released(student_folder, tmp_path_factory) -> Path:
    """A release of it, with its exports; not to be changed."""
    dist = tmp_path_factory.mktemp("dist")
    return release_bundle(str(bundle_of("drive")), str(student_folder / "model.pt"), dist, student_def=PLAIN_STUDENT)


@pytest.fixture
def release(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Return what releases a student without TorchScript and ONNX."""

    def no_exports(folder: Path, in_channels: int, image_size: int, one_size: bool) -> None:
        (folder / "models" / "model.ts").write_bytes(b"not exported")

    def run(name: str, weights: Path, bundle: Path | None = None, **options: Any) -> Path:
        options = {"output_dir": str(tmp_path / "dist"), "student_def": PLAIN_STUDENT, **options}
        return release_bundle(str(bundle or bundle_of(name)), str(weights), **options)

    monkeypatch.setattr(common.release, "export_release", no_exports)
    return run
