"""What every public metric and loss makes of awkward numbers: `make numerics` writes the table to `results/stress`.

A cell is a result, or the ValueError that refuses the input. Anything else is a defect: another error, a warning, a
NaN or infinity that no docstring has, a number where a NaN went in, or a gradient that is not finite.
"""

import importlib
import math
import pkgutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uncertain_affect import losses, metrics
from uncertain_affect.compute.paths import project_root
from uncertain_affect.models.pen import Mixture

FOLDER = project_root() / "results" / "stress"
C = 3  # classes, or action units
LARGE = 10_000_000
AS_ORDINARY = "takes none of it"
PRIVATE = {"uncertain_affect.metrics.inputs"}  # what the metrics check their inputs with


def public() -> dict[str, object]:
    """Every public function and class of metrics and losses but the named tuples, which only hold results."""
    found = {}
    for package in (metrics, losses):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if info.name in PRIVATE or info.name.rpartition(".")[2].startswith("_"):
                continue
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                is_own = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
                if is_own and callable(value) and not hasattr(value, "_fields"):
                    found[f"{info.name.removeprefix('uncertain_affect.')}.{name}"] = value
    return found


# --- inputs ---------------------------------------------------------------------------------------------------------


class Problem:
    """Everything that metrics and losses take, in attributes, and the names of those that were taken."""

    def __init__(self, n: int):
        self.n, self.taken = n, set()

    def __getattribute__(self, name: str) -> object:
        value = object.__getattribute__(self, name)
        if isinstance(value, np.ndarray):
            self.taken.add(name)
        return value


INPUTS = (
    "ordinary", "float16", "float64", "0 and 1", "certain and wrong", "logits ±1e4", "equal labels", "NaN", "infinite",
    "NaN labels", "N = 0", "N = 1", "N = 1e7",
)  # fmt: skip


def problem(kind: str = "ordinary") -> Problem:
    """What there is of an input: eight examples in float32 unless its name is of another number or type."""
    n = {"N = 0": 0, "N = 1": 1, "N = 1e7": LARGE}.get(kind, 8)
    dtype = kind if kind.startswith("float") else "float32"
    rng = np.random.default_rng(0)
    p = Problem(n)
    p.logits = rng.normal(size=(n, C), scale=2).astype(dtype)
    p.labels = rng.integers(C, size=n)
    p.x, p.y = (rng.normal(size=(n, 2)).astype(dtype) for _ in range(2))
    p.uncertainty = rng.normal(size=n).astype(dtype)
    p.votes = rng.multinomial(10, [0.5, 0.3, 0.2], size=n)
    p.units = rng.integers(2, size=(n, C))
    p.target = rng.normal(size=(n, 2)).astype(dtype)
    p.performance = rng.normal(size=(min(n, 5), 2)).astype(dtype)
    if kind in ("0 and 1", "certain and wrong"):
        right = np.eye(C)[p.labels] if kind == "0 and 1" else np.eye(C)[(p.labels + 1) % C]
        p.probs, p.votes = right.astype(dtype), 10 * np.eye(C, dtype=int)[p.labels]
        p.teachers = p.probs
    else:
        if kind == "logits ±1e4":
            p.logits = np.where(rng.random((n, C)) < 0.5, -1e4, 1e4).astype(dtype)
            p.x, p.uncertainty = p.logits[:, :2], p.logits[:, 0]
        p.teachers = _softmax(p.logits)
        # metrics are given the logits themselves
        p.probs = p.logits if kind == "logits ±1e4" else p.teachers
    if kind == "equal labels":
        p.labels[:], p.units[:], p.y[:], p.target[:] = 1, 1, 1, 1
        p.votes = 10 * np.eye(C, dtype=int)[p.labels]
    if kind in ("NaN", "infinite"):
        value = np.nan if kind == "NaN" else np.inf
        p.probs = p.probs.copy()  # teachers stay as they are
        p.probs[-1, 0] = p.logits[-1, 0] = p.x[-1, 0] = p.uncertainty[-1] = p.performance[-1, 0] = value
    if kind == "NaN labels":
        p.labels, p.units, p.votes = (part.astype(dtype) for part in (p.labels, p.units, p.votes))
        p.teachers = p.teachers.copy()
        p.labels[-1] = p.units[-1, 0] = p.votes[-1, 0] = p.y[-1, 0] = p.target[-1, 0] = p.teachers[-1, 0] = np.nan
    p.taken.clear()
    return p


def _softmax(logits: np.ndarray) -> np.ndarray:
    # in place, since there are ten million rows in one of the cases
    e = logits - logits.max(-1, keepdims=True) if len(logits) else logits.copy()
    np.exp(e, out=e)
    e /= e.sum(-1, keepdims=True)
    return e


# --- what is given to what ------------------------------------------------------------------------------------------


def _samples(p: Problem) -> np.ndarray:
    return np.stack([p.probs, np.roll(p.probs, 1, -1)])


def _calibration_sums(p: Problem, n_bins: int = 10) -> np.ndarray:
    """Sums of made-up terms, so that also those can be odd that `calibration_sums` would not let through."""
    bins = np.arange(p.n) % n_bins
    terms = np.ones(p.n), p.probs.max(-1, initial=0), np.minimum(p.labels, 1)
    return np.concatenate([np.bincount(bins, weights=term, minlength=n_bins) for term in terms])


# sums over examples, added up as all who use them do
SUMS = {
    "moment_sums": lambda p: metrics.moment_sums(p.x[:, 0], p.y[:, 0]).sum(0),
    "ratio_sums": lambda p: metrics.ratio_sums(p.uncertainty, p.votes[:, 0]).sum(0),
    "f1_sums": lambda p: metrics.f1_sums(p.units[:, 0], p.labels).sum(0),
}


def _tensor(values: np.ndarray, gradient: bool = False) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).requires_grad_(gradient)


def _clips(values: np.ndarray, gradient: bool = False) -> torch.Tensor:
    """(B, T, ...) of N frames: two clips where N is even."""
    values = _tensor(values)
    clips = 2 if len(values) and len(values) % 2 == 0 else 1
    return values.unflatten(0, (clips, -1)).requires_grad_(gradient)


def _mixture(p: Problem, of: Callable) -> object:
    mean, logits = _tensor(p.x, True), _tensor(p.logits, True)
    gate = torch.softmax(logits, -1)
    return _with_gradient(of(Mixture(mean, gate, logits, mean[..., None, :])), mean, logits)


def _tasks(p: Problem, of: Callable) -> object:
    values, logits = _tensor(p.x[:, :1], True), _tensor(p.logits[:, None], True)
    targets = _tensor(np.concatenate([p.labels[:, None], p.y[:, :1]], 1).astype(p.x.dtype))
    return _with_gradient(of(values, logits, targets), values, logits)


def _teachers_bins(p: Problem) -> np.ndarray:
    """(N, 2, 20) probabilities of the bins, three of which the teachers think of."""
    bins = np.zeros((p.n, 2, 20), p.teachers.dtype)
    bins[:, 0, :C], bins[:, 1, -C:] = p.teachers, p.teachers
    return bins


def _with_gradient(loss: torch.Tensor, *arguments: torch.Tensor) -> object:
    """The loss, and the gradients of what it was computed from; a bare loss where those are as large as the data."""
    if arguments[0].numel() > 10**6:
        return loss.detach()
    return loss.detach(), *torch.autograd.grad(loss.sum(), arguments)


def _of(loss: Callable, of_clips: bool, *names: str) -> Callable:
    """Give a loss of predictions the attributes ``names`` of a problem; the first is differentiated."""

    def case(p: Problem) -> object:
        give = _clips if of_clips else _tensor
        first = give(getattr(p, names[0]), True)
        return _with_gradient(loss(first, *(give(getattr(p, name)) for name in names[1:])), first)

    return case


def _of_bins(p: Problem, loss: Callable, targets: np.ndarray) -> object:
    """Give a loss (N, 40) logits of valence and arousal."""
    bins = np.resize(p.logits.T, (40, p.n)).T if p.n else np.empty((0, 40), p.logits.dtype)
    logits = _clips(bins, True)
    return _with_gradient(loss(logits, _clips(targets)), logits)


def _balanced(p: Problem) -> torch.Tensor:
    balancer = losses.TaskBalancer(1, 2)
    for epoch in _tensor(p.performance):
        balancer.update(epoch[None])
    return balancer.weights


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _information(p: Problem) -> np.ndarray:
    # classes are counted; nearest neighbours among ten million numbers would take hours
    if p.n == LARGE:
        args = (p.labels, p.units[:, :2])
        return losses.rock.mutual_information(*args, _rng(), primary_is_class=True, categorical=[True, True])
    return losses.rock.mutual_information(p.y[:, 0], p.x, _rng())


def _few_losses(p: Problem) -> tuple:
    """So many tasks, or with ten million so many copies of two, one of which is off."""
    values = _tensor(p.x[:, 0])
    if p.n == LARGE:
        return [values], torch.full((p.n, 2), 0.5)
    return list(values), torch.full((p.n,), 1 / max(p.n, 1))


TWO = (True, False)  # a class and a number


def _each(arguments: Callable[[Problem], tuple], *functions: Callable) -> dict[str, Callable[[Problem], object]]:
    """Cases of functions that take the same arguments, by their names."""
    return {
        f"{f.__module__.removeprefix('uncertain_affect.')}.{f.__name__}": lambda p, f=f: f(*arguments(p))
        for f in functions
    }


CASES: dict[str, Callable[[Problem], object]] = {
    **_each(
        lambda p: (p.probs, p.labels),
        metrics.brier_score,
        metrics.brier_decomposition,
        metrics.calibration_sums,
        metrics.expected_calibration_error,
        metrics.maximum_calibration_error,
        metrics.reliability_curve,
        metrics.static_calibration_error,
        metrics.adaptive_calibration_error,
        metrics.thresholded_adaptive_calibration_error,
    ),
    **_each(
        lambda p: (p.probs, p.labels, _rng(), metrics.expected_calibration_error, 2 if p.n == LARGE else 20),
        metrics.calibrated_reference,
    ),
    **_each(lambda p: (_calibration_sums(p),), metrics.ece_from_sums, metrics.mce_from_sums),
    **_each(lambda p: (p.x[:, 0], p.y[:, 0]), metrics.ccc, metrics.rmse),
    **{f"metrics.sums.{name}": of for name, of in SUMS.items()},
    **_each(
        lambda p: (SUMS["moment_sums"](p),), metrics.rmse_from_sums, metrics.ccc_from_sums, metrics.pearson_from_sums
    ),
    **_each(lambda p: (SUMS["ratio_sums"](p),), metrics.ratio),
    **_each(lambda p: (SUMS["f1_sums"](p),), metrics.f1_from_sums),
    **_each(lambda p: p.votes.sum(0), metrics.f1_from_counts),
    **_each(lambda p: (p.votes,), metrics.annotator_disagreement),
    # with ten million examples each split takes a minute
    **_each(lambda p: (p.votes, _rng(), 1 if p.n == LARGE else 20), metrics.split_half_reliability),
    **_each(_samples, metrics.jensen_shannon_distance, metrics.jensen_shannon_divergence),
    **_each(lambda p: (p.uncertainty, p.y[:, 0]), metrics.area_under_risk_coverage),
    **_each(lambda p: (p.uncertainty, p.units[:, 0]), metrics.auroc),
    **_each(lambda p: (p.probs, p.labels, p.uncertainty, 0.75), metrics.accuracy_at_coverage),
    **_each(lambda p: (p.probs, p.labels, p.uncertainty), metrics.accuracy_rejection_curve),
    **_each(lambda p: (p.uncertainty,), metrics.rejection_order),
    **_each(lambda p: (p.probs,), metrics.entropy),
    **_each(lambda p: (_samples(p),), metrics.entropy_decomposition, metrics.bernoulli_entropy_decomposition),
    "losses.ugn.action_unit_cross_entropy": _of(losses.action_unit_cross_entropy, False, "logits", "units"),
    "losses.ugn.occurrence_weights": lambda p: losses.occurrence_weights(_tensor(p.units)),
    "losses.rock.draw_primary_weight": lambda p: losses.rock.draw_primary_weight(_rng()),
    "losses.rock.loss_weights": lambda p: losses.rock.loss_weights("linear", 0.6, _rng(), p.probs[:, 0]),
    "losses.rock.multi_task_loss": (
        lambda p: _tasks(p, lambda y, z, of: losses.rock.multi_task_loss(y, z, of, y.new_tensor([0.6, 0.4]), TWO))
    ),
    "losses.rock.mutual_information": _information,
    "losses.rock.task_losses": lambda p: _tasks(p, lambda *args: losses.rock.task_losses(*args, TWO)),
    "losses.rock.without_families": (
        lambda p: losses.rock.without_families(p.probs[:, 0], ["primary", "a", *"h" * (p.n - 2)][: p.n], ["a"])
    ),
    "losses.distill.TaskBalancer": _balanced,
    "losses.distill.au_distillation": _of(losses.au_distillation, True, "logits", "teachers"),
    "losses.distill.au_loss": _of(losses.au_loss, True, "logits", "units"),
    "losses.distill.balancing_trace": lambda p: losses.balancing_trace(_tensor(p.performance)),
    "losses.distill.ccc_loss": _of(lambda x, y: losses.ccc_loss(x[..., 0], y[..., 0]), True, "x", "y"),
    "losses.distill.class_weights": lambda p: losses.class_weights(_tensor(p.labels), C),
    "losses.distill.expr_distillation": _of(losses.expr_distillation, True, "logits", "teachers"),
    "losses.distill.expr_loss": _of(losses.expr_loss, True, "logits", "labels"),
    "losses.distill.landmark_loss": _of(losses.landmark_loss, True, "x", "y"),
    "losses.distill.multitask_loss": lambda p: losses.multitask_loss(*_few_losses(p)),
    "losses.distill.positive_weights": lambda p: losses.positive_weights(_tensor(p.units)),
    "losses.distill.va_distillation": lambda p: _of_bins(p, losses.va_distillation, _teachers_bins(p)),
    "losses.distill.va_loss": lambda p: _of_bins(p, losses.va_loss, p.target),
    "losses.pen.affect_squared_error": _of(losses.affect_squared_error, False, "x", "y"),
    "losses.pen.gate_activation_l1": _of(losses.gate_activation_l1, False, "logits"),
    "losses.pen.gate_cross_entropy": _of(losses.gate_cross_entropy, False, "logits", "labels"),
    "losses.pen.pen_adaptation_loss": (
        lambda p: _mixture(p, lambda m: losses.pen_adaptation_loss(m, _tensor(p.y), 0.1))
    ),
    "losses.pen.pen_gate_loss": _of(lambda z, k: losses.pen_gate_loss(z, k, 0.1), False, "logits", "labels"),
    "losses.pen.pen_source_loss": (
        lambda p: _mixture(p, lambda m: losses.pen_source_loss(m, _tensor(p.y), _tensor(p.labels), 0.1, 0.1))
    ),
    "losses.uncnet.soft_label_cross_entropy": _of(losses.soft_label_cross_entropy, False, "logits", "teachers"),
}


# --- cells ----------------------------------------------------------------------------------------------------------


def cell(name: str, given: str) -> tuple[str, str]:
    """What a function makes of an input, and the defect in it, empty where there is none."""
    p = problem(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = CASES[name](p)
        except ValueError as error:
            return f"ValueError: {error}", "" if str(error) else "an error without a message"
        except Exception as error:
            return f"{type(error).__name__}: {error}", "another error than ValueError"
    if given != "ordinary" and _takes_what_is_ordinary(p):
        return AS_ORDINARY, ""
    return _shown(result), _defect(name, result, p)


def _takes_what_is_ordinary(p: Problem) -> bool:
    usual = problem()
    taken = [(getattr(p, name), getattr(usual, name)) for name in sorted(p.taken)]
    return p.n == usual.n and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in taken)


def _defect(name: str, result: object, p: Problem) -> str:
    parts = [part for part in _numbers(result) if part.size]
    if not parts:
        return "an empty result"
    is_finite = all(np.isfinite(part).all() for part in parts)
    taken = [getattr(p, name) for name in sorted(p.taken)]
    # what a docstring has to say of NaN, but for what is refused
    documented = "NaN" in (public()[name].__doc__ or "").partition("Raises:")[0]
    if is_finite and any(np.isnan(part).any() for part in taken) and not documented:
        return "a number although NaN went in"
    # losses say it in the docstring of their package
    documented = documented or (name.startswith("losses.") and not all(np.isfinite(part).all() for part in taken))
    return "" if is_finite or documented else "NaN or infinity that no docstring has"


def _numbers(result: object) -> list:
    """The arrays that make up a result."""
    if isinstance(result, tuple):
        return [part for item in result for part in _numbers(item)]
    return [result.detach().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)]


def _shown(result: object) -> str:
    """A number as it is, an array by its range and its NaN; of a loss with gradients the loss, then their range."""
    first, *others = _numbers(result)
    if hasattr(result, "_fields"):
        return ", ".join(f"{f} {_range(v)}" for f, v in zip(result._fields, [first, *others], strict=True))
    return (
        f"{_range(first)}; gradient {_range(np.concatenate([g.ravel() for g in others]))}" if others else _range(first)
    )


def _range(values: np.ndarray) -> str:
    """Shortened so far that processors do not differ: four digits, and nothing below a billionth."""

    def number(value: float) -> str:
        return "NaN" if math.isnan(value) else f"{0.0 if abs(value) < 1e-9 else value:.4g}"

    values = values.astype(np.float64)
    finite = values[~np.isnan(values)]
    if values.size <= 1 or not finite.size:
        return number(float(values.flat[0])) if values.size else "empty"
    low, high = number(float(finite.min())), number(float(finite.max()))
    shown, missing = low if low == high else f"{low} to {high}", values.size - finite.size
    return f"{shown}, {missing} NaN" if missing else shown


def table(inputs: Sequence[str], note: Callable[[str], None] = lambda _: None) -> tuple[pd.DataFrame, dict]:
    """Cells by function and input, and the defects."""
    rows, defects = {}, {}
    for name in sorted(CASES):
        start = time.perf_counter()
        rows[name] = {}
        for given in inputs:
            rows[name][given], defect = cell(name, given)
            if defect:
                defects[name, given] = defect
        note(f"{name}: {time.perf_counter() - start:.0f} s")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("function"), defects


def write(cells: pd.DataFrame, folder: Path) -> None:
    """The table as csv, and as Markdown with a list for each function, since errors are long."""
    folder.mkdir(parents=True, exist_ok=True)
    cells.to_csv(folder / "numerics.csv")
    lines = [
        "# Awkward numbers",
        "",
        "What every public metric and loss makes of them; written by `make numerics` from `tests/stress/numerics.py`,",
        "which says what each input is. An array is shown by its range; behind a loss stands that of its gradient.",
    ]
    for name, row in cells.iterrows():
        lines += ["", f"## {name}", "", "| input | what comes of it |", "|---|---|"]
        lines += [f"| {given} | {shown.replace('|', '&#124;')} |" for given, shown in row.items()]
    (folder / "numerics.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    cells, defects = table(INPUTS, print)
    for (name, given), defect in defects.items():
        print(f"{name}, {given}: {defect}: {cells.loc[name, given]}")
    write(cells, FOLDER)
    print(f"{cells.size} cells, {len(defects)} of them defects")
    return int(bool(defects))


if __name__ == "__main__":
    sys.exit(main())
