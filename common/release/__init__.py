"""A student that leaves this repository: a bundle that is complete in itself, and runs where MONAI does."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

from common.errors import InputError
from common.files.atomic import atomic_file, atomic_folder
from common.files.provenance import provenance_path, read_provenance
from common.files.weights import load_weights
from common.pipeline.bundle_folder import find_configs
from common.release.archive import check_replaceable, write_archive, write_large_files
from common.release.card import missing_sections, model_card
from common.release.configs import SIZES, STAGES, name_package, read_settings, released_configs, source_config
from common.release.evidence import gather
from common.release.exports import check_packages, export_release
from common.release.hub_page import find_picture, write_hub_page
from common.release.metadata import release_metadata
from common.release.sources import choose_package, find_modules, required_packages, write_modules
from common.release.summaries import check_summary, read_summary
from common.training.sizes import check_image_size

logger = logging.getLogger(__name__)

_COPIED = ("LICENSE", "docs/data_license.txt", "configs/logging.conf")
_READ = ("docs/README.md", "configs/metadata.json", *(f"configs/{stage}.yaml" for stage in STAGES))


def release_bundle(
    bundle: str,
    weights: str,
    output_dir: str,
    metrics: str | None = None,
    version: str | None = None,
    changes: str | None = None,
    teacher: str | None = None,
    trained_on: str | None = None,
    url: str | None = None,
    picture: str | None = None,
    **overrides: Any,
) -> Path:
    """Write a student as a bundle that is complete in itself, and as a ZIP file beside it.

    Args:
        bundle: folder of the source bundle.
        weights: the student, as ``train.yaml`` wrote it.
        output_dir: where ``<name of the bundle>`` and ``<name of the bundle>.zip`` go.
        metrics: the summary of its evaluation; by default ``evaluation/student/summary.json`` beside the weights.
        version: of the release, such as 0.2.0; by default that of the source.
        changes: what is new in this version, for the changelog.
        teacher: what the student was distilled from, where its folder does not tell: a name, or ``none``.
        trained_on: what the student was trained on, in words, for the model card.
        url: where files over 25 MB will be uploaded to, for ``large_files.yml``.
        picture: a PNG file for the front page, which may be shown to everybody; by default one of the evaluation, if
            that was on phantoms.
        overrides: keys to set in the configs, such as ``student_def`` of another student. What the student was
            evaluated with, such as ``image_size``, is set without being named.

    Returns:
        The folder of the release.

    Raises:
        InputError: if anything that a release needs is missing or does not belong together; nothing is written then.
    """
    source, weights_path = Path(bundle).resolve(), Path(weights)
    find_configs(bundle)
    _check_source(source)
    check_packages()
    if not weights_path.is_file():
        raise InputError(f"--weights: {weights} does not exist; expected a student's model.pt from train.yaml")
    folder, archive = Path(output_dir) / source.name, Path(output_dir) / f"{source.name}.zip"
    check_replaceable(folder, archive)
    summary_path = Path(metrics) if metrics else weights_path.parent / "evaluation" / "student" / "summary.json"
    summary = read_summary(summary_path)
    settings = read_settings(source / "configs", overrides, summary["settings"])
    student = _build(source / "configs", settings, weights_path)
    check_image_size(student.network, student.size, student.in_channels, key=student.size_key)
    _check_output(student)
    check_summary(summary_path, summary, student.network, student.classes)
    evidence = gather(weights_path, summary, str(teacher) if teacher else None)
    shown = find_picture(picture, summary_path.parent, evidence)

    provenance = read_provenance(weights_path)
    texts = released_configs(source / "configs", settings, provenance)
    modules = find_modules(yaml.safe_load(text) for text in texts.values())
    package = choose_package(modules, texts, weights_path)
    metadata = release_metadata(
        json.loads((source / "configs" / "metadata.json").read_text(encoding="utf-8")),
        evidence, student.network, student.classes, settings, required_packages(modules), version, changes,
    )  # fmt: skip
    one_size = not _takes(student.network, metadata["network_data_format"]["inputs"]["image"])
    if one_size:
        for data in (metadata["network_data_format"][key] for key in ("inputs", "outputs")):
            next(iter(data.values()))["spatial_shape"] = [student.size, student.size]
    page = (source / "docs" / "README.md").read_text(encoding="utf-8")
    card = model_card(
        page, metadata, evidence, student.network, settings, source.name, package, trained_on,
        has_provenance=bool(provenance), reads_workbooks="common.datasets.workbooks" in modules,
    )  # fmt: skip

    with atomic_file(archive) as fresh_archive, atomic_folder(folder) as fresh:
        for name in _COPIED:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, fresh / name)
        for name, text in name_package(texts, package).items():
            (fresh / "configs" / name).write_text(text, encoding="utf-8")
        described = json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
        (fresh / "configs" / "metadata.json").write_text(described, encoding="utf-8")
        (fresh / "docs" / "README.md").write_text(card, encoding="utf-8")
        write_hub_page(fresh, page, metadata, evidence, source.name, shown)
        write_modules(modules, fresh, package)
        (fresh / "models").mkdir()
        shutil.copyfile(weights_path, fresh / "models" / "model.pt")
        if provenance:
            shutil.copyfile(provenance_path(weights_path), provenance_path(fresh / "models" / "model.pt"))
        export_release(fresh, student.in_channels, student.size, one_size)
        large = write_large_files(fresh, url)
        write_archive(fresh, fresh_archive, folder.name)
    if large:
        logger.info(f"upload to {url}: {', '.join(large)}; they are listed in large_files.yml")
    return folder


def _check_source(source: Path) -> None:
    missing = [name for name in (*_COPIED, *_READ) if not (source / name).is_file()]
    if missing:
        raise InputError(f"{source} is no complete bundle: {', '.join(missing)} is missing")
    absent = missing_sections((source / "docs" / "README.md").read_text(encoding="utf-8"))
    if absent:
        raise InputError(
            f"{source / 'docs' / 'README.md'} has no section {', '.join(absent)}, which a model card needs"
        )


class _Student(NamedTuple):
    """The student with its weights, the names of its classes, and the images that it sees: channels, pixels a side."""

    network: nn.Module
    classes: list[str]
    in_channels: int
    size_key: str
    size: int


def _build(configs: Path, settings: dict[str, Any], weights: Path) -> _Student:
    evaluation = source_config(configs, "evaluate", settings)
    size_key = next((key for key in SIZES if key in evaluation), None)
    if size_key is None:
        raise InputError(f"{configs / 'evaluate.yaml'} has no key {' or '.join(SIZES)}, which says what a student sees")
    in_channels, classes, size = (evaluation.get_parsed_content(key) for key in ("in_channels", "classes", size_key))
    network = source_config(configs, "inference", settings).get_parsed_content("network_def")
    network = load_weights(network, weights, "train").eval()
    names = classes.values() if isinstance(classes, dict) else classes
    return _Student(network, list(names), in_channels, size_key, size)


def _check_output(student: _Student) -> None:
    with torch.no_grad():
        channels = student.network(torch.zeros(1, student.in_channels, student.size, student.size)).shape[1]
    if channels != len(student.classes):
        raise InputError(
            f"student_def: the {type(student.network).__name__} tells {channels} classes apart, but there are "
            f"{len(student.classes)}: {', '.join(student.classes)}"
        )


def _takes(network: nn.Module, image: dict[str, Any]) -> bool:
    """Say whether a network takes the smallest image that the metadata promise."""
    try:
        side = [int(str(size).removesuffix("*n")) for size in image["spatial_shape"]]
        with torch.no_grad():
            network(torch.zeros(1, image["num_channels"], *side))
    except (ValueError, RuntimeError):
        return False
    return True
