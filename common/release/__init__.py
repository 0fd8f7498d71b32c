"""A student that leaves this repository: a bundle that is complete in itself, and runs where MONAI does."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import InputError
from common.files.atomic import replace_file, replace_folder
from common.files.weights import load_weights
from common.release.archive import check_replaceable, write_archive, write_large_files
from common.release.card import missing_sections, model_card
from common.release.configs import STAGES, read_settings, released_configs, source_config
from common.release.evidence import check_summary, gather, read_summary
from common.release.exports import check_packages, export_release
from common.release.metadata import release_metadata
from common.release.sources import find_modules, required_packages, write_modules
from common.training.sizes import check_patch_size

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
        overrides: keys to set in the configs, such as ``network_def`` of another student. What the student was
            evaluated with, such as ``patch_size``, is set without being named.

    Returns:
        The folder of the release.

    Raises:
        InputError: if anything that a release needs is missing or does not belong together; nothing is written then.
    """
    source, weights_path = Path(bundle).resolve(), Path(weights)
    _check_source(source)
    check_packages()
    if not weights_path.is_file():
        raise InputError(f"--weights: {weights} does not exist; expected a student's model.pt from train.yaml")
    folder, archive = Path(output_dir) / source.name, Path(output_dir) / f"{source.name}.zip"
    check_replaceable(folder, archive)
    summary_path = Path(metrics) if metrics else weights_path.parent / "evaluation" / "student" / "summary.json"
    summary = read_summary(summary_path)
    settings = read_settings(source / "configs", overrides, summary["settings"])
    network, in_channels, patch_size, classes = _build(source / "configs", settings, weights_path)
    check_patch_size(network, patch_size, in_channels)
    _check_output(network, in_channels, patch_size, classes)
    check_summary(summary_path, summary, network, classes)
    evidence = gather(weights_path, summary, str(teacher) if teacher else None)

    texts = [(source / "configs" / f"{stage}.yaml").read_text(encoding="utf-8") for stage in STAGES]
    modules = find_modules([*texts, *map(str, settings.values())])
    metadata = release_metadata(
        json.loads((source / "configs" / "metadata.json").read_text(encoding="utf-8")),
        evidence, network, classes, settings, required_packages(modules), version, changes,
    )  # fmt: skip
    one_size = not _takes(network, metadata["network_data_format"]["inputs"]["image"])
    if one_size:
        for data in (metadata["network_data_format"][key] for key in ("inputs", "outputs")):
            next(iter(data.values()))["spatial_shape"] = [patch_size, patch_size]
    page = (source / "docs" / "README.md").read_text(encoding="utf-8")
    card = model_card(page, metadata, evidence, network, settings, source.name, trained_on)

    with replace_file(archive) as fresh_archive, replace_folder(folder) as fresh:
        for name in _COPIED:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, fresh / name)
        for name, text in released_configs(source / "configs", settings).items():
            (fresh / "configs" / name).write_text(text, encoding="utf-8")
        described = json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
        (fresh / "configs" / "metadata.json").write_text(described, encoding="utf-8")
        (fresh / "docs" / "README.md").write_text(card, encoding="utf-8")
        write_modules(modules, fresh)
        (fresh / "models").mkdir()
        shutil.copyfile(weights_path, fresh / "models" / "model.pt")
        export_release(fresh, in_channels, patch_size, one_size)
        large = write_large_files(fresh, url)
        write_archive(fresh, fresh_archive, folder.name)
    if large:
        logger.info(f"upload to {url}: {', '.join(large)}; they are listed in large_files.yml")
    return folder


def _check_source(source: Path) -> None:
    if not (source / "configs").is_dir():
        raise InputError(f"{source} is no bundle: expected a folder with configs/, such as bundles/drive_segmentation")
    missing = [name for name in (*_COPIED, *_READ) if not (source / name).is_file()]
    if missing:
        raise InputError(f"{source} is no complete bundle: {', '.join(missing)} is missing")
    absent = missing_sections((source / "docs" / "README.md").read_text(encoding="utf-8"))
    if absent:
        raise InputError(
            f"{source / 'docs' / 'README.md'} has no section {', '.join(absent)}, which a model card needs"
        )


def _build(configs: Path, settings: dict[str, Any], weights: Path) -> tuple[nn.Module, int, int, list[str]]:
    """Return the student with its weights, its channels, the size it sees, and the names of its classes."""
    evaluation = source_config(configs, "evaluate", settings)
    values = {key: evaluation.get_parsed_content(key) for key in ("in_channels", "patch_size", "classes")}
    network = source_config(configs, "inference", settings).get_parsed_content("network_def")
    network = load_weights(network, weights, "train").eval()
    return network, values["in_channels"], values["patch_size"], list(values["classes"])


def _check_output(network: nn.Module, in_channels: int, patch_size: int, classes: list[str]) -> None:
    with torch.no_grad():
        channels = network(torch.zeros(1, in_channels, patch_size, patch_size)).shape[1]
    if channels != len(classes):
        raise InputError(
            f"network_def: the {type(network).__name__} tells {channels} classes apart, but there are {len(classes)}: "
            f"{', '.join(classes)}"
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
