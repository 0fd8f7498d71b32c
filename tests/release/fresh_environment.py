"""Releases of all bundles, used in an environment that has only what they say they need; run by ci/test_release.sh.

The name of this file keeps it out of the ordinary suite, which has no such environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
import torch
from integration import PICTURE_SIZES, contained, lopsided_image
from monai.bundle import ConfigWorkflow
from PIL import Image
from students import IMAGE_SIZE, NAMES, PLAIN_STUDENT, bundle_of, files_of, size_key, write_student

from common.release import release_bundle

PYTHON = Path(__file__).parents[2] / ".venv-release" / "bin" / "python"
PROBE = Path(__file__).parent / "probe.py"
HIDDEN = Path(__file__).parent / "hidden"
NEEDED_BY = {"pydicom": ["chaos"], "scipy": ["busi"]}  # what the environment has for these alone
DEFAULT_STUDENT = "drive"  # released with its ViT-Tiny, the others with a small one


class Released(NamedTuple):
    """A release, the weights it was made of, and phantoms of its dataset."""

    name: str
    folder: Path
    weights: Path
    dataset_dir: Path
    student_def: dict[str, Any] | None


def run_fresh(release: Released, *arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the fresh environment's ``python`` in the folder of a release, with as many threads as are used here."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONDONTWRITEBYTECODE": "1"}
    hidden = [str(HIDDEN / package) for package, names in NEEDED_BY.items() if release.name not in names]
    environment["PYTHONPATH"] = os.pathsep.join(hidden)
    command = [str(PYTHON), "-W", "ignore", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd or release.folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def run_bundle(release: Released, command: str, *flags: Any, **keys: Any) -> subprocess.CompletedProcess[str]:
    options = [item for key, value in keys.items() for item in (f"--{key}", value)]
    return run_fresh(release, "-m", "monai.bundle", command, *flags, *options)


@pytest.fixture(scope="session")
def released(request, tmp_path_factory, tiny_phantoms):
    """Return what releases a student of a bundle, once for all tests."""
    dist = request.config.getoption("releases") or tmp_path_factory.mktemp("dist")
    assert PYTHON.is_file(), "there is no .venv-release: bash ci/test_release.sh makes it"

    @cache
    def make(name: str) -> Released:
        folder = tmp_path_factory.mktemp(name)
        student_def = None if name == DEFAULT_STUDENT else PLAIN_STUDENT
        settings = {"task": "capsule", "annotator": 1} if name == "kidneyus" else {}
        weights = write_student(name, folder / "run", student_def, **settings)
        overrides = {"student_def": student_def} if student_def else {}
        bundle = release_bundle(str(bundle_of(name)), str(weights), str(dist), **overrides)
        return Released(name, bundle, weights, tiny_phantoms(name), student_def)

    return make


@pytest.fixture(scope="session")
def images(tmp_path_factory, tiny_phantoms):
    """Return a folder of images, none of them square, for a bundle."""

    @cache
    def make(name: str) -> Path:
        if name == "chaos":
            return next((tiny_phantoms(name) / "Test_Sets" / "MR").glob("*/T2SPIR"))
        folder = tmp_path_factory.mktemp("images")
        for stem, size in PICTURE_SIZES.items():
            picture = Image.fromarray(lopsided_image(*size))
            (picture.convert("L") if name in ("kidneyus", "busi") else picture).save(folder / f"{stem}.png")
        return folder

    return make


def without_workbooks(dataset_dir: Path, parent: Path) -> Path:
    """Return a copy of a dataset whose workbooks are gone, as they take a package more."""
    return Path(shutil.copytree(dataset_dir, parent / "data", ignore=shutil.ignore_patterns("*.xlsx")))


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    """Return the masks by file name."""
    masks = {path.name: np.asarray(Image.open(path)) for path in folder.glob("*.png")}
    return masks | {path.name: np.asarray(nibabel.load(path).dataobj) for path in folder.rglob("*.nii.gz")}


@pytest.mark.parametrize("name", NAMES)
class TestRelease:
    def test_masks_are_those_of_the_source_bit_for_bit(self, name, released, images, tmp_path):
        release = released(name)
        done = run_bundle(
            release,
            "run",
            config_file="configs/inference.yaml",
            dataset_dir=images(name),
            output_dir=tmp_path / "there",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        keys = {"ckpt_path": str(release.weights), size_key(name): IMAGE_SIZE}
        keys |= {"network_def": release.student_def} if release.student_def else {}
        keys |= {"task": "capsule"} if name == "kidneyus" else {}
        places = {"dataset_dir": str(images(name)), "output_dir": str(tmp_path / "here")}
        source = ConfigWorkflow(
            str(bundle_of(name) / "configs" / "inference.yaml"),
            workflow_type="infer",
            logging_file=False,
            device=torch.device("cpu"),
            **keys,
            **places,
        )
        with contained():
            source.initialize()
            source.run()
            source.finalize()
        here, there = masks_of(tmp_path / "here"), masks_of(tmp_path / "there")
        assert here.keys() == there.keys()
        assert len(here) >= 1
        for mask in here:
            np.testing.assert_array_equal(there[mask], here[mask])
        assert any(len(np.unique(mask)) > 1 for mask in here.values()), "a test of nothing"

    def test_fine_tuning_goes_on_from_the_student_without_a_teacher(self, name, released, tmp_path):
        release = released(name)
        tiny = {"epochs": 2, "val_interval": 1, "samples_per_epoch": 4, "batch_size": 2, "num_workers": 0}
        places = {"dataset_dir": without_workbooks(release.dataset_dir, tmp_path), "output_dir": tmp_path / "run"}
        files = ["configs/train.yaml", "configs/cpu.yaml"] if name == "ph2" else "configs/train.yaml"
        done = run_bundle(release, "run", config_file=files, num_validation=1, learning_rate=1e-5, **tiny, **places)
        log = done.stdout + done.stderr
        assert done.returncode == 0, log
        assert log.count("TensorBoard's files are off: tensorboard is not installed") == 1
        before = torch.load(release.folder / "models" / "model.pt", weights_only=True)
        after = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
        assert after.keys() == before.keys()
        moved = max(float((after[key] - before[key]).abs().max()) for key in before)
        assert 0 < moved < 1e-3, "it has to start from the student that was released"
        assert not (tmp_path / "run" / "tensorboard").exists()

    def test_monai_loads_it(self, name, released, tmp_path):
        release = released(name)
        before = files_of(release.folder)
        channels = 3 if name in ("drive", "ph2", "autooral") else 1
        done = run_fresh(release, PROBE, release.folder.parent, release.folder.name, channels, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the release is complete" in done.stdout
        assert files_of(release.folder) == before, "loading writes nothing"


def test_monais_own_checks_pass_as_commands(released, tmp_path):
    """The probe calls them for the other bundles."""
    release = released(DEFAULT_STUDENT)
    config = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.yaml"}
    done = run_bundle(release, "verify_net_in_out", "network_def", device="cpu", n=2, **config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified with no error" in done.stdout + done.stderr
    exported = tmp_path / "again.ts"
    done = run_bundle(release, "ckpt_export", "network_def", filepath=exported, ckpt_file="models/model.pt", **config)
    assert done.returncode == 0, done.stdout + done.stderr
    shipped = torch.load(release.folder / "models" / "model.pt", weights_only=True)
    again = torch.jit.load(exported).state_dict()
    assert all(torch.equal(again[key], shipped[key]) for key in shipped)


def test_an_evaluation_says_what_it_needs_besides(released, tmp_path):
    release = released("ph2")
    dataset_dir = without_workbooks(release.dataset_dir, tmp_path)
    places = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "ckpt_path": "models/model.pt"}
    done = run_bundle(release, "run", config_file="configs/evaluate.yaml", **places)
    assert done.returncode == 1
    assert (
        "error: an evaluation measures distances with SciPy, which is not installed: pip install scipy" in done.stderr
    )


@pytest.mark.parametrize("name", ["ph2", "autooral"])
def test_a_split_that_goes_by_a_workbook_takes_what_reads_it(name, released, tmp_path):
    """It would be another split without, which might part the images of one patient."""
    release = released(name)
    places = {"dataset_dir": release.dataset_dir, "output_dir": tmp_path}
    done = run_bundle(release, "run", config_file="configs/train.yaml", num_validation=1, **places)
    assert done.returncode == 1
    assert "reading workbooks takes the package openpyxl; install it" in done.stderr
    assert "the workbook of the dataset openpyxl" in (release.folder / "docs" / "README.md").read_text(encoding="utf-8")
