"""A whole study on phantoms with tiny settings: every method, no stubs."""

from __future__ import annotations

import json
from pathlib import Path

from integration import BUNDLE, TINY, TINY_STUDENT, run_in_process

from common.distillation.methods import METHODS
from common.pipeline import stage_process
from common.study.run import run_study


def test_every_method_is_trained_and_evaluated_with_what_it_shares(tiny_phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_process, "run_stage", run_in_process)
    tiny = {key: value for key, value in TINY.items() if key not in ("num_images", "lora_rank")}
    run_study(
        str(BUNDLE),
        str(tmp_path / "study"),
        str(tiny_phantoms("drive")),
        labels=2,
        transfer_sizes=2,
        num_images=4,
        lora_ranks=2,
        methods=list(METHODS),
        overlay="demo",
        student_def=TINY_STUDENT,
        **tiny,
    )
    runs = {read(path)["method"]: path.parent for path in (tmp_path / "study" / "runs").glob("*/run.json")}
    assert runs.keys() == METHODS.keys()
    for method, folder in runs.items():
        summary = read(folder / "evaluation" / "student" / "summary.json")
        assert summary["cases"] == 3
        assert (summary["parameters"] > 1_600_000) == (method in ("unet", "unet_kd"))
        if METHODS[method].config:
            assert read(folder / "distilled.provenance.json")["provenance"]["method"] == method
    assert read(tmp_path / "study/shared/teacher_2labels_rank2_seed0/evaluation/teacher/summary.json")["cases"] == 3
    drawn = tmp_path / "study/shared/diffusion_2labels_seed0/transfer"
    assert len(read(drawn / "datalist.json")["training"]) == 4
    assert read(drawn / "report.json")["confidence"] is None, "drawn without a teacher"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
