"""What a check has read: when it counts, and when it does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from common.datasets.findings import Findings
from common.datasets.manifest import make_manifest, read_findings, write_manifest

FOUND = Findings(digests={"a.png": "1f"}, turned=["b.png"])


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "data" / "masks").mkdir(parents=True)
    for name in ("a.png", "b.png", "masks/a.png"):
        (tmp_path / "data" / name).write_text(name)
    return tmp_path / "data"


def is_recorded(manifest: dict, path: Path) -> bool:
    return read_findings(manifest, path) is not None


def manifest_of(folder: Path, **keys) -> dict:
    return make_manifest("spots", keys, folder, (path for path in folder.rglob("*.png")))


def test_a_manifest_is_recorded_once_it_is_written(folder, tmp_path):
    path = tmp_path / "runs" / "manifest.json"
    assert not is_recorded(manifest_of(folder), path)
    write_manifest(manifest_of(folder), FOUND, path)
    assert is_recorded(manifest_of(folder), path)
    assert read_findings(manifest_of(folder), path) == FOUND
    assert [each.name for each in path.parent.iterdir()] == ["manifest.json"]
    files = json.loads(path.read_text())["files"]
    state = (folder / "a.png").stat()
    assert list(files) == ["a.png", "b.png", "masks/a.png"]
    assert files["a.png"] == [state.st_size, state.st_mtime_ns]


def add(folder: Path) -> None:
    (folder / "c.png").write_text("c")


def remove(folder: Path) -> None:
    (folder / "b.png").unlink()


def rename(folder: Path) -> None:
    (folder / "b.png").rename(folder / "c.png")


def grow(folder: Path) -> None:
    state = (folder / "b.png").stat()
    (folder / "b.png").write_text("longer than before")
    os.utime(folder / "b.png", ns=(state.st_atime_ns, state.st_mtime_ns))


def touch(folder: Path) -> None:
    state = (folder / "b.png").stat()
    os.utime(folder / "b.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [add, remove, rename, grow, touch])
def test_files_that_were_added_removed_or_changed_are_noticed(folder, tmp_path, change):
    write_manifest(manifest_of(folder), FOUND, tmp_path / "manifest.json")
    change(folder)
    assert not is_recorded(manifest_of(folder), tmp_path / "manifest.json")


def test_another_task_or_dataset_is_not_recorded(folder, tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(manifest_of(folder, task="regions"), FOUND, path)
    assert is_recorded(manifest_of(folder, task="regions"), path)
    assert not is_recorded(manifest_of(folder, task="capsule"), path)
    assert not is_recorded({**manifest_of(folder, task="regions"), "dataset": "dots"}, path)


def test_a_dataset_that_is_moved_as_a_whole_is_recorded(folder, tmp_path):
    write_manifest(manifest_of(folder), FOUND, tmp_path / "manifest.json")
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert is_recorded(manifest_of(Path(moved)), tmp_path / "manifest.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"files": {}}'])
def test_a_damaged_manifest_counts_for_nothing_and_is_replaced(folder, tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    assert not is_recorded(manifest_of(folder), path)
    write_manifest(manifest_of(folder), FOUND, path)
    assert is_recorded(manifest_of(folder), path)


@pytest.mark.parametrize(
    "findings",
    [None, [], {}, {**FOUND.to_record(), "more": []}, {**FOUND.to_record(), "turned": "b.png"}]
    + [{**FOUND.to_record(), "digests": value} for value in ([], {"a.png": 3})]
    + [{**FOUND.to_record(), "turned": [["b.png"]]}],
)
def test_damaged_findings_count_for_nothing(folder, tmp_path, findings):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**manifest_of(folder), "findings": FOUND.to_record()}))
    assert read_findings(manifest_of(folder), path) == FOUND
    path.write_text(json.dumps({**manifest_of(folder), "findings": findings}))
    assert read_findings(manifest_of(folder), path) is None


def test_of_several_processes_the_first_one_writes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    write_manifest(manifest_of(folder), FOUND, tmp_path / "manifest.json")
    assert not (tmp_path / "manifest.json").exists()
