"""The command ``uncertain-affect``."""

import argparse
import logging
import os
import sys
import textwrap
from pathlib import Path

import uncertain_affect

DATA_ROOT = "folder with one folder per corpus (default: $UNCERTAIN_AFFECT_DATA, else data in the checkout)"


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 something failed, 2 bad input."""
    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except (ValueError, OSError) as problem:
        message = str(problem) or type(problem).__name__  # a time-out has none
        print(f"uncertain-affect: {message}", file=sys.stderr)
        return 2 if isinstance(problem, ValueError | FileNotFoundError) else 1  # the disk's trouble is nobody's wish
    except KeyboardInterrupt:
        # the cell that was cut off is reported once more, as an exception nobody retrieved, when asyncio tidies up
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        print("uncertain-affect: interrupted; run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uncertain-affect", description=uncertain_affect.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, help: str, among=commands):
        """Add a command; returns what adds its options."""
        added = among.add_parser(name, help=help)
        added.set_defaults(command=run)
        return added.add_argument

    add = command("reproduce", _reproduce, "run notebooks and write results/local")
    add("notebook", nargs="*", help="number or name, e.g. 12 or 12_uncnet_calibration (default: all)")
    add("--only", nargs="+", default=[], metavar="NOTEBOOK", help="the same, as an option")
    add("--paper", help="all notebooks of one paper, e.g. uncnet")
    add("--claim", help="the notebook that judges a claim, e.g. ugn.c3")
    add("--table", help="the notebook of a table or figure, e.g. ugn.table1 or pen.figure2")
    add("--dry-run", action="store_true", help="list what would run, and for how long")
    add("--corpus", help="corpus to run on (default: the first that is there)")
    add("--data-root", type=_folder, help=DATA_ROOT)
    add("--profile", choices=["recorded", "quick", "full"], default="quick", help="recorded trains nothing")
    pair = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    add("-p", "--parameter", **pair, help="set a notebook parameter, e.g. -p SEED 7")
    where, cores = commands.choices["reproduce"].add_mutually_exclusive_group(), os.cpu_count() or 1
    where.add_argument("--workers", type=_positive(int), default=cores, help="processes here (default: one per core)")
    add("--share-gpus", action="store_true", help="several processes on a GPU (default: one for each GPU)")
    where.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="run on the workers of a Dask cluster")
    where.add_argument("--slurm", type=_positive(int), metavar="JOBS", help="run on so many SLURM jobs")
    add("--time-limit", type=_positive(float), metavar="MINUTES", help="of each notebook")
    add("--memory-limit", type=_positive(float), metavar="GIB", help="of each notebook")
    add("--html", action="store_true", help="write each executed notebook as a page as well")

    add = command("record", _record, "promote finished full runs to the committed results")
    add("run", nargs="*", type=Path, help="folder of a finished run (default: all under results/local)")
    add("--demonstration", action="store_true", help="quick runs too, where their paper has no full one on the corpus")
    generated = "the scoreboard and the README's summary"
    add("--refresh", action="store_true", help=f"only rebuild {generated}")
    add("--outputs", nargs="+", metavar="NOTEBOOK", help="only run these with what is recorded, and keep their outputs")

    add = command("evaluate", _evaluate, "measure the uncertainty of predictions made elsewhere")
    arrays = "probs (T, N, C) or (N, C), and labels (N,) or votes (N, C); groups (N,) where examples belong together"
    add("predictions", type=Path, help=f".npz or .pt with {arrays}; or .csv, or .npy of probs")
    corpora = "simulated, ferplus or meld (default: the file's)"
    add("--corpus", help=f"with the labels or votes of its test split: {corpora}")
    add("--data-root", type=_folder, help=DATA_ROOT)
    add("--csv", type=Path, metavar="FILE", help="write the table as well")
    add("--seed", type=int, help="of the simulated world (default: 0)")

    add = command("cache", _cache, "list or remove what was cached")
    add("action", choices=["list", "prune"])
    add("--kind", help="entries of one kind, e.g. networks")
    add("--unused", type=float, metavar="DAYS", help="prune what nobody has used for so long; 0: all")

    add = command("bench", _bench, "time the whole quick reproduction, notebook by notebook")
    add("notebook", nargs="*", help="number or name (default: all of the papers)")
    add = command(
        "check-gpu", _check_gpu, "does all of it run on this GPU, and how far is it from the CPU? five minutes"
    )
    add("--device", default="cuda", help="cuda:1 for the second (default: cuda)")
    add = command("verify", _verify, "check recorded results: form, checksums, what follows from their evidence")
    add("folder", nargs="*", type=Path, help="of one run, or above several (default: results and your own runs)")
    add("--quick-look", action="store_true", help="form and checksums only: nothing is recomputed from evidence")

    data = commands.add_parser("data", help="list, check and fetch corpora").add_subparsers(
        required=True, metavar="ACTION"
    )
    command("list", _data_list, "every corpus: what for, its terms, how to get it, found or not", data)
    add = command("check", _data_check, "compare the files of a corpus with what was published", data)
    add("corpus", help="e.g. iemocap")
    add = command("get", _data_get, "fetch what may be fetched, and say how to get the rest", data)
    add("corpus", help="ferplus-votes, meld, emobank or ceap360vr; or facenet-casia, UncNet's face network")
    for action in data.choices.values():
        action.add_argument("--data-root", "--to", type=_folder, help=DATA_ROOT)
    return parser


def _folder(text: str) -> str:
    """A path that the reader gives, who means it from where they are."""
    return os.path.abspath(os.path.expanduser(text))


def _positive(kind: type):
    def number(text: str):
        if not (value := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    number.__name__ = kind.__name__
    return number


def _reproduce(args) -> int:
    # papermill and torch take seconds to import: only where they are needed
    from uncertain_affect.compute import parallel, paths
    from uncertain_affect.run import layout, reproduce

    parameters = {"PROFILE": args.profile, **dict(args.parameter)}
    chosen = reproduce.select([*args.notebook, *args.only], args.paper, claim=args.claim, table=args.table)
    on = {"corpus": args.corpus, "root": args.data_root, "parameters": parameters}
    if args.dry_run:
        print(reproduce.plan_table(reproduce.plan(chosen, **on)))
        if args.slurm:
            with parallel.slurm_cluster() as jobs:
                print(f"\nEach of {args.slurm} jobs:\n{jobs.job_script()}")
        return 0
    limits = {"seconds": 60 * (args.time_limit or 0), "memory": 2**30 * (args.memory_limit or 0)}
    outcomes = reproduce.reproduce(
        chosen,
        **on,
        workers=args.workers,
        share_gpus=args.share_gpus,
        scheduler=args.scheduler,
        slurm_jobs=args.slurm,
        options=reproduce.RunOptions(html=args.html, **{name: limit for name, limit in limits.items() if limit}),
        progress=print,
    )
    print(reproduce.summary(outcomes))
    alone = {o.notebook: layout.about(o.notebook).get("corpora") for o in outcomes if o.corpus == layout.NO_CORPUS}
    without = {name: own for name, own in alone.items() if own}
    if without:
        wanted = sorted({name for names in without.values() for name in names})
        print(
            f"\nNo corpus for {', '.join(without)}: only the parts that need none were run (the audit of the printed "
            "numbers, and everything computed without labels).\n"
            f"To measure, have one of {', '.join(wanted)} in {paths.data_root(args.data_root)}, or set DATA_ROOT or "
            f"--data-root; `uncertain-affect data get {wanted[0]}` says how to get it."
        )
    failures = [o for o in outcomes if o.error]
    for outcome in failures:
        print(
            f"{outcome.notebook} failed: {outcome.error}", *filter(None, [outcome.traceback]), sep="\n", file=sys.stderr
        )
    return 1 if failures else 0


def _record(args) -> int:
    from uncertain_affect.run import publish, reproduce

    if args.outputs:
        if args.run or args.refresh:
            raise ValueError("--outputs takes notebooks alone: it promotes no run")
        for path in publish.refresh_outputs(reproduce.select(args.outputs)):
            print(f"refreshed {path}")
    elif args.refresh:
        if args.run:
            raise ValueError("--refresh takes no runs: it rebuilds what follows from those that are committed")
        publish.write_scoreboard()
    else:
        for target in publish.promote_all(args.run, args.demonstration):
            print(f"recorded {target}")
    return 0


def _evaluate(args) -> int:
    import numpy as np

    from uncertain_affect.compute.replacing import replacing
    from uncertain_affect.evidence import evaluate
    from uncertain_affect.run.pages import page

    if args.seed is not None and args.corpus != "simulated":
        raise ValueError("--seed is that of the simulated world: it needs --corpus simulated")
    if args.csv and args.csv.exists() and not args.csv.is_file():
        raise ValueError(f"--csv: {args.csv} is no file, and is not replaced by one")  # a device or a folder
    if args.csv and args.csv.suffix == ".npz":
        raise ValueError(f"--csv: {args.csv} is the name of predictions; give one that ends in .csv")
    arrays = evaluate.read(args.predictions, known=args.corpus is not None)
    probs = arrays["probs"]
    known = None
    if args.corpus is not None:
        from uncertain_affect.papers.across import tasks as across_tasks

        known = across_tasks.known(args.corpus, args.data_root, args.seed or 0)
    try:
        if known is None:
            cases = evaluate.Cases(arrays.get("labels", arrays.get("votes")), arrays.get("groups"))
        else:
            cases = known.cases_of(probs.shape)
        measured = evaluate.measure(probs, cases)
    except ValueError as problem:
        raise ValueError(f"{args.predictions}: {problem}") from None
    table = evaluate.table(measured, evaluate.references(probs, cases, np.random.default_rng(0)))

    n_clusters = probs.shape[-2] if cases.clusters is None else len(np.unique(cases.clusters))
    sizes = {"n": probs.shape[-2], "n_classes": probs.shape[-1], "n_clusters": n_clusters}
    sizes["n_samples"] = len(probs) if probs.ndim == 3 else 1
    questions = table.groupby("question", sort=False)
    print(page("evaluate.txt.j2", **sizes, questions=questions, unmeasured=evaluate.unmeasured(measured)), end="")
    if args.csv:
        with replacing(args.csv) as partial:
            table.to_csv(partial, index_label="measure", float_format="%.6g", lineterminator="\n")
    return 0


def _cache(args) -> int:
    import time

    from uncertain_affect.compute import cache

    if args.action == "prune":
        if args.kind is None and args.unused is None:
            raise ValueError("cache prune: say which, by --kind or --unused DAYS (0: all)")
        gone = cache.prune(args.kind, args.unused or 0.0)
        print(f"removed {len(gone)} entries, {sum(entry.size for entry in gone) / 1e6:.1f} MB")
        return 0
    entries = [entry for entry in cache.entries() if args.kind in (None, entry.kind)]
    for kind in sorted({entry.kind for entry in entries}):
        own = [entry for entry in entries if entry.kind == kind]
        unfinished = sum(not entry.finished for entry in own)
        days = (time.time() - max(entry.used for entry in own)) / 86400
        print(
            f"{kind:<28} {len(own):>6} entries {sum(entry.size for entry in own) / 1e6:>10.1f} MB, last used "
            f"{days:.0f} days ago{f', {unfinished} unfinished' if unfinished else ''}"
        )
    print(f"{len(entries)} entries, {sum(entry.size for entry in entries) / 1e6:.1f} MB in {cache.cache_dir()}")
    return 0


def _bench(args) -> int:
    return _script("bench", "timing.py")(args.notebook)


def _check_gpu(args) -> int:
    return _script("gpu", "check.py")(["--device", args.device])


def _script(*place: str):
    """The main function of a script among the tests."""
    import runpy

    from uncertain_affect.compute.paths import project_root

    return runpy.run_path(str(project_root().joinpath("tests", *place)))["main"]


def _verify(args) -> int:
    from uncertain_affect.run import verify

    report = verify.verify(args.folder, recompute=not args.quick_look, progress=print)
    print(report)
    return 1 if report.problems else 0


def _data_list(args) -> int:
    from uncertain_affect import corpora
    from uncertain_affect.compute.paths import data_root

    root = data_root(args.data_root)
    print(f"Data root: {root}")
    for name in corpora.KNOWN:
        about = corpora.about(name)
        rows = {"for": about.purpose, "licence": about.licence, "get": about.how_to_get, "expected": about.layout}
        print(f"\n{name}: {about.title} - {'found' if corpora.is_available(name, root) else 'NOT FOUND'}")
        for what, text in rows.items():
            print(textwrap.fill(text, 118, initial_indent=f"  {what:10}", subsequent_indent=" " * 12))
    return 0


def _data_check(args) -> int:
    from uncertain_affect import corpora

    if args.corpus not in corpora.KNOWN:
        raise ValueError(f"no corpus is called {args.corpus!r}; known: {', '.join(corpora.KNOWN)}")
    try:
        table = corpora.check(args.corpus, args.data_root)
    except corpora.CorpusError as problem:
        print(f"{args.corpus}: {problem}")
        return 1
    shown = table.assign(fine=["yes" if fine else "NO" for fine in table["fine"]])
    print(shown.rename_axis(None).to_string(max_colwidth=None))
    wrong = int((~table["fine"]).sum())
    found = f"{wrong} of {len(table)} differ from what was published" if wrong else "as published"
    print(f"\n{args.corpus}: {found}")
    return 1 if wrong else 0


def _data_get(args) -> int:
    from uncertain_affect.compute.paths import data_root
    from uncertain_affect.corpora import download

    download.get(args.corpus, data_root(args.data_root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
