"""The targets by name."""

from __future__ import annotations

from pathlib import Path

from fuzzing import (
    checkpoints,
    commands,
    datasets,
    dicom,
    folders,
    inference,
    nifti,
    pictures,
    polygons,
    stages,
    tables,
)
from fuzzing.outcomes import Outcome
from fuzzing.runner import run_input

TARGETS = {
    target.name: target
    for target in (
        nifti.NIFTI,
        dicom.SLICE,
        dicom.SERIES,
        pictures.PICTURES,
        pictures.LABELS,
        tables.VIA,
        tables.WORKBOOK,
        checkpoints.WEIGHTS,
        datasets.CHECK,
        folders.FOLDER,
        folders.CREATE,
        polygons.POLYGONS,
        inference.INFER_PICTURES,
        inference.INFER_VOLUMES,
        stages.CACHES,
        stages.RELEASE,
        commands.VALUES,
        commands.OVERLAYS,
    )
}


def run_named(name: str, sources: Path, work: Path) -> Outcome:
    """Run the input of a name; see :func:`run_input`."""
    return run_input(TARGETS[name.split("/")[0]], name, sources, work)
