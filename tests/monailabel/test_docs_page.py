"""The commands of docs/monai_label.md from the start of the server on; those before need the other environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from server import APP, ROOT, Server, environment, free_port, run_server

from bundles import read_label, write_pictures

PAGE = ROOT / "docs" / "monai_label.md"


def commands_of(section: str) -> str:
    """Return the only block of commands in a section."""
    [text] = [
        text for text in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE) if section in text
    ]
    [commands] = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return commands


@pytest.mark.dataset("kidneyus")
def test_the_commands_label_an_image_and_train_on_it(folders, alone, tmp_path):
    release = shutil.copytree(folders["kidneyus"], tmp_path / "dist" / "kidneyus_segmentation")
    before = (release / "models" / "model.pt").read_bytes()
    shutil.copytree(APP, tmp_path / APP.name, ignore=shutil.ignore_patterns("bin", "lib", "logs", "model"))
    (tmp_path / ".venv-monailabel").symlink_to(sys.prefix)
    studies = write_pictures(tmp_path / "runs" / "ultrasound", "grey.png", "screen.jpg")
    drawn = tmp_path / "runs/label/phantoms/labels/reviewed_masks_1/regions"
    drawn.mkdir(parents=True)
    for path in studies.iterdir():
        Image.fromarray((read_label(path).T > 120).astype(np.uint8)).save(drawn / f"{path.stem}.png")
    port = str(free_port())
    start = commands_of("3. Start the server").rstrip() + f" --port {port}"
    ask = commands_of("6. The same by HTTP").replace("8000", port)
    server = Server(f"http://127.0.0.1:{port}", tmp_path / APP.name, studies, tmp_path / "printed.log")
    options = {"cwd": tmp_path, "env": environment(alone)}
    with run_server(server, ["bash", "-ec", start], **options):
        assert "Application startup complete" in server.printed()
        done = subprocess.run(["bash", "-ec", ask], **options, check=True, capture_output=True, text=True)
        assert '"status":"' in done.stdout.replace('": "', '":"')
        task = server.get("/train/")
        assert server.wait("train", task["id"])["status"] == "DONE", "\n".join(task["details"])
        (label,) = (studies / "labels" / "final").iterdir()
    image = next(path for path in studies.iterdir() if path.stem == label.stem)
    assert read_label(tmp_path / "runs" / "label.png").shape == read_label(image).shape
    assert label.read_bytes() == (tmp_path / "runs" / "corrected.png").read_bytes()
    assert (release / "models" / "model.pt").read_bytes() != before
