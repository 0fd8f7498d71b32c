"""What is wrong with images and masks is named."""

from PIL import Image

from common.datasets.contents import check_contents
from common.datasets.findings import Findings
from common.datasets.issues import DatasetIssues


def test_file_checks_name_files_below_the_root(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "image.png")
    Image.new("L", (5, 4)).save(tmp_path / "mask.png")
    issues = DatasetIssues("X", tmp_path)
    masks = {tmp_path / "mask.png": lambda mask: "wrong", tmp_path / "lost.png": lambda mask: "not looked at"}
    check_contents(tmp_path / "image.png", masks, tmp_path, issues, Findings(), modes=("RGB", "RGBA"))
    assert issues.messages == [
        f"{tmp_path / 'lost.png'}: no such file",
        "image.png: expected 8-bit RGB or RGBA, got Pillow mode L",
        "mask.png: is 5 x 4, but its image image.png is 4 x 4 pixels",
        "mask.png: wrong",
    ]
