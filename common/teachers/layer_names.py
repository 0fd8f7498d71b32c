"""Which layers of an encoder can have adapters, and by what names they are told from its others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear


def adaptable_layers(encoder: nn.Module, types: tuple[type[nn.Module], ...]) -> list[str]:
    """Return the names of the layers that an adapter can sit on, and be merged into, among those of some types."""
    return [name for name, module in encoder.named_modules() if isinstance(module, types) and _takes_adapter(module)]


def _takes_adapter(module: nn.Module) -> bool:
    """Say whether a layer is called as any other: nothing else reads its weights or its size."""
    if isinstance(module, nn.Conv2d):
        cuts_patches = module.stride == module.kernel_size != (1, 1)  # vision transformers ask it for their size
        return module.groups == 1 and not cuts_patches
    return not isinstance(module, NonDynamicallyQuantizableLinear)  # the last one of PyTorch's own attention


def ends_in(name: str, ending: str) -> bool:
    """Say whether the last parts of a module's name are these."""
    return f".{name}".endswith(f".{ending}")


def endings(names: Iterable[str], others: Collection[str]) -> tuple[str, ...]:
    """Return as much of the end of each name as none of the others ends in, such as the last part alone."""
    return tuple(sorted({_own_ending(name, others) for name in names}))


def _own_ending(name: str, others: Collection[str]) -> str:
    parts = name.split(".")
    candidates = (".".join(parts[start:]) for start in reversed(range(len(parts))))
    return next((ending for ending in candidates if not any(ends_in(other, ending) for other in others)), name)


def chosen_layers(encoder: nn.Module, types: tuple[type[nn.Module], ...], targets: Sequence[str]) -> tuple[str, ...]:
    """Return endings of names that mean the layers that the user chose, and of those what can have an adapter.

    Args:
        encoder: the network.
        types: of layers that can have one.
        targets: each the name of layers, or the end of it.

    Raises:
        KeyError: with those of the targets that name no such layer; empty if there are no targets.
    """
    able = adaptable_layers(encoder, types)
    unknown = [target for target in targets if not any(ends_in(name, str(target)) for name in able)]
    if unknown or not targets:
        raise KeyError(*unknown)
    others = {name for name, _ in encoder.named_modules()} - set(able)
    chosen: list[str] = []
    for target in targets:
        if any(ends_in(other, target) for other in others):
            chosen += endings([name for name in able if ends_in(name, target)], others)
        else:
            chosen.append(target)
    return tuple(dict.fromkeys(chosen))
