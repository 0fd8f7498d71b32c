"""With an ONNX, ``predict`` runs where neither PyTorch nor MONAI is installed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import nibabel
import numpy as np
from integration import environment
from PIL import Image
from test_predict_volumes import FACTS
from tiny_onnx import write_onnx

_WITHOUT = """
    import sys
    from importlib.abc import MetaPathFinder

    class Absent(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            absent = ("torch", "monai", "ignite", "transformers", "diffusers", "peft", "fire", {others})
            if name.partition(".")[0] in absent:
                raise ModuleNotFoundError("No module named " + name, name=name)

    sys.meta_path.insert(0, Absent())
    from common.__main__ import main
    main()
"""


def test_pictures_and_volumes_are_segmented(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "scans").mkdir()
    Image.fromarray(np.full((20, 30, 3), (250, 20, 20), np.uint8)).save(tmp_path / "photos" / "a.jpg")
    nibabel.save(nibabel.Nifti1Image(np.full((8, 9, 3), 95, np.float32), np.eye(4)), tmp_path / "scans" / "a.nii.gz")
    for name, student, others in (
        ("photos", write_onnx(tmp_path / "photos.onnx"), '"pydicom", "highdicom"'),  # which volumes alone need
        ("scans", write_onnx(tmp_path / "scans.onnx", FACTS), ""),
    ):
        words = [
            "predict",
            tmp_path / name,
            "--weights",
            student,
            "--output_dir",
            tmp_path / "out",
            "--table",
            "--overlays",
        ]
        program = textwrap.dedent(_WITHOUT).replace("{others}", others)
        command = [sys.executable, "-c", program, *map(str, words), "--table", "--overlays"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"1 mask written to {tmp_path / 'out'}"
    assert (np.asarray(Image.open(tmp_path / "out" / "a_mask.png")) == 1).all()
    assert (np.asarray(nibabel.load(tmp_path / "out" / "a_mask.nii.gz").dataobj) == 1).all()
