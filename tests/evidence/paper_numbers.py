"""Where the tests of single papers find what is printed for a claim, and what was recomputed for an erratum."""


def effects(paper, claim):
    """What a paper prints for each part of a claim, by the part's name."""
    return {name: part.get("printed") for name, part in paper.claims[claim].parts.items()}


def entry(paper, where, wording=""):
    """The one erratum of a place, and of a wording where the place has several."""
    (found,) = [e for e in paper.errata if e["where"] == where and wording in str(e["printed"])]
    return found


def erratum(paper, where, wording=""):
    """What was recomputed there."""
    return entry(paper, where, wording)["recomputed"]
