"""The README's own commands for MONAI Label, up to the start of the server, which all other tests start themselves."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from server import ROOT, environment


@pytest.mark.dataset("ph2")
def test_the_readme_puts_a_bundle_where_the_server_looks_for_it(folders, tmp_path):
    section = re.search(r"## In MONAI Label\n(.*?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    [commands] = re.findall(r"```\n(.*?)monailabel start_server", section[1], re.DOTALL)
    assert "dist/ph2_segmentation" in commands
    shutil.copytree(folders["ph2"], tmp_path / "dist" / "ph2_segmentation")
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "apps/monaibundle/main.py").is_file()
    assert [path.name for path in (tmp_path / "apps/monaibundle/model").iterdir()] == ["ph2_segmentation"]
    assert (tmp_path / "apps/monaibundle/model/ph2_segmentation/configs/inference.yaml").is_file()
