"""The registry of commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from typing import Any

from common.commands.sources import Source, read_source
from common.configs.arguments import UsageError
from common.configs.rules import Rule, whole


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the command line.

    Attributes:
        name: on the command line, where - counts as _.
        function: what it calls, as ``module:function``; imported when it is called, since many commands take seconds to
            import, and some run where PyTorch is not installed.
        summary: what it does, in a line.
        examples: command lines, without the name of the program.
        said: what to print of the result; None where the function prints itself.
        earlier: earlier names of its arguments, by which they are still known.
        rules: of arguments that may be less here than as keys of the stages.
    """

    name: str
    function: str
    summary: str
    examples: Sequence[str]
    said: str | None = None
    earlier: dict[str, str] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)

    @cached_property
    def source(self) -> Source:
        """What the source of the function says of its arguments."""
        return read_source(self.function)

    def run(self, arguments: dict[str, Any]) -> None:
        """Call the function, and print what it returns where that is to be said."""
        module, name = self.function.split(":")
        result = getattr(import_module(module), name)(**arguments)
        if self.said is not None:
            print(self.said.format(result))

    def with_current_names(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command line with arguments by the names that they have now."""
        return [self._renamed(word) for word in words]

    def _renamed(self, word: str) -> str:
        flag, equals, text = word.partition("=")
        name = self.earlier.get(flag.removeprefix("--").replace("-", "_")) if flag.startswith("--") else None
        return word if name is None else f"--{name}{equals}{text}"


# In the order in which a user meets them.
_ALL = (
    Command(
        name="create",
        function="common.creation.create:create_bundle",
        summary="write a bundle for a folder of your own images, or for a dataset of this project",
        examples=(
            "create wounds --images photos/ --labels masks/ --classes background,wound --output_dir .",
            "create drive bundles",
        ),
        earlier={"facts": "name"},
        rules={"num_validation": whole(1)},  # a bundle of one's own always chooses the best weights
    ),
    Command(
        name="check",
        function="common.pipeline.check:check_bundle",
        summary="check a dataset before any training",
        examples=(
            "check wounds_segmentation",
            "check bundles/drive_segmentation --dataset_dir /data/DRIVE --output_dir runs/check",
        ),
    ),
    Command(
        name="pipeline",
        function="common.pipeline.run:run_pipeline",
        summary="train a student: the stages of a bundle, one after the other",
        examples=(
            "pipeline wounds_segmentation --output_dir runs/wounds",
            "pipeline bundles/drive_segmentation --dataset_dir /data/DRIVE --output_dir runs/drive --num_labels 5",
            "pipeline bundles/drive_segmentation --demo --output_dir runs/demo",
        ),
    ),
    Command(
        name="predict",
        function="common.prediction.predict:predict",
        summary="segment new images with a student",
        examples=(
            "predict new_photos/ --weights runs/wounds/model.pt --output_dir new_masks/",
            "predict new_photos/ --weights runs/wounds/model.pt --output_dir new_masks/ --overlays --table",
            "predict scan.nii.gz --weights dist/liver_segmentation/models/model.onnx --output_dir new_masks/",
        ),
    ),
    Command(
        name="study",
        function="common.study.run:run_study",
        summary="compare methods on a grid of budgets",
        examples=(
            "study bundles/ph2_segmentation --dataset_dir /data/PH2 --output_dir studies/ph2 --labels 5,10",
            "study bundles/ph2_segmentation --demo --output_dir studies/demo --preset quick --dry_run",
        ),
    ),
    Command(
        name="report",
        function="common.report:write_report",
        summary="write the tables, figures and pictures of a study",
        examples=("report studies/ph2",),
    ),
    Command(
        name="release",
        function="common.release:release_bundle",
        summary="write a student as a bundle of its own",
        examples=("release bundles/drive_segmentation --weights runs/drive/model.pt --output_dir dist",),
        said="released: {}",
    ),
    Command(
        name="phantoms",
        function="common.datasets.registry:write_phantoms",
        summary="write procedural images in a dataset's layout",
        examples=("phantoms drive phantoms/DRIVE",),
        said="{}",
    ),
    Command(
        name="list",
        function="common.commands.listing:list_contents",
        summary="list bundles, stages, keys of configs, datasets, methods and teachers",
        examples=("list", "list keys bundles/drive_segmentation train"),
    ),
    Command(
        name="weights",
        function="common.teachers.published_weights:fetch_weights",
        summary="download a published teacher, LiteMedSAM",
        examples=("weights lite_medsam", "weights lite_medsam --cache_dir /data/weights"),
        said="{}",
    ),
    Command(
        name="pretrain_teacher",
        function="common.teachers.stand_in.pretraining:pretrain_teacher",
        summary="pre-train the stand-in teacher",
        examples=("pretrain_teacher runs/stand_in --steps 200 --scenes 1000",),
    ),
    Command(
        name="pretrain_diffusion",
        function="common.synthesis.prior.pretraining:pretrain_diffusion",
        summary="pre-train the diffusion model that others start from",
        examples=("pretrain_diffusion runs/prior --steps 200 --pictures 1000",),
    ),
)
COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}


def find_command(word: str) -> Command:
    """Return a command by its name.

    Raises:
        UsageError: if there is none of this name.
    """
    name = word.replace("-", "_")
    if name in COMMANDS:
        return COMMANDS[name]
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
    raise UsageError(f"there is no command {word!r}; {hint}")
