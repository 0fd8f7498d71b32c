"""An app for MONAI Label that serves students: its own app for bundles, ready to start, and the next image by doubt.

It is no part of the package ``common``, since a server of MONAI Label runs in an environment of its own.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.main import Main
from monailabel.tasks.activelearning.epistemic import Epistemic

logger = logging.getLogger(__name__)

_METADATA = "configs/metadata.json"


def _load_monaibundle() -> ModuleType:
    """Return MONAI Label's own app for bundles, from where ``monailabel apps`` finds it."""
    path = Path(Main()._get_installed_dir(None, "sample-apps")) / "monaibundle" / "main.py"
    spec = importlib.util.spec_from_file_location("monaibundle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_bundles(folder: Path, named: str = "") -> dict[str, Path]:
    """Return bundle folders by name.

    Args:
        folder: the app's ``model``.
        named: bundles to be served, separated by commas: folders, or names in ``folder``; all of ``folder`` if empty.

    Raises:
        ValueError: if there is none, if one is not the folder of a bundle, or if two have the same name.
    """
    wanted = [name.strip() for name in named.split(",") if name.strip()]
    bundles = [_find_bundle(folder, name) for name in wanted]
    if not wanted:
        bundles = [path.parents[1] for path in sorted(folder.glob(f"*/{_METADATA}"))]
    if not bundles:
        raise ValueError(
            f"no bundle to serve: there is none in {folder}. Copy a release into it, or name the folder of one: "
            "--conf models dist/kidneyus_segmentation"
        )
    names = [bundle.name for bundle in bundles]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"models: bundles must have different names, got {', '.join(repeated)} twice")
    return dict(zip(names, bundles, strict=True))


def _find_bundle(folder: Path, name: str) -> Path:
    for place in (folder / name, Path(os.path.abspath(name))):  # a link keeps its name
        if (place / _METADATA).is_file():
            return place
    raise ValueError(
        f"models: {name} is not a bundle: it has no {_METADATA}, and there is no other of that name in {folder}"
    )


def _can_doubt(bundle: Path) -> bool:
    """Return whether a bundle has what MONAI Label scores images with; it does not start if it scores with another."""
    return (bundle / "models" / "model.pt").is_file() and any((bundle / "configs").glob("inference.*"))


_monaibundle = _load_monaibundle()


class StudentApp(_monaibundle.MyApp, MONAILabelApp):  # MONAI Label looks for a class with a base of the latter name
    """MONAI Label's app for bundles, with other defaults and one more strategy.

    Of ``--conf``, these are other than there:
        models: folders of bundles, or names in the app's ``model``, separated by commas; by default all of ``model``.
        epistemic_model: of the bundles served, those that score images for the strategy ``epistemic``, by name; by
            default the first one that can.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self._bundles = find_bundles(Path(app_dir) / "model", conf.get("models", ""))
        self._scoring_chosen = bool(conf.get("epistemic_model"))
        scoring = self._choose_scoring(conf.get("epistemic_model", ""))
        # Whole paths of folders that are there keep MONAI Label from looking for bundles elsewhere.
        conf = {"sam2": "false", **conf, "zoo_source": "github", "models": self._paths(self._bundles)}
        super().__init__(app_dir, studies, conf | {"epistemic_model": self._paths(scoring)})

    def _paths(self, names: Iterable[str]) -> str:
        return ",".join(str(self._bundles[name]) for name in names)

    def _choose_scoring(self, named: str) -> list[str]:
        chosen = [name.strip() for name in named.split(",") if name.strip()]
        if unknown := [name for name in chosen if name not in self._bundles]:
            raise ValueError(
                f"epistemic_model: {', '.join(unknown)} is not served, expected one of {', '.join(self._bundles)}"
            )
        return chosen or [name for name, bundle in self._bundles.items() if _can_doubt(bundle)][:1]

    def init_infers(self) -> dict[str, InferTask]:
        self.models = {name: str(bundle) for name, bundle in self._bundles.items()}
        return super().init_infers()

    def init_strategies(self) -> dict[str, Strategy]:
        return {**super().init_strategies(), "epistemic": Epistemic()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        self.epistemic_models = {Path(path).name: path for path in (self.epistemic_models or {}).values()}
        try:
            return super().init_scoring_methods()
        except RuntimeError as error:  # a network that takes no dropout
            if self._scoring_chosen:
                raise
            logger.warning("%s cannot score images: %s", ", ".join(self.epistemic_models), error)
            return {}
