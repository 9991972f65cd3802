"""The generator of random numbers that tests of the simulated world draw with."""

import torch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
