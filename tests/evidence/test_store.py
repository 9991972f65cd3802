"""Evidence in a file: what comes back, how near it is to what was measured, and what is refused."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from uncertain_affect import metrics
from uncertain_affect.compute.paths import project_root
from uncertain_affect.evidence import store
from uncertain_affect.evidence.store import EvidenceError, Field

COMMITTED = sorted((project_root() / "results").glob(f"*/*/*/{store.NAME}"))

ABOUT = {
    "notebook": "11_one", "profile": "full", "corpus": "ferplus", "corpus_checksum": "ab", "parameters": {"SEED": 0},
    "seeds": [0, 1], "shareable": True,
}  # fmt: skip
PROBS = np.array([[[0.2, 0.25, 0.55], [1.0, 0.0, 0.0]]] * 2)
TREE = {
    "arms": {
        "UncNet": {
            "probs": Field(torch.tensor(PROBS), ("seed", "image", "class"), "probability", "probability"),
            "U_e": Field(np.array([[0.0, 1.0], [np.nan, 3.0]]), ("seed", "image"), "nat", "scaled"),
        }
    },
    "votes": np.array([[3, 0], [300, 7]]),
    "keys": np.array(["a", "é"]),
    "right": np.array([True, False]),
    "loss": torch.tensor([0.1, 0.2]),
    "curve": pd.DataFrame({"loss": [1.5, 1.0], "note": ["x", None]}, index=pd.Index([1, 2], name="epoch")),
    "settings": {"epochs": 3, "rate": 1e-3, "name": "adam", "none": None, "bad": float("nan"), "grid": [1, 2.5, "c"]},
    "layers": [np.arange(3), {"a": np.int64(4)}],
}


@pytest.fixture
def path(tmp_path):
    store.write(tmp_path / store.NAME, TREE, ABOUT)
    return tmp_path / store.NAME


def same(a, b):
    """Whether two trees hold the same, types included."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, pd.DataFrame):
        return a.equals(b) and list(a.columns) == list(b.columns) and a.index.equals(b.index)
    return type(a) is type(b) and (a == b or (a != a and b != b))


def edit(path, change, arrays=lambda members: None):
    """Change what about.json says, and the members."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    about = json.loads(members["about.json"])
    arrays(members)
    members["about.json"] = json.dumps(change(about) or about).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


# --- what comes back --------------------------------------------------------------------------------------


def test_a_tree_comes_back_as_rounded_says(path):
    about, tree = store.read(path)
    assert {key: about[key] for key in ABOUT} == ABOUT
    assert about["format"] == store.FORMAT
    assert same(tree, store.rounded(TREE))
    assert [about["arrays"]["arms/UncNet/probs"][key] for key in ("dims", "unit", "shape", "dtype", "stored")] == [
        ["seed", "image", "class"], "probability", [2, 2, 3], "<f8", "<u2",
    ]  # fmt: skip
    arm = tree["arms"]["UncNet"]
    np.testing.assert_array_equal(arm["probs"][0] * 65535, [[13107, 16384, 36044], [65535, 0, 0]])  # by hand
    np.testing.assert_allclose(arm["U_e"], [[0, 1], [np.nan, 3]], atol=3 / 65534)
    assert arm["U_e"][0, 0] == 0 and arm["U_e"][1, 1] == 3  # the ends are met
    assert tree["votes"].dtype == np.int64 and about["arrays"]["votes"]["stored"] == "<u2"
    assert tree["loss"].dtype == np.float32 and tree["loss"].tolist() == TREE["loss"].tolist()
    assert tree["keys"].tolist() == ["a", "é"] and tree["right"].tolist() == [True, False]
    assert (
        tree["curve"].index.name == "epoch" and tree["curve"].loc[1, "note"] == "x" and tree["curve"].isna().sum().sum()
    )
    assert np.isnan(tree["settings"].pop("bad"))
    assert tree["settings"] == {"epochs": 3, "rate": 1e-3, "name": "adam", "none": None, "grid": [1, 2.5, "c"]}
    assert tree["layers"][1] == {"a": 4}
    tree["votes"][0, 0] = 9  # it is the reader's own


def test_equal_content_gives_equal_bytes_that_numpy_reads_without_pickle(path, tmp_path):
    again = tmp_path / "again.npz"
    store.write(again, TREE, ABOUT)
    assert again.read_bytes() == path.read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["again.npz", store.NAME]
    with np.load(path, allow_pickle=False) as file:
        assert file["votes"].tolist() == TREE["votes"].tolist()
    about, tree = store.read(path)
    store.write(again, {"votes": tree["votes"]}, about)  # what is read can be written
    assert store.read(again)[1]["votes"].tolist() == TREE["votes"].tolist()


leaves = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text()
kept = arrays_of.arrays(
    st.sampled_from([bool, np.int8, np.int64, np.uint64, np.float32, np.float64, ">f8", "U3"]),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
trees = st.dictionaries(
    st.text(min_size=1).filter(lambda key: "/" not in key and key.isprintable()),
    st.recursive(leaves | kept, lambda inner: st.lists(inner) | st.dictionaries(st.just("a"), inner), max_leaves=5),
    max_size=3,
)


@given(trees)
def test_any_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("any") / "e.npz"
    store.write(path, tree, ABOUT)
    back = store.read(path)[1]
    assert same(back, store.rounded(tree))
    assert same(back, store.rounded(back))


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([0.01, 1.0, 100.0]))
def test_probabilities_sum_to_one_again_and_are_off_by_less_than_a_step(seed, n_classes, concentration):
    p = np.random.default_rng(seed).dirichlet(np.full(n_classes, concentration), 20).astype(np.float32)
    q = store.rounded({"p": Field(p, encoding="probability")})["p"]
    assert ((q * 65535).round().sum(-1) == 65535).all()
    np.testing.assert_allclose(q.sum(-1), 1, rtol=1e-14)
    assert abs(q - p / p.sum(-1, keepdims=True, dtype=float)).max() < 1 / 65535 and (q >= 0).all()
    np.testing.assert_array_equal(store.rounded({"q": Field(q, encoding="probability")})["q"], q)


def test_cells_of_tables_are_within_1e_4_of_what_the_unrounded_arrays_give():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(7, 0.5), 3000)
    truth = rng.dirichlet(np.full(7, 0.5), 3000)
    labels = np.array([rng.choice(7, p=row) for row in p])
    loss = rng.gamma(1.0, 1.0, 3000)
    kept = {"p": Field(p, encoding="probability"), "loss": Field(loss, encoding="scaled")}
    q = store.rounded(kept)
    cells = {
        "mean": lambda p, loss: loss.mean(),
        "r": lambda p, loss: np.corrcoef(p.max(-1), loss)[0, 1],
        "accuracy": lambda p, loss: (p.argmax(-1) == labels).mean(),
        "ECE": lambda p, loss: metrics.expected_calibration_error(p, labels),
        "Brier": lambda p, loss: metrics.brier_score(p, labels),
        "JS": lambda p, loss: metrics.jensen_shannon_divergence(p, truth).mean(),
    }
    off = {name: abs(float(cell(p, loss)) - float(cell(q["p"], q["loss"]))) for name, cell in cells.items()}
    assert max(off.values()) < 1e-4, off


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (object(), "a: a object cannot be kept; give arrays"),
        (np.array([object()]), "a: has the type object, which is not kept; give"),
        (np.array([1j]), "a: has the type complex128"),
        (torch.zeros(2, dtype=torch.bfloat16), "a: .*BFloat16; convert it"),
        ({3: 1}, "a: has the key 3; make it a string"),
        ({"b/c": np.ones(1), "b": {"c": np.ones(1)}}, "a/b/c: is the name of two arrays; leave / out"),
        (pd.DataFrame({"t": [pd.Timestamp(0)]}), "a/data/0/0: a Timestamp cannot be kept"),
        (pd.DataFrame({("a", "b"): [1]}), "a: has rows or columns of several levels; call reset_index"),
        (Field(np.ones((2, 3)), ("seed",)), "a: has 2 axes and 1 dims; name each axis"),
        (Field(np.ones(2), encoding="zip"), "a: encoding 'zip'; use one of exact, probability, scaled"),
        (Field(np.array([1, 0]), encoding="probability"), "a: is no float for 'probability'"),
        (Field(np.array([0.5, 0.6]), encoding="probability"), "a: is not between 0 and 1 with the sum 1; use 'scaled'"),
        (Field(np.array([np.nan, 1]), encoding="probability"), "a: is not between"),
        (Field(np.array([np.inf]), encoding="scaled"), "a: is infinite somewhere; keep it as 'exact'"),
        (Field(np.array([-1e308, 1e308]), encoding="scaled"), "a: has too wide a range"),
        (Field(np.ones((1, 2)), ("seed", "image")), "a: the axis seed has 1, the experiment 2: .*another name"),
    ],
)
def test_what_cannot_be_kept_is_named(tmp_path, leaf, message):
    with pytest.raises(EvidenceError, match=message):
        store.write(tmp_path / "e.npz", {"a": leaf}, ABOUT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about | {"format": 2}, "format: is 2, this version reads 1; update the checkout"),
        (lambda about: about | {"format": 0}, "format: is 0, this version reads 1; run the notebook again"),
        (lambda about: [1], "about.json: says nothing of its format; run"),
        (lambda about: about.pop("seeds") and None, "about.json: seeds: Field required; run"),
        (lambda about: about | {"shareable": "yes"}, "about.json: shareable: Input should be a valid boolean"),
        (lambda about: about | {"seeds": [0, 1, 2]}, "arms/UncNet/probs: the axis seed has 2, the experiment 3"),
        (lambda about: about | {"seeds": [1, 1]}, "seeds: names a seed twice"),
        (lambda about: about["arrays"].pop("votes") and None, "votes.npy: is not described in about.json; restore"),
        (
            lambda about: about["arrays"]["votes"].update(shape=[4]),
            r"votes: is <u2 \[2, 2\], about.json says <u2 \[4\]",
        ),
        (lambda about: about["arrays"]["votes"].update(stored="<u4"), "votes: is <u2 .*, about.json says <u4"),
        (
            lambda about: about["arrays"]["votes"].update(encoding="zip"),
            "about.json: arrays, votes, encoding: Input should be",
        ),
        (lambda about: about | {"tree": {"dict": {"a": {"array": "b"}}}}, "tree: does not fit its arrays"),
        (lambda about: about | {"tree": {"pickle": 1}}, "tree: does not fit its arrays .*nothing that is kept"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named_with_its_field_and_a_cure(path, change, message):
    edit(path, change)
    with pytest.raises(EvidenceError, match=f"{path}, {message}"):
        store.read(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            lambda members: members.pop("votes.npy"),
            "votes.npy: is missing; restore the file, or run the notebook again",
        ),
        (lambda members: members.update({"votes.npy": members["keys.npy"]}), "votes: has another checksum"),
        (lambda members: members.update({"more.npy": b""}), "more.npy: is not described in about.json"),
    ],
)
def test_arrays_that_are_missing_others_or_too_many(path, arrays, message):
    edit(path, lambda about: None, arrays)
    with pytest.raises(EvidenceError, match=f"{path}, {message}"):
        store.read(path)


def test_a_file_that_is_cut_or_is_none_or_is_not_there(path):
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], content[:-30], b"", b"no zip"):
        path.write_bytes(broken)
        with pytest.raises(EvidenceError, match=f"{path}: is no evidence, or was cut .*; restore it, or run"):
            store.read(path)
    path.unlink()
    with pytest.raises(EvidenceError, match=f"{path}: is missing"):
        store.read(path)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "/".join(path.parts[-4:-1]))
def test_every_array_of_committed_evidence_names_its_axes(path):
    arrays = store.read(path)[0]["arrays"]
    assert [name for name, array in arrays.items() if array["dims"] is None] == []


def test_what_may_not_be_committed_can_still_be_read(tmp_path):
    path = tmp_path / store.NAME
    noise = np.random.default_rng(0).random(400_000)
    cases = [
        (TREE, {"shareable": False}, "shareable: is not shareable; it stays with its reader"),
        (TREE, {"corpus": "iemocap"}, "corpus: evidence made on iemocap is not shared"),
        ({"a": noise}, {}, r"evidence.npz: 3\.\d MB are more than the 3 that may be committed; keep fewer seeds"),
    ]
    for tree, changed, message in cases:
        store.write(path, tree, ABOUT | changed)
        store.read(path)
        with pytest.raises(EvidenceError, match=message):
            store.check_committable(path)
    store.write(path, TREE, ABOUT)
    assert store.check_committable(path)["corpus"] == "ferplus"
