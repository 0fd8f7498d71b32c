"""Measure ``predict``: whether its masks are those of a bundle's inference, what memory and what time it takes.

``python ci/measure_predict.py agreement [--size 256] [--datasets ph2 drive]``: the share of pixels that are the same
as by ``configs/inference.yaml``, on phantoms of full size, with random weights, whose masks have many borders.

``python ci/measure_predict.py memory [--side 10000]``: the most memory for one picture, resized whole and by crops.

``python ci/measure_predict.py speed --images FOLDER --weights MODEL [MODEL ...]``: seconds for each image.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "prediction")]

_MOST_IMAGES = 10
_FOLDERS = {
    "autooral": "Train/data_train",
    "drive": "training/images",
    "kidneyus": "kidneyUS_images_14_june_2022",
    "ph2": "PH2 Dataset images/*/*_Dermoscopic_Image",
    "busi": "Dataset_BUSI_with_GT/benign",
    "chaos": "Train_Sets/MR/*/T2SPIR/DICOM_anon",
}
_PEAK = """
import resource, sys
sys.argv[1:1] = ["predict"]
from common.__main__ import main
main()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["agreement", "memory", "speed"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--datasets", nargs="+", default=list(_FOLDERS), choices=list(_FOLDERS))
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path, nargs="+")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "agreement":
            for name in given.datasets:
                _compare(name, Path(folder, name), given.size)
        elif given.what == "memory":
            _measure_memory(Path(folder), given.side)
        else:
            _measure_speed(given.images, given.weights, Path(folder))


def _compare(name: str, work: Path, size: int) -> None:
    from tiny_weights import facts_of, write_weights

    from common.datasets import find_dataset

    find_dataset(name).write_phantoms(work / "data")
    weights = write_weights(work / "model.pt", facts_of(name, size))
    found = sorted((work / "data").glob(_FOLDERS[name]))
    files = [path for path in found if name == "chaos"] or [file for path in found for file in sorted(path.iterdir())]
    for number, path in enumerate([path for path in files if "_mask" not in path.name][:_MOST_IMAGES]):
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, _made(work / "in") / f"{number}{path.suffix}")
    bundle = ROOT / "bundles" / f"{name}_segmentation"
    network = "{'_target_': 'common.students.vit.ViTSegmenter', 'in_channels': '@in_channels', 'num_classes': "
    network += "'@num_classes', 'depth': 2}"
    words = ["-W", "ignore", "-m", "monai.bundle", "run", "--config_file", bundle / "configs" / "inference.yaml"]
    words += ["--bundle_root", bundle, "--dataset_dir", work / "in", "--ckpt_path", weights, "--network_def", network]
    _run(*words, "--output_dir", work / "monai", "--device", "cpu")
    _run(
        "-m", "common", "predict", work / "in", "--weights", weights, "--output_dir", work / "numpy", "--device", "cpu"
    )
    pairs = [(path, work / "numpy" / path.name) for path in (work / "monai").glob("*_mask.*")]
    equal = [_read(one) == _read(other) for one, other in pairs]
    pixels, same = sum(each.size for each in equal), sum(int(each.sum()) for each in equal)
    print(f"{name}: {len(pairs)} masks, {pixels} pixels, {pixels - same} differ, {same / pixels:.7%} equal", flush=True)


def _measure_memory(work: Path, side: int) -> None:
    """Measure with a student of one convolution: what a network needs does not depend on the size of a picture."""
    from tiny_onnx import FACTS, write_onnx

    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (side // 50, side // 50, 3), np.uint8))
    small.resize((side, side), Image.Resampling.BICUBIC).save(work / "large.jpg", quality=90)
    crops = {key: value for key, value in FACTS.items() if key != "image_size"} | {"sees": "crops", "crop_size": 256}
    for facts in (FACTS | {"image_size": 256}, crops):
        weights = write_onnx(work / f"{facts['sees']}.onnx", facts)
        start = time.monotonic()
        words = ["-c", _PEAK, work / "large.jpg", "--weights", weights, "--output_dir", work / facts["sees"]]
        megabytes = float(_run(*words, "--table", "--overlays").splitlines()[-1])
        seconds = time.monotonic() - start
        print(f"{facts['sees']}, {side} x {side} pixels: {megabytes:.0f} MB, {seconds:.0f} s", flush=True)


def _measure_speed(images: Path, weights: list[Path], work: Path) -> None:
    for number, path in enumerate(weights):
        words = ["predict", images, "--weights", path, "--output_dir", work / str(number), "--device", "cpu"]
        if path.suffix == ".onnx":
            words = words[:-2]
        print(f"{path}: {_run('-m', 'common', *words).splitlines()[-2]}", flush=True)


def _run(*words: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def _read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj) if path.name.endswith(".gz") else np.asarray(Image.open(path))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
