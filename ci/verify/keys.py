"""Keys have the names that MONAI FL, Label and Deploy look for, by MONAI's own check of a workflow's properties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import BundleProperty, BundlePropertyConfig

from verify.bundle import Bundle, Issue

_ID = BundlePropertyConfig.ID
_WORKFLOWS = {"inference": "infer", "train": "train", "evaluate": "train"}
# Beside what MONAI requires of a workflow.
_SHARED = ("output_dir", "network_def", "run")
_VALIDATION = (
    *("validate::evaluator", "validate::handlers", "validate::dataset", "validate::dataset::data"),
    *("validate::preprocessing", "validate::postprocessing", "validate::inferer", "validate::key_metric"),
)
_KEYS = {
    "inference": (*_SHARED, "dataset::data", "preprocessing", "postprocessing", "handlers"),
    "train": (
        *(*_SHARED, "train::dataset::data", "train::handlers", "train::preprocessing", "train::key_metric"),
        *_VALIDATION,
    ),
    "evaluate": (*_SHARED, *_VALIDATION),
}


class _Names(ConfigWorkflow):
    """A config whose properties are looked up and not built, since its data are not here.

    Args:
        bundle: where it is.
        path: of the config in the bundle.
        name: of the config, such as ``train``.
    """

    def __init__(self, bundle: Bundle, path: str, name: str) -> None:
        super().__init__(str(bundle.root / path), meta_file=[], logging_file=False, workflow_type=_WORKFLOWS[name])
        # The metadata have rules of their own, and an evaluation is the validation of a training without the training.
        left_out = ("_meta_", "train::") if name == "evaluate" else ("_meta_",)
        self.properties = {key: entry for key, entry in self.properties.items() if not entry[_ID].startswith(left_out)}
        for key in _KEYS[name]:
            self.add_property(f"key {key}", required=True, config_id=key)
        handlers = self.parser.get("train::handlers")
        if isinstance(handlers, list):  # where MONAI's check expects no references
            self.parser["train::handlers"] = [_resolved(handler, self.parser) for handler in handlers]

    def _get_property(self, name: str, property: dict[str, Any]) -> Any:
        if property[_ID] not in self.parser:
            raise AttributeError(name)
        return self.parser[property[_ID]]

    def missing(self) -> list[str]:
        """Return the keys that are required and not there."""
        return [entry[_ID] for entry in self._failing() if entry[BundleProperty.REQUIRED]]

    def misnamed(self) -> list[tuple[str, str]]:
        """Return what the workflow uses in place of a key that MONAI looks up by name, and that key."""
        entries = [entry for entry in self._failing() if not entry[BundleProperty.REQUIRED]]
        return [(self._used(entry[BundlePropertyConfig.REF_ID]), entry[_ID]) for entry in entries]

    def _failing(self) -> list[dict[str, Any]]:
        return [self.properties[name] for name in self.check_properties()]

    def _used(self, reference: str) -> str:
        if reference in self.parser:
            return self.parser[reference]
        return next(handler[reference] for handler in self.parser["train::handlers"] if reference in handler)


def _names(bundle: Bundle, path: str, name: str) -> _Names:
    if path not in bundle.workflows:
        bundle.workflows[path] = _Names(bundle, path, name)
    return bundle.workflows[path]


def _resolved(item: Any, parser: ConfigParser) -> Any:
    is_reference = isinstance(item, str) and item.startswith("@") and item[1:] in parser
    return parser[item[1:]] if is_reference else item


def check_keys(name: str) -> Callable[[Bundle], Iterator[Issue]]:
    """Return the rule that a config has the keys that tools look for."""

    def check(bundle: Bundle) -> Iterator[Issue]:
        for path in bundle.find_all(name):
            for key in dict.fromkeys(_names(bundle, path, name).missing()):
                yield Issue(path, f"no key {key}", "a key of this name")

    return check


def property_names(bundle: Bundle) -> Iterator[Issue]:
    """What MONAI looks up by name is what the workflow uses: ``train::trainer::inferer`` is ``@train::inferer``."""
    for name in _WORKFLOWS:
        for path in (path for path in bundle.find_all(name) if path in bundle.configs):
            for used, key in _names(bundle, path, name).misnamed():
                yield Issue(path, used, f"@{key}, the name that MONAI looks for")
