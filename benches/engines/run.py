"""The comparison, whole: makes what is missing, runs the engines round by round, prints the table.

    python run.py DATA [--engines l0 pisa bmp seismic] [--rounds 3] [--bin target/release] [--jar JAR]

A round is every engine once, one after the other, each in a process of its own, so that what else the computer
does meets all of them. results.jsonl begins again; an earlier one is kept under another name. What the engines
say goes to DATA/engines.log.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import truth
from common import ROOT
from table import table

HERE = Path(__file__).parent
ENGINES = ("l0", "pisa", "bmp", "seismic", "lucene")


def say(text):
    print(text, file=sys.stderr, flush=True)


def engine(args, name, *what):
    """Runs the script of an engine."""
    since, log = time.perf_counter(), args.data / "engines.log"
    where = ["--bin", args.bin] + (["--jar", args.jar] if args.jar else [])
    command = [sys.executable, HERE / f"engine_{name}.py", args.data, *what, *where]
    with log.open("a") as out:
        status = subprocess.run(command, stdout=out, stderr=out).returncode
    if status:
        sys.exit(f"{name} failed; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-15:]))
    say(f"{name} {' '.join(what)}: {time.perf_counter() - since:.0f} s")


def put_aside(results):
    if results.exists():
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(results.stat().st_mtime))
        results.rename(results.with_name(f"results.{stamp}.jsonl"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release")
    parser.add_argument("--jar", type=Path, help="with Lucene in it; without one Lucene is left out")
    args = parser.parse_args()
    args.data = args.data.resolve()
    engines = [name for name in args.engines if name != "lucene" or args.jar]
    if engines != list(args.engines):
        say("lucene is left out: expected --jar")
    if not (args.data / "truth.npz").exists():
        say("finding the exact answers")
        truth.write(args.data)
    for name in dict.fromkeys(("l0", *engines)):  # the others take their order of documents from l0's index
        engine(args, name, "--prepare")
    put_aside(args.data / "results.jsonl")
    for number in range(1, args.rounds + 1):
        for name in engines:
            engine(args, name, "--round", str(number))
    print("\n".join(table(args.data)))


if __name__ == "__main__":
    main()
