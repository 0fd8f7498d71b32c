"""The bundles of this repository keep the rules, and ``ci/verify_bundle.py`` says so."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import verify_bundle
from broken_bundles import listed
from integration import BUNDLES
from monai.bundle import verify_metadata
from verify.bundle import METADATA
from verify.metadata import SCHEMA
from verify.rules import RULES

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path for path in BUNDLES.iterdir() if (path / "configs").is_dir())


class TestBundles:
    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
    def test_every_bundle_keeps_the_rules(self, folder):
        assert listed(folder) == ""

    @pytest.mark.filterwarnings("ignore:No hash value provided")
    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
    def test_monais_own_check_of_the_metadata_passes(self, folder, tmp_path):
        schema = shutil.copy(SCHEMA, tmp_path / "schema.json")  # MONAI would download it
        verify_metadata(meta_file=str(folder / METADATA), filepath=str(schema))

    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
    def test_the_versions_are_those_of_the_tests(self, folder):
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        stated = {**metadata["required_packages_version"], "monai": metadata["monai_version"]}
        stated["torch"] = metadata["pytorch_version"]
        lines = (ROOT / "ci/constraints.txt").read_text(encoding="utf-8")
        tested = dict(re.findall(r"^([\w-]+)==(\S+)$", lines, re.MULTILINE))
        shared = stated.keys() & tested.keys()
        assert {"monai", "torch", "pytorch-ignite", "einops", "nibabel"} <= shared
        assert {name: stated[name] for name in shared} == {name: tested[name] for name in shared}


class TestCommand:
    def run(self, monkeypatch, *arguments: str | Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["verify_bundle.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            verify_bundle.main()
        return caught.value.code

    def test_an_issue_is_printed_with_its_rule_and_ends_in_exit_code_1(self, bundle, monkeypatch, capsys):
        (bundle / "LICENSE").unlink()
        assert self.run(monkeypatch, bundle) == 1
        expected = f"{bundle}: necessary-files: LICENSE: found no such file; expected a file of this name\n"
        assert capsys.readouterr().out == expected

    def test_one_that_keeps_the_rules_ends_in_exit_code_0(self, bundle, monkeypatch, capsys):
        assert self.run(monkeypatch, bundle) == 0
        assert capsys.readouterr().out == f"{bundle}: all {len(RULES)} rules are kept\n"

    def test_a_folder_that_is_no_bundle_is_refused(self, tmp_path, monkeypatch):
        assert self.run(monkeypatch, tmp_path).startswith(f"error: {tmp_path}: no bundle")
