"""What the tests of the driver, of records and of promotion make: notebooks and effects."""

import nbformat
from nbformat import v4
from scipy import stats

from uncertain_affect.evidence import printed
from uncertain_affect.evidence.claims import Arm, Effect

# what run.json must say at least
SAID = dict.fromkeys(("notebook", "profile", "corpus", "started", "device", "revision", "checksum"), "")
SAID |= {key: {} for key in ("parameters", "hardware", "versions", "files", "environment")}
SAID |= {"schema": 3, "corpus_checksum": None, "seeds": [], "seconds": 1.0, "peak_memory_mib": 1, "dirty": False}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def effect(estimate, half_width=0.01, **other):
    low, high = estimate - half_width, estimate + half_width
    se = half_width / stats.t.ppf(0.975, 4)
    return Effect(estimate, low, high, se, 4.0, 0.0, n_seeds=5, n_clusters=3553, **other)


LEARNT = Arm("accuracy", score=0.6, constant=0.3, baseline=0.55)


def measured(run, *papers):
    """The run with all measured that the claims of these papers, of all by default, require."""
    for key in papers or printed.keys():
        for claim in printed.load(key).claims.values():
            for name, bounds in claim.requires.items():
                if name == "learnt":
                    for arm in bounds:
                        run.learnt(arm, LEARNT)
                else:
                    run.check(name, bounds.get("least", bounds.get("most")))
    return run


def make_notebook(parameters, *sources, title="# Title", paper="uncnet", **about):
    """A notebook of a parameters cell, unless it is None, and the sources; a pair of sources is (source, tags)."""
    cells = [v4.new_markdown_cell(title)]
    for source in ([] if parameters is None else [(parameters, ["parameters"])]) + list(sources):
        source, tags = source if isinstance(source, tuple) else (source, [])
        cells.append(v4.new_code_cell(source.strip(), metadata={"tags": tags} if tags else {}))
    about = {"paper": paper, "corpora": [], "tables": [], "figures": [], "claims": []} | about
    return v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "uncertain_affect": about})


def write_notebook(folder, name, parameters, *sources, **about):
    path = folder / f"{name}.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(make_notebook(parameters, *sources, **about), path)
    return path
