"""A release runs from any folder, beside packages of other names, and beside other releases in one process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from integration import environment, lopsided_image
from PIL import Image
from students import package_of, write_student


def run(release: Path, cwd: Path, config: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Segment ``cwd/images`` into ``cwd/masks``, both named as a user in that folder names them."""
    config = config or release / "configs" / "inference.yaml"
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", str(config)]
    command += ["--dataset_dir", "images", "--output_dir", "masks", "--device", "cpu"]
    kept = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def cwd(tmp_path) -> Path:
    """A folder with an image, elsewhere than the release."""
    (tmp_path / "here" / "images").mkdir(parents=True)
    Image.fromarray(lopsided_image(60, 80)).save(tmp_path / "here" / "images" / "a.png")
    return tmp_path / "here"


def mask_of(cwd: Path) -> np.ndarray:
    (path,) = (cwd / "masks").glob("*.png")
    return np.asarray(Image.open(path))


def test_it_runs_from_another_folder_where_relative_paths_mean_that_folder(released, cwd):
    done = run(released, cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert mask_of(cwd).shape == np.asarray(Image.open(cwd / "images" / "a.png")).shape[:2]


def test_it_runs_by_a_relative_path(released, cwd):
    config = Path(os.path.relpath(released / "configs" / "inference.yaml", cwd))
    done = run(released, cwd, config)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("on_path", [False, True])
def test_another_package_called_scripts_is_not_taken_for_its_own(released, cwd, on_path):
    (cwd / "scripts").mkdir()
    (cwd / "scripts" / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    done = run(released, cwd, **({"PYTHONPATH": str(released)} if on_path else {}))
    assert done.returncode == 0, done.stdout + done.stderr
    mask_of(cwd)


def test_a_config_that_was_taken_out_of_its_release_says_what_to_do(released, cwd):
    copy = Path(shutil.copy(released / "configs" / "inference.yaml", cwd / "mine.yaml"))
    done = run(released, cwd, copy)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: run the config that is in the release itself"
    assert "Traceback" not in done.stderr
    assert not (cwd / "masks").exists()
    with_path = run(released, cwd, copy, PYTHONPATH=str(released))
    assert with_path.returncode == 0, with_path.stdout + with_path.stderr


class TestSeveralInOneProcess:
    @pytest.fixture
    def releases(self, release, tmp_path, monkeypatch) -> Iterator[list[Path]]:
        """Two releases of one bundle and one of another, on the path for modules; of a release with the same content,
        which another test has loaded from elsewhere, nothing is left.
        """
        _forget_releases()
        found = []
        for number, name in enumerate(("drive", "drive", "ph2")):
            weights = write_student(name, tmp_path / f"run{number}", seed=number)
            found.append(release(name, weights, output_dir=str(tmp_path / f"dist{number}")))
            monkeypatch.syspath_prepend(str(found[-1]))
        yield found
        _forget_releases()

    def test_each_is_loaded_with_its_own_code_and_weights(self, releases):
        for folder in [*releases, *reversed(releases)]:
            network = monai.bundle.load(folder.name, bundle_dir=folder.parent, device="cpu")
            assert Path(sys.modules[type(network).__module__].__file__).is_relative_to(folder)
            weights = torch.load(folder / "models" / "model.pt", weights_only=True)
            assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())

    def test_each_segments_with_its_own_weights(self, releases, cwd, monkeypatch):
        """Which lie in a folder that a config finds by the place of its code."""
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # a run sets its own
        alone, together = [], []
        for folder in releases:
            assert run(folder, cwd).returncode == 0
            alone.append(mask_of(cwd))
            shutil.rmtree(cwd / "masks")
        for folder in releases:
            places = {"dataset_dir": str(cwd / "images"), "output_dir": str(cwd / "masks"), "device": "cpu"}
            config = str(folder / "configs" / "inference.yaml")
            workflow = monai.bundle.ConfigWorkflow(config, workflow_type="infer", logging_file=False, **places)
            workflow.initialize()
            workflow.run()
            workflow.finalize()
            together.append(mask_of(cwd))
            shutil.rmtree(cwd / "masks")
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)
        assert (alone[0] != alone[1]).any(), "a test of nothing"


def _forget_releases() -> None:
    for name in [name for name in sys.modules if name.startswith("scripts_")]:
        del sys.modules[name]


def test_a_package_is_named_by_what_is_in_the_release(release, tmp_path):
    weights = write_student("drive", tmp_path / "run")
    first = package_of(release("drive", weights, output_dir=str(tmp_path / "a"))).name
    assert package_of(release("drive", weights, output_dir=str(tmp_path / "b"))).name == first
    assert package_of(release("drive", weights, output_dir=str(tmp_path / "c"), overlap=0.25)).name != first
    other = write_student("drive", tmp_path / "other", seed=1)
    assert package_of(release("drive", other, output_dir=str(tmp_path / "d"))).name != first
