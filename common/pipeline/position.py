"""Where in a pipeline a stage is, for the bar that shows how much time is left."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from common.training.bar import Position, position_in_environment

# How long stages take beside each other, as measured with the bundles' own settings; what a pipeline has measured so
# far corrects it.
_SHARES = {
    "finetune_teacher": 20,
    "train_diffusion": 25,
    "synthesize": 10,
    "distill": 25,
    "train": 15,
    "evaluate_teacher": 3,
    "evaluate": 2,
}


def position_of(stage: str, stages: Sequence[str], seconds: Mapping[str, float]) -> Position:
    """Return where a stage is in a pipeline.

    Args:
        stage: the stage.
        stages: all that are chosen, in order.
        seconds: that each stage took which was run so far; those that were skipped have none.
    """
    total = sum(_SHARES[each] for each in stages)
    number = list(stages).index(stage)
    return Position(
        title=f"[{number + 1}/{len(stages)}] {stage}",
        before=sum(_SHARES[each] for each in stages[:number]) / total,
        own=_SHARES[stage] / total,
        spent=sum(seconds.values()),
        measured=sum(_SHARES[each] for each in seconds) / total,
    )


@contextmanager
def told(position: Position) -> Iterator[None]:
    """Have the processes that are started in here know their position."""
    variables = position_in_environment(position)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
