"""Kill each stage of a bundle's demo at random moments and start it again: python ci/kill.py --work runs/kill

After the second start everything must be as if nobody had killed anything: the weights bit for bit, images, JSON and
tables (but for what a clock says), no half-written file, no process alive. Of ten kills of a stage seven hit its
process once, two also the run that is to finish the work, and one the pipeline's process, with which the stage must
end. Five more hit it just before it opens, renames or removes a file.

The last lines are a table by stage; the exit code is 1 if anything was different or left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: what forks must have no threads, see forks.py

import forks
from killing.comparison import compare_folders
from killing.runs import DEATH, Demo, Killed

from common.datasets import dataset_class
from common.pipeline.configs import stage_config
from common.pipeline.stages import STAGES

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "drive_segmentation"
# Seconds instead of minutes for each stage, in which nothing is left out; workers, so that some can outlive a stage.
QUICK = {
    "epochs": 3,
    "val_interval": 1,
    "sample_interval": 1,
    "samples_per_epoch": 32,
    "batch_size": 4,
    "num_images": 12,
    "num_inference_steps": 5,
    "num_workers": 1,
    "diffusion_channels": [8, 16, 16, 16],
    "lora_rank": 4,
}
QUICK_PHANTOMS = {"num_training": 6, "num_test": 4, "image_size": (120, 112)}


class Kill(NamedTuple):
    """One kill of a stage."""

    stage: str
    number: int
    kind: str  # "once", "twice", "pipeline", or "at an operation"

    @property
    def name(self) -> str:
        """What it is repeated by."""
        return f"{self.stage}/{'operation' if self.kind == 'at an operation' else ''}{self.number}"


class Reference(NamedTuple):
    """What a stage takes when nobody kills it."""

    seconds: float
    operations: int  # that change files in the output folder


class Outcome(NamedTuple):
    """When a stage was killed, and what was not as it should be afterwards."""

    moment: str
    different: list[str]
    left_behind: list[str]


def main() -> None:
    """Run the demo once, kill and repeat its stages, and print what came of it."""
    arguments = _parser().parse_args()
    work = arguments.work.resolve()
    demo = Demo(BUNDLE, work / "run", work / "output.log", QUICK if arguments.quick else {})
    references = run_uninterrupted(demo, work, QUICK_PHANTOMS if arguments.quick else {})
    outcomes: dict[str, list[Outcome]] = {stage: [] for stage in arguments.stages}
    for kill in plan(arguments.stages, arguments.kills, arguments.operations):
        if arguments.only and kill.name not in arguments.only:
            continue
        outcome = kill_and_repeat(demo, work, kill, arguments.seed, references[kill.stage])
        outcomes[kill.stage].append(outcome)
        faults = [*outcome.different, *(f"left behind: {each}" for each in outcome.left_behind)]
        print(f"{kill.name}, {kill.kind}, {outcome.moment}: {'; '.join(faults) or 'equal'}", flush=True)
    print(f"\n{'quick settings' if arguments.quick else 'the settings of the demo'}, seed {arguments.seed}")
    print(table(outcomes))
    if any(each.different or each.left_behind for group in outcomes.values() for each in group):
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs, which must be new")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--kills", type=int, default=10, help="of each stage")
    parser.add_argument("--operations", type=int, default=5, help="further kills of each, before file operations")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--only", nargs="+", metavar="STAGE/NUMBER", help="these kills alone")
    parser.add_argument("--quick", action="store_true", help="small phantoms and few steps instead of the demo's own")
    return parser


def plan(stages: Sequence[str], kills: int, operations: int) -> Iterator[Kill]:
    """Yield the kills: of each stage so many at moments of the clock, and then so many at file operations."""
    for stage in stages:
        for number in range(kills):
            yield Kill(stage, number, {7: "twice", 8: "twice", 9: "pipeline"}.get(number % 10, "once"))
        for number in range(operations):
            yield Kill(stage, number, "at an operation")


def run_uninterrupted(
    demo: Demo, work: Path, phantoms: dict[str, Any], stages: Sequence[str] = tuple(STAGES)
) -> dict[str, Reference]:
    """Run stages to their ends, keep the folder before and after each, and return what each took."""
    work.mkdir(parents=True)  # new, so that nothing of an earlier run is compared with
    dataset_class(stage_config(demo.bundle, "train")).write_phantoms(demo.output_dir / "phantoms", **phantoms)
    references = {}
    for stage in stages:
        shutil.copytree(demo.output_dir, work / "before" / stage)
        started = time.monotonic()
        status = demo.run(stage, work / "operations")
        references[stage] = Reference(time.monotonic() - started, (work / "operations").stat().st_size)
        if status != 0:
            sys.exit(f"error: {stage} ended with exit code {status} without being killed; see {demo.log}")
        print("{}: {:.1f} s and {} file operations without a kill".format(stage, *references[stage]), flush=True)
        shutil.copytree(demo.output_dir, work / "after" / stage)
    return references


def kill_and_repeat(demo: Demo, work: Path, kill: Kill, seed: int, reference: Reference) -> Outcome:
    """Put the folder back to before a stage, start the stage, kill it, start it again, and compare.

    Args:
        demo: what is run.
        work: has the folders that :func:`run_uninterrupted` kept.
        kill: what is done; with the seed it draws the moments.
        seed: see there.
        reference: what the stage takes when nobody kills it.
    """
    generator = random.Random(f"{seed} {kill.name}")
    first, moment = kill_once(demo, work, kill, generator, reference)
    leaders, moments = [first.leader], [moment]
    if kill.kind == "twice":
        after = generator.uniform(0, reference.seconds)
        second = demo.kill(kill.stage, after)
        leaders.append(second.leader)
        moments.append(f"after {after:.1f} s more" if second.killed else "not again: it had ended")
    status = demo.run(kill.stage)
    alive = [f"process {pid}" for leader in leaders for pid in forks.wait_for_session(leader, DEATH)]
    difference = compare_folders(demo.output_dir, work / "after" / kill.stage)
    failed = [f"the next start ended with exit code {status}"] if status != 0 else []
    return Outcome(", ".join(moments), failed + difference.different, difference.left_behind + alive)


def kill_once(demo: Demo, work: Path, kill: Kill, generator: random.Random, reference: Reference) -> tuple[Killed, str]:
    """Kill a stage that has not begun, at an earlier moment for each time that it had ended before.

    Returns:
        The run that was killed, and when.
    """
    seconds = reference.seconds
    order = random.Random(kill.stage).sample(range(reference.operations), reference.operations)  # none is there twice
    operation = order[kill.number % reference.operations]
    while True:
        shutil.rmtree(demo.output_dir)
        shutil.copytree(work / "before" / kill.stage, demo.output_dir)
        if kill.kind == "at an operation":
            run, moment = demo.kill_at_operation(kill.stage, operation), f"before file operation {operation}"
            operation = generator.randrange(operation) if operation else 0
        else:
            seconds = generator.uniform(0, seconds)
            start = demo.kill_pipeline if kill.kind == "pipeline" else demo.kill
            run, moment = start(kill.stage, seconds), f"after {seconds:.1f} s"
        if run.killed:
            return run, moment


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """Return the numbers of each stage, and of all."""
    rows = [("stage", "kills", "equal", "different", "left behind")]
    rows += [(stage, *_counts(group)) for stage, group in outcomes.items()]
    rows.append(("all", *_counts([each for group in outcomes.values() for each in group])))
    return "\n".join("{:18}{:>7}{:>7}{:>11}{:>13}".format(*row) for row in rows)


def _counts(group: list[Outcome]) -> tuple[int, int, int, int]:
    equal = sum(not (each.different or each.left_behind) for each in group)
    return len(group), equal, sum(bool(each.different) for each in group), sum(bool(each.left_behind) for each in group)


if __name__ == "__main__":
    main()
