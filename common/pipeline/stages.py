"""The stages of a bundle, and what each leaves behind."""

from __future__ import annotations

from pathlib import Path

# What each stage leaves behind when it is done, in <output_dir>.
STAGES = {
    "finetune_teacher": "teacher/teacher.json",
    "train_diffusion": "diffusion/model_index.json",
    "synthesize": "transfer/datalist.json",
    "distill": "distilled.pt",
    "train": "model.pt",
    "evaluate_teacher": "evaluation/teacher/summary.json",
    "evaluate": "evaluation/student/summary.json",
}


# What prepares the student, each a config that is laid on stage distill, and the stages that it can do without.
_WITHOUT_TEACHER = ("finetune_teacher", "evaluate_teacher")


METHODS = {
    "task_specific_kd": (),
    "task_agnostic_kd": _WITHOUT_TEACHER,
    "mae": _WITHOUT_TEACHER,
    "mocov3": _WITHOUT_TEACHER,
    "scratch": (*_WITHOUT_TEACHER, "train_diffusion", "synthesize"),
}


_METHOD_CONFIGS = Path(__file__).parents[1] / "distillation" / "methods"


_METHOD_RECORD = "method.json"  # in <output_dir>: whose student it has


_STUDENT = ("distill", "train", "evaluate")  # the stages whose network_def is the student


_TRAINING = ("finetune_teacher", "train_diffusion", "distill", "train")
