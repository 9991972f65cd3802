import flips
import numpy as np
import pytest


@pytest.mark.parametrize("kind", flips.KINDS)
def test_a_flipped_bit_is_never_used(kind):
    rng = np.random.default_rng(0)
    assert [flips.flip(kind, rng) for _ in range(5)] == [None] * 5


def test_a_flipped_bit_that_is_used_is_noticed(monkeypatch):
    monkeypatch.setattr(flips.cache, "file_checksum", lambda path: "0" * 64)  # any content has it
    place = 8 * 130  # of the first array, behind its header
    assert flips.flip("arrays", np.random.default_rng(0), place) == (
        f"bit {place} of arrays/{flips.KEY}/a.npy: what was flipped was used"
    )
