"""The metadata: MONAI's schema, what a model browser shows, the version, and packages that pip can install."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
from monai.bundle import verify_metadata

from verify.bundle import METADATA, Bundle, Issue
from verify.imports import canonical, distributions

SCHEMA = Path(__file__).parents[1] / "metadata_schema.json"
_OFFICIAL_SCHEMA = re.compile(
    r"https://(github\.com/Project-MONAI/MONAI-extra-test-data/releases/download/0\.8\.1|project-monai\.github\.io/schema)"
    r"/meta_schema_\d{8}\.json"
)
# What the Zoo's bundles have beside what the schema demands: a model browser and MONAI Label show it.
_KEYS = (
    *("name", "changelog", "data_source", "data_type", "image_classes", "label_classes", "pred_classes"),
    *("eval_metrics", "intended_use", "references"),
)


def metadata_schema(bundle: Bundle) -> Iterator[Issue]:
    try:
        # The copy of the schema is there, so that MONAI downloads none.
        verify_metadata(meta_file=str(bundle.root / METADATA), filepath=str(SCHEMA))
    except ValueError as error:
        # MONAI names the first error alone.
        schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
        errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(bundle.metadata)
        found = [f"{each.json_path}: {each.message}" for each in errors] or [str(error)]
        yield from (Issue(METADATA, each, "what the schema demands") for each in found)
    url = bundle.metadata.get("schema")
    if url is not None and not _OFFICIAL_SCHEMA.fullmatch(str(url)):
        yield Issue(METADATA, f"schema {url}", "the URL of an official schema, meta_schema_<date>.json")


def metadata_keys(bundle: Bundle) -> Iterator[Issue]:
    for key in _KEYS:
        if key not in bundle.metadata:
            yield Issue(METADATA, f"no key {key}", "a key of this name")


def version(bundle: Bundle) -> Iterator[Issue]:
    latest, changes = bundle.metadata.get("version"), bundle.metadata.get("changelog")
    changes = changes if isinstance(changes, dict) else {}
    odd = [name for name in (latest, *changes) if not re.fullmatch(r"\d+\.\d+\.\d+", str(name))]
    for name in odd:
        yield Issue(METADATA, f"version {name}", "numbers of the form x.y.z")
    if latest not in changes:
        yield Issue(METADATA, f"no version {latest} in changelog", "a line that says what is new in it")
    elif not odd and latest != max(changes, key=lambda name: [int(number) for number in name.split(".")]):
        yield Issue(METADATA, f"version {latest}, and later ones in changelog", "the latest version of the changelog")
    for name, change in changes.items():
        if not (isinstance(change, str) and change.strip()):
            yield Issue(METADATA, f"changelog of {name}: {change!r}", "a line that says what is new in it")


def packages(bundle: Bundle) -> Iterator[Issue]:
    metadata = bundle.metadata
    stated = {"monai": metadata.get("monai_version"), "torch": metadata.get("pytorch_version")}
    stated |= {"numpy": metadata.get("numpy_version")}
    installed = {canonical(name) for names in distributions().values() for name in names}
    others = {}
    for key in ("required_packages_version", "optional_packages_version"):  # pip is given both
        listed = metadata.get(key)
        for name, number in listed.items() if isinstance(listed, dict) else ():
            others[name] = number
            if name in stated:
                yield Issue(METADATA, f"{name} in {key}", "its version in a key of its own")
            elif name not in installed:
                yield Issue(METADATA, f"{name} in {key}", "a package that is installed, by the name that pip knows")
    for name, number in {**stated, **others}.items():
        if not re.fullmatch(r"\d+(\.\d+){1,3}", str(number)):
            yield Issue(METADATA, f"{name} {number}", "one released version, such as 1.4.0, for pip to install")


def licence(bundle: Bundle) -> Iterator[Issue]:
    if (bundle.root / "LICENSE").is_file():
        text = (bundle.root / "LICENSE").read_text(encoding="utf-8")
        if not re.search(r"licen[cs]e", text, re.IGNORECASE):
            yield Issue("LICENSE", "no licence", "the text of a licence")
    notice = bundle.metadata.get("copyright", "")
    if not re.match(r"Copyright\b.*\w", str(notice)):
        yield Issue(METADATA, f"copyright {notice!r}", "a line that starts with Copyright and says whose")
    page = bundle.root / "docs/README.md"
    if page.is_file() and not re.search(r"(?im)^#+ Licen[cs]e", page.read_text(encoding="utf-8")):
        yield Issue("docs/README.md", "no section License", "a section that names the licence")


def eval_metrics(bundle: Bundle) -> Iterator[Issue]:
    metrics = bundle.metadata.get("eval_metrics")
    if not isinstance(metrics, dict):
        yield Issue(METADATA, f"eval_metrics {metrics!r}", "a score by the name of each metric")
        return
    if bundle.is_release and not metrics:
        yield Issue(METADATA, "no eval_metrics", "the scores of the weights that are released")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            yield Issue(METADATA, f"eval_metrics: {name} {value!r}", "a number")
