"""What the project survives: `make stress [ONLY="kill fuzz"] [MINUTES=20] [NOTEBOOKS="31 32"]`.

Every kind of trouble is a module beside this one, with a function `run` that makes it and yields a row for each thing
that was done. The rows go to `results/stress`. Exit code 1 says that something failed or was cut short; what is not
possible on this machine is said to be so, and never counted as passed.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import rows

HERE = Path(__file__).resolve().parent
# of the minutes, the share of each trouble that `make stress` makes
SHARES = {"determinism": 0.2, "kill": 0.56, "flips": 0.02, "fuzz": 0.14, "limits": 0.08}
# those that are made when they are named: the interpreters that are here, and the oldest versions allowed
NAMED = ("versions",)
MODULES = {"fuzz": "inputs"}


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("trouble", nargs="*", help=f"of {', '.join((*SHARES, *NAMED))} (default: all but the last)")
    arguments.add_argument("--minutes", type=float, default=20.0, help="of all of them together")
    arguments.add_argument("--notebooks", nargs="+", default=[], help="for determinism: numbers, or `all`")
    arguments.add_argument("--to", type=Path, default=HERE.parents[1] / "results" / "stress", help="where the rows go")
    args = arguments.parse_args(argv)
    if unknown := set(args.trouble) - {*SHARES, *NAMED}:
        arguments.error(f"no trouble {', '.join(sorted(unknown))}; known: {', '.join((*SHARES, *NAMED))}")
    made, took = [], {}
    for trouble in args.trouble or SHARES:
        module = importlib.import_module(MODULES.get(trouble, trouble))
        options = {"notebooks": args.notebooks} if trouble == "determinism" else {}
        started = time.monotonic()
        for row in _whole(trouble, module.run(args.minutes * SHARES.get(trouble, 1.0), **options)):
            print(f"{row.trouble:12} {row.result:18} {row.times:>9,}  {row.what}: {row.outcome}", flush=True)
            made.append(row)
        took[trouble] = (time.monotonic() - started) / 60
    rows.write(args.to, made, took)
    print(f"{args.to / 'report.md'}, after {sum(took.values()):.1f} minutes")
    return int(any(row.result in (rows.FAILED, rows.CUT_SHORT) for row in made))


def _whole(trouble: str, found: Iterator[rows.Row]) -> Iterator[rows.Row]:
    """The rows, and one more where making them broke off: the other troubles are made all the same."""
    try:
        yield from found
    except Exception as error:
        yield rows.Row(trouble, "all the rest", 0, f"broke off: {type(error).__name__}: {error}", rows.FAILED)


if __name__ == "__main__":
    sys.exit(main())
