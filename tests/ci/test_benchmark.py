import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SamConfig, SamVisionConfig

SCRIPT = Path(__file__).parents[2] / "ci/benchmark.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def small_sam() -> SamConfig:
    vision = SamVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, global_attn_indexes=[1], mlp_dim=64
    )
    return SamConfig(vision_config=vision)


class TestTurns:
    def test_variants_take_turns_after_a_round_of_warm_up(self, benchmark):
        calls = []
        variants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
        seconds = benchmark.side_by_side(variants, 2, CPU)
        assert calls == ["a", "b"] * 3
        assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}

    def test_a_ratio_is_taken_round_by_round(self, benchmark):
        # The machine was ten times slower in the second round.
        assert benchmark.ratio([2, 20, 9], [1, 10, 3]) == {"median": 2, "min": 2, "max": 3}


class TestReport:
    def run(self, benchmark, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
        benchmark.main()

    def test_figures_are_printed_and_written(self, benchmark, monkeypatch, capsys, tmp_path):
        figures = {"median_seconds": {"slow": 2.0}, "slow_to_fast": {"median": 2.0, "min": 1.5, "max": 2.5}}
        monkeypatch.setitem(benchmark.SECTIONS, "sampling", lambda device, rounds: figures)
        output = tmp_path / "new" / "figures.json"
        self.run(benchmark, monkeypatch, "--sections", "sampling", "--rounds", "3", "--output", str(output))
        report = json.loads(output.read_text())
        assert report["sampling"] == figures
        assert report["rounds"] == 3
        assert "slow_to_fast: 2.00 (1.50 to 2.50)" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [("--rounds", "0"), ("--sections", "speed")])
    def test_arguments_out_of_range_are_refused(self, benchmark, monkeypatch, capsys, arguments):
        with pytest.raises(SystemExit):
            self.run(benchmark, monkeypatch, *arguments)
        assert arguments[0] in capsys.readouterr().err


class TestSections:
    """Each section at a tiny size, where what is measured must still be what its name says."""

    @pytest.fixture(autouse=True)
    def tiny(self, benchmark, monkeypatch):
        monkeypatch.setattr(benchmark, "PATCH_SIZE", 32)
        monkeypatch.setattr(benchmark, "SamConfig", small_sam)
        monkeypatch.setitem(benchmark.TEACHER, "pretrained", small_sam())
        monkeypatch.setattr(benchmark, "TRANSFER_IMAGES", 4)
        monkeypatch.setattr(benchmark, "OVERHEAD_IMAGES", 8)

    def test_only_the_live_epochs_and_the_making_of_the_cache_ask_the_teacher(self, benchmark, monkeypatch):
        asked = []
        forward = benchmark.SamTeacher.forward

        def noting_forward(network, images):
            asked.append(len(images))
            return forward(network, images)

        monkeypatch.setattr(benchmark.SamTeacher, "forward", noting_forward)
        figures = benchmark.distillation_epochs(CPU, 2)
        rounds, epochs = 2, 2
        cache = figures["images_in_an_epoch"]  # so few that none is there twice
        live = rounds * epochs * figures["images_in_an_epoch"]
        widths = 2 * rounds  # a blank image whenever the loss is built
        assert sum(asked) == cache + live + widths

    def test_the_bare_loop_takes_the_same_steps_as_the_trainer(self, benchmark, monkeypatch):
        steps = []
        original = torch.optim.AdamW.step
        monkeypatch.setattr(
            torch.optim.AdamW, "step", lambda *args, **kwargs: (steps.append(1), original(*args, **kwargs))[1]
        )
        benchmark.trainer_overhead(CPU, 1)
        assert len(steps) == 2 * 2 * 8 // benchmark.BATCH_SIZE  # two variants, two epochs

    def test_inference_is_timed_at_the_same_input(self, benchmark, monkeypatch):
        inputs = {"teacher": [], "student": []}
        student = partial(benchmark.ViTSegmenter, hidden_size=24, depth=1, num_heads=2, conv_channels=(4, 8))
        monkeypatch.setattr(benchmark, "ViTSegmenter", student)
        monkeypatch.setattr(benchmark, "IMAGE_SIZES", (32, 64))
        original = benchmark.side_by_side

        def noting(variants, rounds, device):
            for name, run in variants.items():
                if name in inputs:
                    inputs[name].append(tuple(run.args[0].shape))
            return original(variants, rounds, device)

        monkeypatch.setattr(benchmark, "side_by_side", noting)
        report = benchmark.inference(CPU, 1)
        assert inputs["teacher"] == inputs["student"] == [(1, 3, 32, 32), (1, 3, 64, 64)]
        assert set(report) == {"32x32", "64x64"}
        for figures in report.values():
            assert figures["teacher to student"]["median"] > 0
            assert figures["teacher to student, ONNX Runtime"]["median"] > 0

    def test_the_samplers_take_the_steps_that_they_are_named_for(self, benchmark, monkeypatch):
        steps = []
        monkeypatch.setattr(benchmark, "sample", lambda *args, num_inference_steps: steps.append(num_inference_steps))
        benchmark.sampling(CPU, 1)
        assert steps == [1000, 25] * 2

    def test_lora_trains_fewer_parameters_than_full_fine_tuning(self, benchmark, monkeypatch):
        trained = []
        original = torch.optim.AdamW

        def noting(parameters):
            parameters = list(parameters)
            trained.append(sum(parameter.numel() for parameter in parameters))
            return original(parameters)

        monkeypatch.setattr(torch.optim, "AdamW", noting)
        for tuning in ("lora", "full"):
            assert benchmark.peak_memory_of(tuning, CPU) > 0
        everything = sum(p.numel() for p in benchmark.SamTeacher(small_sam(), 2).parameters())
        assert trained[0] < trained[1]
        assert trained[1] >= 0.95 * everything  # all but the fixed position embedding

    def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it(self, benchmark):
        large = np.ones(2**27)  # 1 GiB
        assert benchmark.peak_resident() > 2**10
        script = f"import runpy; print(runpy.run_path({str(SCRIPT)!r})['peak_resident']())"
        answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert 0 < float(answer.stdout.split()[-1]) < large.nbytes / 2**20
