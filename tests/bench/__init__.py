"""The library beside its peers: ``make bench``, or ``PYTHONPATH=tests python -m bench [FOLDER]``.

compare.py     how two ways to do the same work are timed and compared
limits.py      what no implementation gets below: matrix products, memory bandwidth; and peak memory
metrics.py     the works: calibration errors, resampling, ranks, concordance, divergence
models.py      the works: dropout, training side by side, graphs, recurrences
faces.py       the works: pictures read and rendered
departures.py  where a peer computes something else than the definition
report.py      the tables, and the page made of them
world.py       what has no peer: the simulated world's views, and the panels
schedulers.py  who gives tasks to workers best; ``python -m bench.schedulers``, ten minutes

Peers come from requirements/bench.txt and are imported by the works that need them, here alone.
"""

from bench.report import provenance

__all__ = ["provenance"]
