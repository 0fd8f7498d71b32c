"""The registry of families of teachers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from common.errors import InputError
from common.teachers.base import Teacher
from common.teachers.base_names import name_of_base
from common.teachers.published_weights import resolve

logger = logging.getLogger(__name__)

# Family -> module and class. Strings, so that a family's libraries are imported when it is used.
TEACHERS = {
    "sam": "common.teachers.sam:SamTeacher",
    "tiny_sam": "common.teachers.tiny_sam:TinySamTeacher",
    "sam_hq": "common.teachers.sam_hq:SamHqTeacher",
    "sam2": "common.teachers.sam2:Sam2Teacher",
    "efficient_sam": "common.teachers.efficient_sam:EfficientSamTeacher",
    "backbone": "common.teachers.backbone:BackboneTeacher",
    "network": "common.teachers.network:NetworkTeacher",
}
_NETWORK = "network"


def find_family(family: str) -> type[Teacher]:
    """Return the class of a family of teachers.

    Raises:
        InputError: if there is no such family, its line in ``TEACHERS`` leads nowhere, or a package that it needs is
            not installed.
    """
    if family not in TEACHERS:
        raise InputError(
            f"family: there are no teachers of the family '{family}'; the families are {', '.join(TEACHERS)}"
        )
    module, _, name = TEACHERS[family].partition(":")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        package = (error.name or "the package").split(".")[0]
        remedy = f"install {package}, or a version of it that has this"
        if package == __name__.split(".")[0]:
            remedy = f"correct {module.replace('.', '/')}.py, or its line in common/teachers/registry.py"
        raise InputError(
            f"family: teachers of the family '{family}' cannot be used here ({error}): {remedy}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Teacher) and getattr(found, "family", None) == family):
        raise InputError(
            f"family: '{TEACHERS[family]}' in common/teachers/registry.py is no subclass of Teacher whose 'family' is "
            f"'{family}': correct one of the two"
        )
    return found


def recognise_family(pretrained: Any) -> str:
    """Return the first family that recognises these weights, or else ``sam``.

    Families that need a package that is not installed are left out, with a warning.
    """
    for name in TEACHERS:
        try:
            family = find_family(name)
        except InputError as error:
            logger.warning(f"{error}; it is left out")
            continue
        if family.recognises(pretrained):
            return name
    return "sam"


def suitable_scale(pretrained: Any, size: int, network: Any = None) -> float:
    """Return the ``input_scale`` that suits a teacher and images of ``size`` pixels a side, a multiple of 16.

    Nothing is downloaded; of weights that are not on this machine the name tells. ``network`` is as for
    :func:`build_teacher`.
    """
    return _family_of(pretrained, network).suitable_scale(pretrained, size)


def affordable_scale(pretrained: Any, size: int, network: Any = None) -> float:
    """Return the ``input_scale`` for a teacher on a CPU: the suitable one, or as much as it can afford.

    The arguments are those of :func:`suitable_scale`.
    """
    return _family_of(pretrained, network).affordable_scale(pretrained, size)


def _family_of(pretrained: Any, network: Any) -> type[Teacher]:
    return find_family(recognise_family(pretrained) if network is None else _NETWORK)


def build_teacher(
    pretrained: Any,
    num_classes: int,
    input_scale: float = 1,
    pixel_normalisation: str | Mapping[str, Sequence[float]] | None = None,
    family: str | None = None,
    base_name: str | None = None,
    network: nn.Module | Mapping[str, Any] | None = None,
    dataset: str | None = None,
    upright: bool | None = None,
) -> Teacher:
    """Build a teacher from pretrained weights; the arguments are those of :class:`~common.teachers.base.Teacher`.

    Args:
        pretrained: also a name of published weights, such as ``lite_medsam``, which are downloaded where needed. The
            teacher describes itself by that name, so that it is rebuilt where the cache is elsewhere.
        family: a key of ``TEACHERS``; None takes the first family that recognises the weights, or else ``sam``.
        network: the network that the weights are of, see :class:`~common.teachers.network.NetworkTeacher`; None for
            other families, and for weights that say it themselves.
        dataset: name of the dataset at hand, such as ``ph2``: it is said whether the weights are known to have seen it.
        upright: None takes what the family was trained on.

    Raises:
        InputError: if there is no such family, a network is given for another one, or the weights cannot be loaded.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """
    weights = resolve(pretrained)
    family = family or (_NETWORK if network is not None else recognise_family(weights))
    options: dict[str, Any] = {"input_scale": input_scale, "pixel_normalisation": pixel_normalisation}
    options |= {"dataset": dataset, "base_name": base_name or name_of_base(pretrained)}
    if upright is not None:
        options["upright"] = upright
    if family == _NETWORK:
        options["network"] = network
    elif network is not None:
        raise InputError(f"teacher_network_def: is for the family {_NETWORK}, not for {family}; leave it out")
    teacher = find_family(family)(weights, num_classes, **options)
    if weights is not pretrained:
        teacher.describe_as_from(pretrained)
    card = teacher.card_for_data
    if card:
        logger.log(logging.WARNING if card.seen == "yes" else logging.INFO, f"the teacher: {card}")
    return teacher
