"""Compare what `create` makes of plain folders with the bundles made by hand.

    python ci/compare_created.py --work runs/created

The phantoms of each dataset are copied into images/ and labels/ as a lab would have them, `create` makes a bundle of
these folders, and both bundles train a student on the same images, equally long, from scratch, once for each seed.
Each is evaluated by its own evaluate.yaml on the same test images.

The last lines are a table: Dice by seed, and the difference with its 95 % interval over the seeds. What is there is not
done again, so that a run that was cut off goes on, and more seeds can be added. The exit code is 1 if a difference is
beyond chance.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from created.plain_folders import PLANS, SETTINGS, options_of, write_official, write_plain
from created.statistics import difference, mean_dice

from common.pipeline.configs import stage_config

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
METRICS = Path("evaluation", "student", "metrics.csv")
KINDS = ("hand-made", "created")
_SIZES = ("crop_size", "image_size")


def main() -> None:
    """Prepare, train and evaluate what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, bundles and runs")
    parser.add_argument("--datasets", nargs="+", choices=PLANS, default=list(PLANS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples_per_epoch", type=int, default=128)
    parser.add_argument("--size", type=int, default=64, help="pixels a side that networks see")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and train nothing")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if not arguments.table:
        prepared = {name: prepare(name, work / name) for name in arguments.datasets}
        for seed in arguments.seeds:
            for name, (bundles, data) in prepared.items():
                for kind in KINDS:
                    train(bundles[kind], data[kind], work / name / f"{kind}_seed{seed}", seed, arguments)
    rows = [row for name in arguments.datasets if (row := row_of(name, work / name, arguments.seeds))]
    print("| phantoms of | test cases | hand-made, by seed | created, by seed | created minus hand-made (95 %) | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row, _ in rows:
        print(row)
    if any(beyond for _, beyond in rows):
        sys.exit(1)


def prepare(name: str, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Write data and the bundle that is created unless they are there; return bundles and data by kind."""
    plan, bundle = PLANS[name], BUNDLES / f"{name}_segmentation"
    dataset = write_official(bundle, plan, folder / "official")
    write_plain(dataset, folder / "plain")
    created = folder / f"plain_{name}_segmentation"
    if not created.exists():
        options = options_of(dataset, plan, folder / "plain")
        arguments = [text for key, value in options.items() for text in (f"--{key}", value)]
        run_command(["create", f"plain_{name}", *arguments, "--output_dir", str(folder)])
    return dict(zip(KINDS, (bundle, created), strict=True)), {
        "hand-made": folder / "official",
        "created": folder / "plain",
    }


def train(bundle: Path, data: Path, output_dir: Path, seed: int, arguments: argparse.Namespace) -> None:
    """Train and evaluate one student unless that is done."""
    if (output_dir / METRICS).is_file():
        return
    config = stage_config(str(bundle), "train")
    values: dict[str, Any] = {key: arguments.size for key in _SIZES if key in config}
    values |= {"epochs": arguments.epochs, "val_interval": arguments.epochs, "initial_weights": "null", "seed": seed}
    values |= {"samples_per_epoch": arguments.samples_per_epoch, "batch_size": 8, "learning_rate": 0.001, **SETTINGS}
    overrides = [text for key, value in values.items() for text in (f"--{key}", str(value))]
    places = ["--dataset_dir", str(data), "--output_dir", str(output_dir)]
    run_command(["pipeline", str(bundle), *places, "--stages", "train,evaluate", "--overlay", "demo", *overrides])


def run_command(arguments: list[str]) -> None:
    """Run one of the project's commands, and end with its message if it fails."""
    print("task-distill", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "common", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def row_of(name: str, folder: Path, seeds: list[int]) -> tuple[str, bool] | None:
    """Return a line of the table, and whether the difference is beyond chance; None where no seed is finished."""
    pairs = [[folder / f"{kind}_seed{seed}" / METRICS for kind in KINDS] for seed in seeds]
    pairs = [pair for pair in pairs if all(path.is_file() for path in pair)]
    if not pairs:
        return None
    found = dict(zip(KINDS, zip(*pairs, strict=True), strict=True))
    scores = {kind: [mean_dice(path) for path in paths] for kind, paths in found.items()}
    cases = len({line.split(",")[0] for line in found["created"][0].read_text(encoding="utf-8").splitlines()[1:]})
    result = difference(scores["created"], scores["hand-made"])
    shown = {kind: ", ".join(f"{value:.3f}" for value in values) for kind, values in scores.items()}
    verdict = {True: "within chance", False: "beyond chance", None: "one seed: not known"}[result.within_chance]
    bounds = "" if result.within_chance is None else f" ({result.low:+.3f} to {result.high:+.3f})"
    interval = f"{result.mean:+.3f}{bounds}"
    line = f"| {name} | {cases} | {shown['hand-made']} | {shown['created']} | {interval} | {verdict} |"
    return line, result.within_chance is False


if __name__ == "__main__":
    main()
