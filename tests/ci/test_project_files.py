"""Files at the root that other programs read name what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS = {hook["id"]: hook for repository in CONFIG["repos"] for hook in repository["hooks"]}


@pytest.mark.parametrize("name", ["ruff-check", "ruff-format"])
def test_the_hooks_of_a_commit_run(name):
    command = [*HOOKS[name]["entry"].split(), "common/errors.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_what_ci_checks_first():
    script = (ROOT / "ci" / "test.sh").read_text(encoding="utf-8")
    for hook in HOOKS.values():
        assert hook["entry"] in script


def test_the_container_is_made_by_the_install_script_of_all_that_it_needs():
    """Docker is not at hand where tests run: at least nothing that the script reads is left out of the image."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "bash ci/install.sh\n" in text
    read = set(re.findall(r"[\w/]+\.(?:sh|txt|cfg)\b", (ROOT / "ci" / "install.sh").read_text(encoding="utf-8")))
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for name in {*read, "pyproject.toml", "README.md", "common", "bundles"}:
        assert (ROOT / name).exists()
        assert not [pattern for pattern in ignored if Path(name).match(pattern)]
