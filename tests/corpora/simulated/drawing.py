"""What tests of the simulated world draw with, and faces and conditions as they are asked for."""

from dataclasses import replace

import torch

from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, Nuisance


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(rows, **values):
    """The rows with some columns set, to a number or one for each row."""
    columns = {name: torch.as_tensor(x).to(getattr(rows, name).dtype) for name, x in values.items()}
    return replace(rows, **{name: column.expand(len(rows)) for name, column in columns.items()})


def taken(n: int = 1, **conditions) -> Nuisance:
    return changed(Nuisance.none(n), **conditions)


def show(*expressions: dict[int, float]) -> torch.Tensor:
    """Intensities (N, 17) from {action unit: intensity}."""
    return torch.tensor([[float(expression.get(unit, 0)) for unit in ACTION_UNITS] for expression in expressions])
