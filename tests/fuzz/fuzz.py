"""Fuzz every parser of `tests/corpora/parsers.py` with atheris: `make fuzz [FUZZ_SECONDS=60] [PARSERS="recola meld"]`.

A parser may return, or raise a `CorpusError` that names the file. Anything else, ten seconds for one input, or two
gigabytes of memory end the run of that parser, and its input is kept below `.cache/fuzz`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
FOUND = HERE.parents[2] / ".cache" / "fuzz"
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-verbosity=0", "-print_final_stats=1")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parser", nargs="*", help="names, or their beginnings (default: all)")
    arguments.add_argument("--seconds", type=int, default=60, help="of each parser")
    arguments.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args, rest = arguments.parse_known_args()
    try:
        import atheris
    except ImportError:
        print("Nothing was fuzzed: atheris is not installed, and has wheels for Linux only. See requirements/fuzz.txt.")
        return 2
    sys.path.insert(0, str(HERE.parents[1] / "corpora"))
    if args.child:
        fuzz(atheris, args.parser[0], rest)
    from parsers import PARSERS

    chosen = [name for name in PARSERS if not args.parser or name.startswith(tuple(args.parser))]
    failed = [name for name in chosen if not run(name, args.seconds)]
    names = f"; failed: {', '.join(failed)}" * bool(failed)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} parsers met every input{names}")
    return 1 if failed or not chosen else 0


def run(name: str, seconds: int) -> bool:
    """Fuzz one parser in a process of its own, and say how it went."""
    FOUND.mkdir(parents=True, exist_ok=True)
    keep = f"-artifact_prefix={FOUND}/{name.replace(' ', '_')}-"
    command = [sys.executable, str(HERE), name, "--child", f"-max_total_time={seconds}", keep, *LIMITS]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 300)
    stats = dict(line[6:].split(":") for line in done.stderr.splitlines() if line.startswith("stat::"))
    inputs = stats.get("number_of_executed_units", "?").strip()
    print(f"{name:24} {inputs:>9} inputs  {'fine' if done.returncode == 0 else 'FAILED'}", flush=True)
    if done.returncode:
        print(done.stdout[-3000:] + done.stderr[-3000:])
    return done.returncode == 0


def fuzz(atheris, name: str, options: list[str]) -> None:
    """Give one parser inputs until its time is over; does not return."""
    with atheris.instrument_imports(include=["uncertain_affect.corpora"]):
        from parsers import PARSERS

    from uncertain_affect.corpora import CorpusError

    parser = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path, seeds = Path(folder) / parser.file, Path(folder) / "seeds"
        seeds.mkdir()
        (seeds / "whole").write_bytes(parser.seed)

        def one_input(content: bytes) -> None:
            path.write_bytes(content)
            try:
                parser.call(path)
            except CorpusError as error:
                if error.path != path:
                    raise AssertionError("the error does not name the file") from error

        atheris.Setup([sys.argv[0], *options, str(seeds)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
