"""The example of a further dataset in the docs, followed to the letter in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from integration import tiny

ROOT = Path(__file__).parents[2]


def run(*command: str, folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the dataset of that page in it."""
    copy = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "common", copy / "common", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "bundles").mkdir()
    page = (ROOT / "docs/adding_a_dataset.md").read_text(encoding="utf-8")
    module, commands, _ = re.findall(r"   ```\w*\n(.*?)   ```", page, re.DOTALL)
    (copy / "common/datasets/spots.py").write_text(re.sub(r"^   ", "", module, flags=re.MULTILINE), encoding="utf-8")
    (line,) = re.findall(r"add the line `(.*)` to `DATASETS`", page)
    registry = copy / "common/datasets/registry.py"
    text = registry.read_text(encoding="utf-8")
    registry.write_text(text.replace("DATASETS = {\n", f"DATASETS = {{\n    {line}\n"), encoding="utf-8")
    assert registry.read_text(encoding="utf-8") != text
    run("bash", "-ec", commands.replace("python", sys.executable), folder=copy)
    return copy


def test_the_new_dataset_can_be_checked(repository, tmp_path):
    run(sys.executable, "-m", "common", "phantoms", "spots", str(tmp_path / "spots"), folder=repository)
    arguments = ("--dataset_dir", str(tmp_path / "spots"), "--output_dir", str(tmp_path), "--num_validation", "1")
    run(sys.executable, "-m", "common", "check", "bundles/spots_segmentation", *arguments, folder=repository)
    report = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert report["images"] == 24
    assert [each["name"] for each in report["classes"]] == ["background", "spot"]


def test_the_new_bundle_runs_all_its_stages(repository, tmp_path):
    bundle = "bundles/spots_segmentation"
    overrides = [part for key, value in tiny(repository / bundle).items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "common", "pipeline", bundle, "--demo", "--output_dir", str(tmp_path)]
    run(*command, *overrides, folder=repository)
    summary = json.loads((tmp_path / "evaluation/student/summary.json").read_text(encoding="utf-8"))
    assert summary["metrics"]["dice"].keys() == {"spot", "mean"}
