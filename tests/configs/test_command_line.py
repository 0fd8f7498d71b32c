"""``python -m monai.bundle run`` reads its command line as the project's own commands do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.configs.command_line import apply, corrected_arguments
from common.errors import InputError

CONFIG = {
    "imports": ["$import json", "$import common.configs.command_line as command_line"],
    "output_dir": "out",
    "initial_weights": "weights.pt",
    "epochs": 3,
    "learning_rate": 0.1,
    "whole_images": False,
    "num_labels": 7,
    "note": "none",
    "names": ["a"],
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": "@learning_rate"},
    "initialize": ["$command_line.apply()"],
    "run": [
        "$print('got', json.dumps([@output_dir, @initial_weights, @epochs, @learning_rate, @whole_images, @num_labels, "
        "@note, @names]), flush=True)"
    ],
}


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def run(config: Path, *words: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, *python, "-m", "monai.bundle", "run", "--config_file", str(config), *words]
    environment = {**os.environ, "HOME": "/home/ada", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, cwd=config.parent, env=environment, timeout=300)


def got(done: subprocess.CompletedProcess) -> list:
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("got ")]
    return json.loads(line.removeprefix("got "))


class TestProcess:
    """The real command, in a process of its own."""

    def test_gets_what_yaml_reads(self, config):
        done = run(
            config, "--output_dir=~/2024_01", "--initial_weights", "null", "--epochs", "5", "--learning_rate", "1e-4",
            "--whole_images", "true", "--num_labels", "null", "--note", "2024_01", "--names", "[x, 'y', 1]",
            python=("-W", "ignore"),
        )  # fmt: skip
        assert got(done) == ["/home/ada/2024_01", None, 5, 0.0001, True, None, "2024_01", ["x", "y", 1]]
        assert "UserWarning" not in done.stderr  # the options of the interpreter stay

    def test_ends_with_a_line_for_each_fault_and_runs_nothing(self, config):
        done = run(config, "--epochs", "0", "--learning_rate", ".nan", "--num_labels", "all")
        assert done.returncode == 1
        assert "got" not in done.stdout
        assert done.stderr.splitlines()[-3:] == [
            "error: epochs: expected a whole number of at least 1, got 0",
            "error: learning_rate: expected a number above 0, got nan",
            "error: num_labels: expected a whole number of at least 1, or null, got 'all'",
        ]


class TestCorrected:
    """The arguments that the command is started anew with."""

    @pytest.mark.parametrize(
        "words",
        ["", "--epochs 3", "--learning_rate 1e-4", "--whole_images False", "--num_labels $None", "--note some",
         "training", "--names ['b','c']", "--output_dir /data/runs", "--output_dir null", "-- --trace",
         "--optimizer::weight_decay 0.1", "--optimizer#lr 2"],
    )  # fmt: skip
    def test_none_where_fire_reads_the_same(self, words, config):
        assert corrected_arguments(["--config_file", str(config), *words.split()]) is None

    @pytest.mark.parametrize(
        ("words", "corrected"),
        [
            ("--whole_images false", "--whole_images=False"),
            ("--no-whole_images", "--whole_images=False"),
            ("--num_labels null", "--num_labels=$None"),
            ("--num_labels None", "--num_labels=$None"),
            ("--initial_weights null", "--initial_weights=$None"),
            ("--output_dir 2024", '--output_dir="2024"'),
            ("--output_dir 1e5", '--output_dir="1e5"'),
            ("--note 2024_01", '--note="2024_01"'),
            ("--note a,b", '--note="a,b"'),
            ("--names [false,null]", "--names=[False, None]"),
            ("--optimizer::fused false", "--optimizer::fused=False"),
        ],
    )
    def test_once_and_for_all(self, words, corrected, config):
        arguments = ["--config_file", str(config)]
        found = corrected_arguments([*arguments, *words.split()])
        assert found == [f"--config_file={config}", corrected]
        assert corrected_arguments(found) is None

    def test_with_all_else_as_it_was(self, config):
        words = ["training", "--config_file", f"['{config}']", "--epochs", "4", "--num_labels", "null", "--", "--trace"]
        assert corrected_arguments(words) == [
            "--run_id=training", f'--config_file=["{config}"]', "--epochs=4", "--num_labels=$None", "--", "--trace",
        ]  # fmt: skip

    def test_with_paths_of_files_expanded_too(self, config, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", "/home/ada")
        config.write_text(yaml.safe_dump({**CONFIG, "output_dir": "~/runs"}))
        found = corrected_arguments(["--config_file", str(config)])
        assert found == [f"--config_file={config}", "--output_dir=/home/ada/runs"]
        assert corrected_arguments(found) is None

    def test_for_a_file_of_arguments_too(self, config, tmp_path):
        arguments = tmp_path / "arguments.yaml"
        arguments.write_text(yaml.safe_dump({"config_file": str(config), "epochs": 5, "num_labels": None}))
        assert corrected_arguments(["--args_file", str(arguments)]) is None
        arguments.write_text(yaml.safe_dump({"config_file": str(config), "epoch": 5}))
        with pytest.raises(InputError, match=r"--epoch: there is no such key; did you mean epochs\?"):
            corrected_arguments(["--args_file", str(arguments)])


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--epoch 3", r"--epoch: there is no such key; did you mean epochs\?"),
            ("--optimizer::weight_deca 1", "--optimizer::weight_deca: there is no such key"),
            ("--epoch 3 --nam x", r"--epoch: .*\n--nam: there is no such key; did you mean names\?"),
            ("--names [a", "--names: .a begins like a list"),
            ("--epochs 2.5", "epochs: expected a whole number of at least 1, got 2.5"),
            ("--optimizer::lr -1", "optimizer::lr: expected a number above 0, got -1"),
        ],
    )
    def test_what_no_config_takes(self, words, said, config):
        with pytest.raises(InputError, match=f"^{said}"):
            corrected_arguments(["--config_file", str(config), *words.split()])

    def test_not_the_keys_of_experiment_tracking(self, config):
        words = "--tracking mlflow --experiment_name mine --run_name first --tracking_uri http://127.0.0.1:5000"
        assert corrected_arguments(["--config_file", str(config), *words.split()]) is None


def test_another_process_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started anew"))
    for argv in (
        ["/opt/server.py", "run", "--epochs", "x"],
        ["/lib/monai/bundle/__main__.py", "ckpt_export", "--x", "y"],
    ):
        monkeypatch.setattr(sys, "argv", argv)
        apply()
