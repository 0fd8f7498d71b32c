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
import yaml
from broken_bundles import listed
from integration import BUNDLES
from monai.bundle import verify_metadata
from verify.bundle import METADATA, Bundle
from verify.metadata import SCHEMA
from verify.paths import own_paths, personal_paths
from verify.rules import RULES

from common import templates
from common.templates import complete_facts, render_bundle

FACTS = Path(templates.__file__).parent / "facts"
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


class TestOwnBundle:
    """A bundle of one's own images names their folder, which is a note as long as it stays at home."""

    def own(self, bundle: Path, folder: str) -> Path:
        facts = {**yaml.safe_load((FACTS / "ph2.yaml").read_text(encoding="utf-8")), "dataset_dir": folder}
        for name, text in render_bundle(complete_facts(facts, "facts.yaml")).items():
            (bundle / name).write_text(text, encoding="utf-8")
        (bundle / "docs" / "facts.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")
        return bundle

    @pytest.mark.parametrize(
        "folder",
        [
            "/home/jane/PH2",
            "/home/jane/PH2/",
            "/home/jane/my images",
            "/home/jane/photographs of all wounds that we saw in our clinic in the years before and after",
            "/home/jane/Jane's images",
            r"C:\Users\jane\my images",
        ],
    )
    def test_its_data_are_named_with_what_to_do_before_sharing(self, folder, bundle):
        own = self.own(bundle, folder)
        assert own_paths(Bundle(own)) == [folder]
        assert not list(personal_paths(Bundle(own)))

    def test_they_are_known_however_they_are_escaped(self, bundle):
        folder = '/home/jane/Bilder \u00fcber Jane\'s H\u00fcfte \U0001f480, "alle"'
        own = self.own(bundle, "/data/PH2")
        (own / "docs" / "facts.yaml").write_text(yaml.safe_dump({"dataset_dir": folder}), encoding="utf-8")
        written = [
            f"{write({'a': folder}, **options)}\n"
            for write, options in (
                (json.dumps, {}),
                (json.dumps, {"ensure_ascii": False}),
                (yaml.safe_dump, {"width": 20}),
                (yaml.safe_dump, {"allow_unicode": True}),
            )
        ]
        (own / "docs" / "notes.md").write_text("".join(written), encoding="utf-8")
        assert not list(personal_paths(Bundle(own)))

    @pytest.mark.parametrize(
        "other",
        [
            "/home/john/PH2",
            "/home/jane",
            "/home/jane/PH",
            "/home/jane/PH2-old",
            "/home/jane/PH2/a.png",
            "/home/jane/P.H",
        ],
    )
    def test_other_paths_are_issues_all_the_same(self, other, bundle):
        own = self.own(bundle, "/home/jane/PH2")
        (own / "docs" / "notes.md").write_text(f"{other}, and /home/jane/PH2.")
        assert [issue.found for issue in personal_paths(Bundle(own))] == [other]

    def test_its_release_must_not_name_them(self, bundle):
        own = self.own(bundle, "/home/jane/PH2")
        (own / "scripts").mkdir()
        assert {issue.found for issue in personal_paths(Bundle(own))} == {"/home/jane/PH2"}


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
