"""The command ``uncertain-affect``."""

import argparse
import logging
import sys
from pathlib import Path

import uncertain_affect


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 something failed, 2 it was asked wrongly."""
    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except (ValueError, FileNotFoundError) as problem:
        print(f"uncertain-affect: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # the cell that was cut off is reported once more, as an exception nobody retrieved, when asyncio tidies up
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        print("uncertain-affect: interrupted; run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uncertain-affect", description=uncertain_affect.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    reproduce = commands.add_parser("reproduce", help="run notebooks and write results/local")
    reproduce.add_argument(
        "notebook", nargs="*", help="number or name, e.g. 12 or 12_uncnet_calibration (default: all)"
    )
    reproduce.add_argument("--paper", help="all notebooks of one paper, e.g. uncnet")
    reproduce.add_argument("--corpus", help="corpus to run on (default: the first that is there)")
    reproduce.add_argument("--data-root", help="folder with one folder per corpus (default: ./data)")
    reproduce.add_argument("--profile", choices=["quick", "full"], default="quick")
    reproduce.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="set a notebook parameter, e.g. -p SEED 7",
    )  # fmt: skip
    reproduce.set_defaults(command=_reproduce)

    record = commands.add_parser("record", help="promote finished runs to the committed results")
    record.add_argument("run", nargs="*", type=Path, help="folder of a finished run (default: all under results/local)")
    record.add_argument(
        "--refresh", action="store_true", help="only rebuild the scoreboard, the README's table and codecheck.yml"
    )
    record.set_defaults(command=_record)

    verify = commands.add_parser("verify", help="check recorded results: form, checksums, what follows from them")
    verify.add_argument(
        "folder", nargs="*", type=Path, help="of one run, or above several (default: results and your own runs)"
    )
    verify.set_defaults(command=_verify)

    data = commands.add_parser("data", help="fetch what may be fetched")
    data.add_argument("action", choices=["get"])
    data.add_argument("corpus", help="e.g. ferplus")
    data.add_argument("--data-root", help="where to (default: ./data)")
    data.set_defaults(command=_data)
    return parser


def _reproduce(args) -> int:
    # papermill and torch take seconds to import: only where they are needed
    from uncertain_affect import paths, reproduce

    parameters = {"PROFILE": args.profile, **dict(args.parameter)}
    outcomes = reproduce.reproduce(
        reproduce.select(args.notebook, args.paper),
        corpus=args.corpus,
        root=args.data_root,
        parameters=parameters,
        say=print if sys.stdout.isatty() else lambda *_, **__: None,
    )
    print(reproduce.summary(outcomes))
    without = {o.notebook: o.without_corpus for o in outcomes if o.without_corpus}
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
        print(f"{outcome.notebook} failed: {outcome.error}", file=sys.stderr)
    return 1 if failures else 0


def _record(args) -> int:
    from uncertain_affect import publish

    if args.refresh:
        if args.run:
            raise ValueError("--refresh takes no runs: it rebuilds what follows from those that are committed")
        publish.write_scoreboard()
        return 0
    for target in publish.promote_all(args.run):
        print(f"recorded {target}")
    return 0


def _verify(args) -> int:
    from uncertain_affect import verify

    report = verify.verify(args.folder)
    print(report)
    return 1 if report.problems else 0


def _data(args) -> int:
    from uncertain_affect.corpora import download
    from uncertain_affect.paths import data_root

    download.get(args.corpus, data_root(args.data_root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
