"""The commands of docs/monai_label.md, up to the start of the server, which all other tests start themselves."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from server import ROOT, environment


@pytest.mark.dataset("ph2")
def test_the_page_puts_a_bundle_where_the_server_looks_for_it(folders, tmp_path):
    page = (ROOT / "docs/monai_label.md").read_text(encoding="utf-8")
    [commands] = re.findall(r"```\n(.*?)monailabel start_server", page, re.DOTALL)
    assert "dist/ph2_segmentation" in commands
    shutil.copytree(folders["ph2"], tmp_path / "dist" / "ph2_segmentation")
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "apps/monaibundle/main.py").is_file()
    assert [path.name for path in (tmp_path / "apps/monaibundle/model").iterdir()] == ["ph2_segmentation"]
    assert (tmp_path / "apps/monaibundle/model/ph2_segmentation/configs/inference.yaml").is_file()
