"""Give bad and odd inputs to every reader and every command: python ci/fuzz.py --inputs 500 --seed 0

An input must come to one of two ends: a result that an independent reading confirms, or one clear line that names the
file or key, with a non-zero code. The last lines are a table by target; the exit code is 1 if anything else came of
one. Each input has a name, by which --only runs it again; the folders of those with faults stay in --work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: what forks must have no threads, see forks.py

import forks
from fuzzing.outcomes import table
from fuzzing.registry import TARGETS, run_named
from fuzzing.sources import make_sources
from fuzzing.stages import make_run
from fuzzing.targets import LIMIT

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    """Run the inputs and print what came of them."""
    arguments = _parser().parse_args()
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="fuzz-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    sources = work / "sources"
    if not sources.is_dir():
        data = arguments.data or (_DATA if _DATA.is_dir() else None)
        status = forks.wait(forks.start(lambda: _make_sources(sources, data), work / "sources.log"), 10 * LIMIT)
        if status != 0:
            sys.exit(f"error: what the inputs are made from cannot be made: see {work / 'sources.log'}")
    names = arguments.only or list(name_inputs(arguments.inputs, arguments.seed, arguments.targets))
    for name in names:
        shutil.rmtree(work / name.replace("/", "-"), ignore_errors=True)
    outcomes = []
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("fork")) as pool:
        futures = [pool.submit(run_named, name, sources, work) for name in names]
        for future in as_completed(futures):
            outcome = future.result()
            outcomes.append(outcome)
            if outcome.is_fault or arguments.verbose:
                print(f"{outcome.name}: {outcome.kind}: {outcome.detail[:300]} ({outcome.seconds:.1f} s)", flush=True)
    print(f"\nseed {arguments.seed}, {len(outcomes)} inputs; what had faults is in {work}")
    print(table(sorted(outcomes, key=lambda each: list(TARGETS).index(each.target))))
    if any(each.is_fault for each in outcomes):
        sys.exit(1)
    if arguments.work is None:
        shutil.rmtree(work)


def _make_sources(folder: Path, data: Path | None) -> None:
    make_sources(folder, data)
    make_run(folder / "run", folder / "drive")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=500, help="how many, shared among the targets")
    parser.add_argument("--seed", type=int, default=0, help="draws them")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="TARGET")
    parser.add_argument("--only", nargs="+", metavar="TARGET/SEED/NUMBER", help="these inputs alone")
    parser.add_argument("--data", type=Path, help="folder of real images; by default ../shared/data where there is one")
    parser.add_argument(
        "--work", type=Path, help="folder of the inputs; by default a new one, kept if there are faults"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="inputs at a time")
    parser.add_argument("--verbose", action="store_true", help="print what came of each input")
    return parser


def name_inputs(count: int, seed: int, targets: list[str]) -> Iterator[str]:
    """Yield the names of so many inputs, which the targets take turns for by their shares."""
    given = dict.fromkeys(targets, 0)
    for _ in range(count):
        target = min(targets, key=lambda name: (given[name] + 0.5) / TARGETS[name].share)
        yield f"{target}/{seed}/{given[target]}"
        given[target] += 1


if __name__ == "__main__":
    main()
