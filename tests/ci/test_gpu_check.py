"""The check on a GPU, in small and on a CPU: what fails is told and stops nothing, and figures are what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import gpu_check
import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from gpu_parts import networks, running, stages
from gpu_parts.peaks import stated_peak
from gpu_parts.running import Part, Report, figures_in_last_line, run_part, run_parts
from ignite.engine import Engine, Events
from integration import contained
from torch import nn

from common.configs.values import read_value
from common.evaluation.tables import write_summary
from common.pipeline.configs import stage_config
from common.pipeline.overrides import check_overrides, check_values
from common.training import logs
from common.training.progress import ProgressReport

CPU = torch.device("cpu")
SCRIPT = Path(gpu_check.__file__).with_suffix(".sh")


def python(code: str, **options) -> Part:
    return Part(**{"name": "it", "command": [sys.executable, "-c", code], **options})


def given(folder: Path, device: str = "cuda", quick: bool = False) -> stages.Run:
    return stages.Run(folder / "data", folder / "run", "lite_medsam.pth", device, quick)


class TestParts:
    def test_one_that_fails_is_told_with_its_last_line_and_the_others_run(self, tmp_path, capsys):
        failing = python("import sys; print('first'); sys.exit('no such device')", name="failing")
        fine = python("print('hello'); print('{\"rate\": 2.5}')", name="fine", figures=figures_in_last_line)
        report = Report(tmp_path / "new" / "gpu.json", {"device": "cpu"})
        run_parts([failing, fine], report, tmp_path, os.environ, 60)
        content = json.loads((tmp_path / "new" / "gpu.json").read_text(encoding="utf-8"))
        assert content["settings"] == {"device": "cpu"}
        assert content["parts"]["failing"]["error"] == "exit code 1: no such device"
        assert content["parts"]["fine"]["figures"] == {"rate": 2.5}
        assert report.failed == ["failing"]
        assert "fine, 0 s: rate 2.5" in capsys.readouterr().out

    def test_one_without_the_figures_that_it_should_have_has_failed(self, tmp_path):
        outcome = run_part(
            python("print('all is well')", figures=figures_in_last_line), tmp_path / "it", os.environ, 60
        )
        assert outcome["error"].startswith("no figures: JSONDecodeError")

    def test_one_that_hangs_is_ended_at_its_limit_with_all_that_it_has_started(self, tmp_path):
        code = (
            "import subprocess, sys, time; "
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
            "print(child.pid, flush=True); time.sleep(600)"
        )
        outcome = run_part(python(code), tmp_path / "it", os.environ, 1)
        child = int((tmp_path / "it").read_text(encoding="utf-8"))
        assert outcome["error"] == f"ended after 1 s, its limit; last line: {child}"
        end = time.monotonic() + 10
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.02)

    def test_none_is_begun_that_the_time_is_too_short_for(self, tmp_path):
        report = Report(tmp_path / "gpu.json", {})
        run_parts([python("print('begun')", name="late")], report, tmp_path, os.environ, 12)
        assert report.content["parts"]["late"]["error"] == "not run: the 0.2 minutes are used up"
        assert not (tmp_path / "late.txt").exists()

    def test_a_part_has_no_longer_than_is_left(self, tmp_path, monkeypatch):
        limits = []
        outcome = {"seconds": 0.0, "figures": {}}
        monkeypatch.setattr(running, "run_part", lambda *given: limits.append(given[-1]) or outcome)
        run_parts([python("", limit=50), python("", limit=90)], Report(tmp_path / "gpu.json", {}), tmp_path, {}, 70)
        assert limits[0] == 50
        assert 59 < limits[1] <= 60  # and ten to end it


class TestStages:
    @pytest.mark.parametrize("quick", [False, True])
    @pytest.mark.parametrize("stage", [*stages.STAGES, stages.MULTI_GPU])
    def test_every_key_is_one_of_the_stage_with_a_value_that_it_allows(self, stage, quick, tmp_path):
        options = stages.options_of(stage, given(tmp_path, quick=quick))
        config = stage_config(
            stages.BUNDLE, {"evaluate_teacher": "evaluate", stages.MULTI_GPU: "train"}.get(stage, stage)
        )
        check_overrides([config], options)
        check_values([config], options, on_this_machine=False)
        assert ("amp" in config) == (options.get("amp") is True)
        if "image_size" in config:
            assert options["image_size"] == (64 if quick else 256)

    def test_values_on_the_command_line_are_read_as_they_were_meant(self, tmp_path):
        run = given(tmp_path, quick=True)
        for stage in (*stages.STAGES, stages.MULTI_GPU):
            command = stages.command_of(stage, run)
            for key, value in stages.options_of(stage, run).items():
                assert read_value(key, command[command.index(f"--{key}") + 1]) == value

    @pytest.mark.parametrize(
        ("stage", "expected"), [(stages.MULTI_GPU, ["train", "multi_gpu"]), ("distill", ["distill", "none"])]
    )
    def test_the_pipeline_runs_each_as_a_user_would_have_it(self, stage, expected, tmp_path):
        command = stages.command_of(stage, given(tmp_path))
        assert command[1:4] == ["-m", "common", "pipeline"]
        assert [command[command.index(option) + 1] for option in ("--stages", "--overlay")] == expected

    def test_speed_is_that_of_epochs_between_the_first_and_the_last(self, tmp_path):
        run = given(tmp_path)
        lines = [
            "2026-03-01 23:59:30,000 INFO progress: train: epoch 1/4, loss 1.3000, 12 s, 3 min left",
            "2026-03-01 23:59:58,500 INFO progress: train: epoch 2/4, loss 1.2000, 28 s, 1 min left",
            "2026-03-02 00:00:30,000 INFO progress: train: epoch 3/4, loss 1.1000, 31 s, 31 s left",
            "2026-03-02 00:01:30,000 INFO progress: train: epoch 4/4, loss 1.0000, val dice 0.8750, 60 s",
            "2026-03-02 00:01:31,000 INFO logs: this process took at most 3.46 GB of the GPU's memory at once",
        ]
        log = run.output_dir / "logs" / "train.log"
        log.parent.mkdir(parents=True)
        log.write_text("\n".join(lines) + "\n", encoding="utf-8")
        images = 2 * stages.options_of("train", run)["samples_per_epoch"]
        expected = {"images_per_second": images / 60, "loss": 1.0, "dice": 0.875, "memory_gb": 3.46}
        assert stages.figures_of("train", run) == expected
        printed = "NCCL version 2.27.5+cuda12.9\n"
        assert stages.figures_of(stages.MULTI_GPU, run, printed) == {**expected, "nccl": "2.27.5+cuda12.9"}

    def test_the_lines_of_a_training_are_those_that_are_looked_for(self, tmp_path):
        with contained():
            logs.start(tmp_path, "train_diffusion")
            engine = Engine(lambda engine, batch: {"loss": torch.tensor(batch)})
            ProgressReport(tmp_path, "train_diffusion").attach(engine)
            ProgressReport._validated[tmp_path / "tensorboard" / "train_diffusion"] = {"dice": 0.25}
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: time.sleep(0.002))
            engine.run([0.5], max_epochs=4)
            logs.stop(tmp_path)
        figures = stages.figures_of("train_diffusion", given(tmp_path)._replace(output_dir=tmp_path))
        assert figures["loss"] == 0.5
        assert figures["images_per_second"] > 0
        assert figures["memory_gb"] is None

    def test_an_epoch_of_distillation_has_as_many_labelled_images_as_synthetic_ones(self, tmp_path):
        run = given(tmp_path)
        (run.output_dir / "transfer").mkdir(parents=True)
        listing = {"training": [{"image": f"images/{number}.png"} for number in range(5)]}
        (run.output_dir / "transfer" / "datalist.json").write_text(json.dumps(listing), encoding="utf-8")
        assert stages._images_in_epoch("distill", run) == 10

    def test_a_log_without_epochs_gives_no_figures(self, tmp_path):
        log = tmp_path / "run" / "logs" / "train.log"
        log.parent.mkdir(parents=True)
        log.write_text("", encoding="utf-8")
        with pytest.raises(ValueError, match="the log has lines of 0 epochs"):
            stages.figures_of("train", given(tmp_path))

    def test_an_evaluation_tells_speed_and_dice_on_the_test_images(self, tmp_path):
        run = given(tmp_path)
        for folder in ("logs", "evaluation/teacher"):
            (run.output_dir / folder).mkdir(parents=True)
        (run.output_dir / "logs" / "evaluate_teacher.log").touch()
        about = {"milliseconds_per_image": 4.0, "cases": 2}
        write_summary(
            run.output_dir / "evaluation/teacher/summary.json", about, ["lesion"], {"dice": np.array([[0.8], [0.9]])}
        )
        figures = stages.figures_of("evaluate_teacher", run)
        assert figures == {"images_per_second": 250.0, "dice": pytest.approx(0.85), "cases": 2, "memory_gb": None}


class TestNetworks:
    def test_a_convolution_and_a_linear_layer_have_the_flops_of_their_products(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 2, 1))
        expected = 2 * 8 * 8 * (3 * 4 * 9 + 4 * 2)
        assert networks.count_flops(network, 8, training=False) == expected
        assert next(network.parameters()).device == CPU

    def test_training_counts_no_gradients_of_frozen_weights(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
        first, last = 2 * 8 * 8 * 3 * 4, 2 * 8 * 8 * 4 * 2
        assert networks.count_flops(network, 8, training=True) == 2 * first + 3 * last  # no gradient of the image
        network[0].requires_grad_(False)
        assert networks.count_flops(network, 8, training=True) == first + 2 * last

    def test_attention_is_counted(self):
        class Attention(nn.Module):
            def forward(self, image):
                tokens = image.flatten(2).transpose(1, 2)[:, None]
                return F.scaled_dot_product_attention(tokens, tokens, tokens)

        assert networks.count_flops(Attention(), 8, training=False) == 2 * 2 * 64 * 64 * 3

    def test_inference_and_training_run_in_bf16_and_lora_alone_trains_of_a_teacher(self, monkeypatch):
        seen = []
        subject = networks.sam_vit_b(True, "")
        subject.network.encoder.neck.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
        frozen = {name: value.clone() for name, value in subject.network.encoder.state_dict().items()}
        figures = networks.measure(subject, CPU, 0)
        assert torch.bfloat16 in seen
        for name, value in subject.network.encoder.state_dict().items():
            if ".lora_" not in name:
                assert torch.equal(value, frozen[name.replace(".base_layer.", ".")])
        for kind in ("inference", "training"):
            found = figures[kind]
            assert found["images_per_second"] > 0
            assert found["tflops"] == pytest.approx(found["gflop_per_image"] * found["images_per_second"] / 1000)
        assert figures["training"]["gflop_per_image"] > figures["inference"]["gflop_per_image"]

    def test_share_of_the_peak_is_of_what_the_maker_states(self, monkeypatch):
        monkeypatch.setattr(networks, "device_name", lambda device: "NVIDIA H200")
        monkeypatch.setattr(networks, "seconds_of", lambda *given: 0.5)
        figures = networks.figures_of(lambda: torch.ones(1), 1e12, 8, CPU, 0)
        assert figures["images_per_second"] == 16
        assert figures["share_of_peak"] == pytest.approx(16 / 989)

    def test_what_is_no_number_in_bf16_is_a_failure(self):
        with pytest.raises(RuntimeError, match="no number"):
            networks.figures_of(lambda: torch.tensor(torch.nan), 1e9, 1, CPU, 0)

    @pytest.mark.parametrize(
        ("name", "peak"),
        [
            ("NVIDIA H200", 989.0),
            ("NVIDIA H100 80GB HBM3", 989.0),
            ("NVIDIA H100 PCIe", 756.0),
            ("NVIDIA A100-SXM4-40GB", 312.0),
            ("NVIDIA L40S", 362.0),
            ("NVIDIA L4", 121.0),
            ("NVIDIA A10", 125.0),
            ("NVIDIA GeForce RTX 4090", 165.2),
            ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
            ("Tesla T4", None),
        ],
    )
    def test_peaks_go_by_names_as_pytorch_gives_them(self, name, peak):
        assert stated_peak(name) == peak


class TestCommand:
    def test_wheels_are_installed_first_for_the_parts_alone_and_figures_are_written(self, tmp_path):
        """By the script, as on a machine that has nothing but Python and PyTorch."""
        (tmp_path / "wheels").mkdir()
        with zipfile.ZipFile(tmp_path / "wheels" / "brought-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("brought.py", "")
            wheel.writestr("brought-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
            wheel.writestr(
                "brought-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr("brought-1.0.dist-info/RECORD", "")
        places = {"--wheels": "wheels", "--work": "work", "--output": "figures/gpu.json"}
        options = [word for option, name in places.items() for word in (option, str(tmp_path / name))]
        done = subprocess.run(
            ["bash", str(SCRIPT), "--device", "cpu", "--quick", "--parts", "machine", *options],
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "work" / "site" / "brought.py").is_file()
        content = json.loads((tmp_path / "figures" / "gpu.json").read_text(encoding="utf-8"))
        assert list(content["parts"]) == ["wheels", "machine"]
        assert content["parts"]["machine"]["figures"]["matmul_tflops"] > 0
        assert content["settings"]["teacher"] == "embedded"

    def test_a_part_that_failed_is_told_by_the_exit_code(self, tmp_path, monkeypatch):
        failing = python("import sys; sys.exit(3)", name="student")
        monkeypatch.setattr(gpu_check, "_parts", lambda arguments, work: [failing])
        monkeypatch.setattr(
            sys, "argv", ["gpu_check.py", "--output", str(tmp_path / "gpu.json"), "--work", str(tmp_path / "work")]
        )
        with pytest.raises(SystemExit) as end:
            gpu_check.main()
        assert end.value.code == 1

    def test_parts_are_all_stages_and_what_they_need(self, tmp_path):
        arguments = gpu_check._parser().parse_args([])
        names = [part.name for part in gpu_check._parts(arguments, tmp_path)]
        assert names == ["machine", *gpu_check.NETWORKS, "phantoms", stages.MULTI_GPU, *stages.STAGES]

    def test_stages_run_in_the_order_of_the_pipeline_and_data_that_is_given_is_taken(self, tmp_path):
        words = ["--parts", "evaluate", "student", "train", "--data", str(tmp_path)]
        parts = list(gpu_check._parts(gpu_check._parser().parse_args(words), tmp_path / "work"))
        assert [part.name for part in parts] == ["student", "train", "evaluate"]
        assert parts[1].command[parts[1].command.index("--dataset_dir") + 1] == str(tmp_path)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--data", "nowhere"], "--data nowhere does not exist"),
            (["--lite_medsam", "no.pth"], "--lite_medsam no.pth does not exist"),
            (["--wheels", "empty"], "--wheels empty has no .whl files"),
            (["--work", "full"], "--work full is not empty"),
            (["--minutes", "0"], "--minutes must be above 0"),
        ],
    )
    def test_what_would_fail_later_is_refused_in_one_line(self, options, expected, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").touch()
        monkeypatch.setattr(sys, "argv", ["gpu_check.py", *options])
        with pytest.raises(SystemExit, match=expected):
            gpu_check.main()
