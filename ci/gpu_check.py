"""What the method does and costs on one GPU, in at most nine minutes: bash ci/gpu_check.sh --output gpu.json

Every stage of PH2 in bf16 at 256 pixels with few steps, a training as on several GPUs (NCCL), and speed and memory of
SAM ViT-B (random weights), the teacher and the student. Each part is a process with a limit of its own; one that fails
is in the figures with its last line, the others run all the same, and the exit code is 1.

Without --data images are phantoms, and without --lite_medsam the teacher is the stand-in: their Dice says little. With
--device cpu --quick the same code runs in small, to test it where there is no GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gpu_parts.running import Part, Report, figures_in_last_line, run_parts
from gpu_parts.stages import MULTI_GPU, ROOT, STAGES, Run, command_of, figures_of

NETWORKS = ("sam_vit_b", "teacher", "student")
PARTS = ("machine", *NETWORKS, MULTI_GPU, *STAGES)


def main() -> None:
    """Run the parts, print a line for each, and write what came of them as JSON."""
    arguments = _parser().parse_args()
    _check(arguments)
    work = Path(tempfile.mkdtemp(prefix="gpu_check-")) if arguments.work is None else arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    settings = {
        "device": arguments.device,
        "quick": arguments.quick,
        "data": "phantoms" if arguments.data is None else "PH2",
        "teacher": Path(arguments.lite_medsam).name,
        "minutes": arguments.minutes,
    }
    report = Report(arguments.output, settings)
    run_parts(list(_parts(arguments, work)), report, work, _environment(work), 60 * arguments.minutes)
    print(f"written to {arguments.output}; what each part printed is in {work}")
    if arguments.work is None and not report.failed:
        shutil.rmtree(work)
    sys.exit(1 if report.failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="where the figures go")
    parser.add_argument("--data", type=Path, help="PH2 in its official layout; phantoms by default")
    parser.add_argument("--lite_medsam", default="embedded", metavar="FILE", help="LiteMedSAM's weights")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install these first, without a network")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="seconds for each part, to test the check itself")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything together")
    parser.add_argument("--work", type=Path, help="new or empty folder for what is run; a temporary one by default")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what would fail in minutes.

    Raises:
        SystemExit: with one line.
    """
    given = {"--data": (arguments.data, Path.is_dir), "--wheels": (arguments.wheels, Path.is_dir)}
    if arguments.lite_medsam != "embedded":
        given["--lite_medsam"] = (Path(arguments.lite_medsam), Path.is_file)
    for option, (path, is_there) in given.items():
        if path is not None and not is_there(path):
            sys.exit(f"error: {option} {path} does not exist")
    if arguments.wheels is not None and not list(arguments.wheels.glob("*.whl")):
        sys.exit(f"error: --wheels {arguments.wheels} has no .whl files")
    if arguments.work is not None and arguments.work.exists() and any(arguments.work.iterdir()):
        sys.exit(f"error: --work {arguments.work} is not empty; name a new folder")
    if arguments.minutes <= 0:
        sys.exit(f"error: --minutes must be above 0, got {arguments.minutes}")


def _parts(arguments: argparse.Namespace, work: Path) -> Iterator[Part]:
    """Yield what is to be run, the parts that tell most of a GPU first."""
    if arguments.wheels is not None:
        wheels = [str(path.resolve()) for path in sorted(arguments.wheels.glob("*.whl"))]
        options = ["--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--target", str(work / "site")]
        yield Part(name="wheels", command=[sys.executable, "-m", "pip", "install", *options, *wheels])
    run = Run(
        dataset_dir=work / "phantoms" if arguments.data is None else arguments.data.resolve(),
        output_dir=work / "run",
        pretrained=_pretrained(arguments.lite_medsam),
        device=arguments.device,
        quick=arguments.quick,
    )
    asked = [name for name in PARTS if name in arguments.parts]  # stages in their own order
    chosen = [name for name in asked if name == MULTI_GPU or name in STAGES]
    for name in asked:
        if name in chosen:
            continue
        options = ["--device", run.device, *(["--quick", "--seconds", "0"] if run.quick else [])]
        network = ["gpu_parts.networks", name, "--pretrained", run.pretrained]
        command = [sys.executable, "-m", *(["gpu_parts.machine"] if name == "machine" else network), *options]
        yield Part(name=name, command=command, limit=90, figures=figures_in_last_line)
    if arguments.data is None and chosen:
        number, size = (8, (60, 80)) if run.quick else (60, (575, 766))
        write = f"write_phantoms({str(run.dataset_dir)!r}, num_images={number}, image_size={size})"
        code = f"from common.datasets.phantoms.ph2 import write_phantoms; {write}"
        yield Part(name="phantoms", command=[sys.executable, "-c", code], limit=60)
    for name in chosen:
        its_run = run._replace(output_dir=work / MULTI_GPU) if name == MULTI_GPU else run
        yield Part(name=name, command=command_of(name, its_run), figures=partial(figures_of, name, its_run))


def _pretrained(given: str) -> str:
    return given if given == "embedded" else str(Path(given).resolve())


def _environment(work: Path) -> dict[str, str]:
    """Return the environment of all parts: one GPU, this working tree, and the wheels."""
    paths = [str(ROOT), str(ROOT / "ci"), str(work / "site"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "NCCL_DEBUG": "VERSION",  # has it say that it is there, once it is
        "HF_HUB_OFFLINE": "1",
    }


if __name__ == "__main__":
    main()
