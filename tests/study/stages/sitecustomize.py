"""Takes the place of the stages in processes that have this folder in PYTHONPATH: no training, but all else is real.

Python imports this module when it starts. A process that is to run a stage does what the environment says instead, in
steps after each of which it saves where it is, as a real one does after each epoch, and notes each step in a journal.
"""

import ast
import json
import os
import sys
import time
from pathlib import Path


def run_stage(arguments):
    """Act as a stage of the pipeline: go on from the last step, and leave what the stage is to leave."""
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    stage = values.get("--stage") or Path(ast.literal_eval(values["--config_file"])[0]).stem
    folder = Path(values["--output_dir"])
    part = "/".join(folder.parts[-2:])
    plan = json.loads(os.environ["STUB_STAGES"])
    if f"{part}:{stage}" in plan.get("failing", []):
        sys.exit("error: the stage was told to fail")
    saved = folder / "checkpoints" / f"{stage}.pt"
    saved.parent.mkdir(parents=True, exist_ok=True)
    done = int(saved.read_text()) if saved.exists() else 0
    for step in range(done, plan.get("steps", 1)):
        with Path(plan["journal"]).open("a") as journal:
            journal.write(
                json.dumps({"part": part, "stage": stage, "step": step, "pid": os.getpid(), "arguments": values}) + "\n"
            )
        while step == plan.get("hold") and not Path(plan["gate"]).exists():
            time.sleep(0.02)
        saved.write_text(str(step + 1))
    artefact = folder / plan["artefacts"][stage]
    artefact.parent.mkdir(parents=True, exist_ok=True)
    metrics = {name: {"mean": {"mean": 0.5}} for name in ("dice", "iou", "hd95")}
    artefact.write_text(json.dumps({"metrics": metrics, "parameters": 1, "milliseconds_per_image": 1}))
    (folder / "teacher_cache").mkdir(exist_ok=True)


if sys.orig_argv[3:6] == ["-m", "monai.bundle", "run"]:
    run_stage(sys.orig_argv[6:])
    sys.stdout.flush()
    os._exit(0)
