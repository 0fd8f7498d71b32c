"""Stages that compute in bfloat16 where there is no GPU, if they are told to."""

from __future__ import annotations

import pytest
import torch
from integration import contained, load_stage, write_teacher, write_transfer


@pytest.mark.parametrize("told", [True, False])
def test_students_learn_in_it_and_their_teacher_teaches_in_it(told, tiny_phantoms, tmp_path):
    write_teacher(tmp_path)
    write_transfer(tmp_path)
    values = {"dataset_dir": tiny_phantoms("drive"), "output_dir": tmp_path, "bfloat16_on_cpu": told}
    expected = torch.bfloat16 if told else torch.float32
    for stage in ("distill", "train"):
        workflow = load_stage(stage, **values)
        seen: set[tuple[bool, torch.dtype]] = set()
        with contained():
            workflow.initialize()
            workflow.parser.get_parsed_content("student_def").head.register_forward_hook(
                lambda module, inputs, output, seen=seen: seen.add((module.training, output.dtype))
            )
            workflow.run()
            workflow.finalize()
        assert seen == {(True, expected), (False, torch.float32)}, "validation is as evaluation will be"
        if stage == "distill":
            teacher = workflow.parser.get_parsed_content("frozen_teacher")
            assert teacher.precision == ("torch.bfloat16" if told else "float32")
