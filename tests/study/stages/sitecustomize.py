"""Takes the place of the stages in processes that have this folder in PYTHONPATH: no training, but all else is real.

Python imports this module when it starts. A stage then does what the environment says instead, in the process that runs
the pipeline: steps after each of which it saves where it is, as a real one does after each epoch, and which it notes in
a journal.
"""

import ast
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType


def run_stage(arguments, distributed=False):
    """Act as a stage: go on from the last step, leave what the stage is to leave, and return an exit code."""
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    stage = values.get("--stage") or Path(ast.literal_eval(values["--config_file"])[0]).stem
    folder = Path(values["--output_dir"])
    job = "/".join(folder.parts[-2:])
    plan = json.loads(os.environ["STUB_STAGES"])
    if f"{job}:{stage}" in plan.get("failing", []):
        Path(os.environ["COMMON_FAILURE_FILE"]).write_text("the stage was told to fail", encoding="utf-8")
        return 1
    saved = folder / "checkpoints" / f"{stage}.pt"
    saved.parent.mkdir(parents=True, exist_ok=True)
    done = int(saved.read_text()) if saved.exists() else 0
    for step in range(done, plan.get("steps", 1)):
        made = {"job": job, "stage": stage, "step": step, "pid": os.getpid(), "arguments": values}
        made["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        with Path(plan["journal"]).open("a") as journal:
            journal.write(json.dumps(made) + "\n")
        while step == plan.get("hold") and not Path(plan["gate"]).exists():
            time.sleep(0.02)
        saved.write_text(str(step + 1))
    artefact = folder / plan["artefacts"][stage]
    artefact.parent.mkdir(parents=True, exist_ok=True)
    metrics = {name: {"mean": {"mean": 0.5}} for name in ("dice", "iou", "hd95")}
    artefact.write_text(json.dumps({"metrics": metrics, "parameters": 1, "milliseconds_per_image": 1}))
    (folder / "teacher_outputs").mkdir(exist_ok=True)
    return 0


if os.environ.get("STUB_STAGES"):
    stub = ModuleType("common.pipeline.stage_process")
    stub.run_stage = run_stage
    sys.modules["common.pipeline.stage_process"] = stub
