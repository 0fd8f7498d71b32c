"""Each section of the benchmark measures what its name says."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import benchmark
import numpy as np
import pytest
import torch
from costs import memory, networks, process_memory, training, turns
from transformers import SamConfig, SamVisionConfig

CPU = torch.device("cpu")


def small_sam() -> SamConfig:
    vision = SamVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, global_attn_indexes=[1], mlp_dim=64
    )
    return SamConfig(vision_config=vision)


class TestTurns:
    def test_variants_take_turns_after_a_round_of_warm_up(self):
        calls = []
        variants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
        seconds = turns.side_by_side(variants, 2, CPU)
        assert calls == ["a", "b"] * 3
        assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}

    def test_a_ratio_is_taken_round_by_round(self):
        # The machine was ten times slower in the second round.
        assert turns.ratio([2, 20, 9], [1, 10, 3]) == {"median": 2, "min": 2, "max": 3}


class TestReport:
    def run(self, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
        benchmark.main()

    def test_figures_are_printed_and_written(self, monkeypatch, capsys, tmp_path):
        figures = {"median_seconds": {"slow": 2.0}, "slow_to_fast": {"median": 2.0, "min": 1.5, "max": 2.5}}
        monkeypatch.setitem(benchmark.SECTIONS, "sampling", lambda device, rounds: figures)
        output = tmp_path / "new" / "figures.json"
        self.run(monkeypatch, "--sections", "sampling", "--rounds", "3", "--output", str(output))
        report = json.loads(output.read_text())
        assert report["sampling"] == figures
        assert report["rounds"] == 3
        assert "slow_to_fast: 2.00 (1.50 to 2.50)" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [("--rounds", "0"), ("--sections", "speed")])
    def test_arguments_out_of_range_are_refused(self, monkeypatch, capsys, arguments):
        with pytest.raises(SystemExit):
            self.run(monkeypatch, *arguments)
        assert arguments[0] in capsys.readouterr().err


class TestSections:
    """Each section at a tiny size, where what is measured must still be what its name says."""

    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch):
        for module in (training, memory):
            monkeypatch.setattr(module, "IMAGE_SIZE", 32)
        for module in (networks, memory):
            monkeypatch.setattr(module, "SamConfig", small_sam)
        monkeypatch.setitem(training.TEACHER, "pretrained", small_sam())
        monkeypatch.setattr(training, "TRANSFER_IMAGES", 4)
        monkeypatch.setattr(training, "OVERHEAD_IMAGES", 8)

    def test_the_teacher_runs_in_live_epochs_and_once_for_the_outputs_on_disk(self, monkeypatch):
        seen = []
        forward = networks.SamTeacher.forward

        def noting_forward(network, images):
            seen.append(len(images))
            return forward(network, images)

        monkeypatch.setattr(networks.SamTeacher, "forward", noting_forward)
        figures = training.distillation_epochs(CPU, 2)
        rounds, epochs = 2, 2
        on_disk = figures["images_in_an_epoch"]  # so few that none is there twice
        live = rounds * epochs * figures["images_in_an_epoch"]
        widths = 2 * rounds  # a blank image whenever the loss is built
        assert sum(seen) == on_disk + live + widths

    def test_the_bare_loop_takes_the_same_steps_as_the_trainer(self, monkeypatch):
        steps = []
        original = torch.optim.AdamW.step
        monkeypatch.setattr(
            torch.optim.AdamW, "step", lambda *args, **kwargs: (steps.append(1), original(*args, **kwargs))[1]
        )
        training.trainer_overhead(CPU, 1)
        assert len(steps) == 2 * 2 * 8 // training.BATCH_SIZE  # two variants, two epochs

    def test_inference_is_timed_at_the_same_input(self, monkeypatch):
        inputs = {"teacher": [], "student": []}
        student = partial(networks.ViTSegmenter, hidden_size=24, depth=1, num_heads=2, conv_channels=(4, 8))
        monkeypatch.setattr(networks, "ViTSegmenter", student)
        monkeypatch.setattr(networks, "IMAGE_SIZES", (32, 64))
        original = networks.side_by_side

        def noting(variants, rounds, device):
            for name, run in variants.items():
                if name in inputs:
                    inputs[name].append(tuple(run.args[0].shape))
            return original(variants, rounds, device)

        monkeypatch.setattr(networks, "side_by_side", noting)
        report = networks.inference(CPU, 1)
        assert inputs["teacher"] == inputs["student"] == [(1, 3, 32, 32), (1, 3, 64, 64)]
        assert set(report) == {"32x32", "64x64"}
        for figures in report.values():
            assert figures["teacher to student"]["median"] > 0
            assert figures["teacher to student, ONNX Runtime"]["median"] > 0

    def test_the_samplers_take_the_steps_that_they_are_named_for(self, monkeypatch):
        steps = []
        monkeypatch.setattr(networks, "sample", lambda *args, num_inference_steps: steps.append(num_inference_steps))
        networks.sampling(CPU, 1)
        assert steps == [1000, 20] * 2

    def test_lora_trains_fewer_parameters_than_full_fine_tuning(self, monkeypatch):
        trained = []
        original = torch.optim.AdamW

        def noting(parameters):
            parameters = list(parameters)
            trained.append(sum(parameter.numel() for parameter in parameters))
            return original(parameters)

        monkeypatch.setattr(torch.optim, "AdamW", noting)
        for tuning in ("lora", "full"):
            assert memory.peak_memory_of(tuning, CPU) > 0
        everything = sum(p.numel() for p in networks.SamTeacher(small_sam(), 2).parameters())
        assert trained[0] < trained[1]
        assert trained[1] >= 0.95 * everything  # all but the fixed position embedding

    def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it(self):
        large = np.ones(2**27)  # 1 GiB
        assert process_memory.peak_resident() > 2**10
        script = "from costs.process_memory import peak_resident; print(peak_resident())"
        answer = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(benchmark.__file__).parent,  # with the package costs
            check=True,
            capture_output=True,
            text=True,
        )
        assert 0 < float(answer.stdout.split()[-1]) < large.nbytes / 2**20
