"""How often chance alone answers, for all mixes and correlations: the table in the docstring of `claims.judge`.

Run as ``python tests/stress/answers.py``, five minutes on one core.
"""

import sys
from pathlib import Path

import numpy as np

from uncertain_affect.evidence.claims import decide

sys.path.insert(0, str(Path(__file__).parents[1] / "evidence"))
from test_claims import MIXES, SIZES, simulated


def rates(rule: str, size: tuple[int, int], n_parts: int) -> list[tuple[float, float, float]]:
    """Percent of claims that hold and fail without effect, and that hold with one of three standard errors."""
    found = []
    for mix in MIXES if size[1] > 1 else ["seeds"]:
        for rho in (0.0, 0.5, 1.0) if n_parts > 1 else (0.0,):
            none, _, _ = decide(rule, *simulated(size, n_parts, rho, mix))
            some, _, _ = decide(rule, *simulated(size, n_parts, rho, mix, effect=3.0))
            found.append(
                tuple(100 * np.mean(d == word) for d, word in ((none, "holds"), (none, "fails"), (some, "holds")))
            )
    return found


if __name__ == "__main__":
    for rule in ("mean", "weakest"):
        for size in SIZES:
            for n_parts in (1, 2, 6, 13, 19):
                holds, fails, power = zip(*rates(rule, size, n_parts), strict=True)
                print(
                    f"{rule}, {size[0]} x {size[1]}, {n_parts} parts: holds {max(holds):.1f}, fails {max(fails):.1f}, "
                    f"power {min(power):.0f} to {max(power):.0f}",
                    flush=True,
                )
