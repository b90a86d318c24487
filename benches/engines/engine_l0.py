"""l0: exact and approximate search by the release programs.

    python engine_l0.py DATA [--bin target/release]

l0-index reads docs.parquet and orders the documents itself; its time is all of that. l0-query measures as the other
scripts do: a pass over the queries that does not count, then one that does.
"""

import json
import subprocess
import sys
from pathlib import Path

from collection import KINDS, kinds, queries
from common import DEPTHS, arguments, built, bytes_per_posting, clocked, record

RECALLS = {"short": (0.95, 0.97, 0.98, 0.99), "long": (0.98, 0.99, 0.995)}


def prepare(args):
    index, program = args.data / "l0.l0x", args.bin / "l0-index"
    note = Path(f"{index}.json")
    if note.exists() and note.stat().st_mtime < program.stat().st_mtime:
        note.unlink()  # the program is newer
    language = ["--tokenizer", args.data / "tokenizer.json", "--query-weights", args.data / "idf.json"]
    inputs = [args.data / "docs.parquet", *language]
    command = [program, *inputs, "-o", index, "--order", "bp", "--quiet"]
    return index, built(index, lambda: clocked(lambda: subprocess.run(command, check=True))[0])


def answer(args, index, kind, k, *more):
    program, asked = args.bin / "l0-query", args.data / KINDS[kind]
    command = [program, index, asked, "-k", str(k), "--quiet", *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def bench(args, *what):
    return json.loads(answer(args, *what, "--bench", "--format", "jsonl"))


def found(args, kind, run):
    """The document numbers of each query, from a run as TREC has it."""
    hits = {name: [] for name, *_ in queries(args.data, kind)}
    for line in run.splitlines():
        name, _, doc, *_ = line.split()
        hits[name].append(int(doc))
    return list(hits.values())


def measured(args, setting, index, build_s, kind, k, *method):
    what = (index, kind, k, *method)
    try:
        run = answer(args, *what, "--format", "trec")
    except subprocess.CalledProcessError as error:
        print(f"l0 {setting}: left out: {error.stderr.splitlines()[0]}", file=sys.stderr)
        return
    one = bench(args, *what, "--threads", "1")
    times = {name: one[name] for name in ("cpu_mean_us", "cpu_p99_us", "mean_us", "p50_us", "p99_us") if name in one}
    times |= {"queries_per_s": bench(args, *what)["queries_per_s"]}
    times = {name: round(value, 1) for name, value in times.items()}
    size = bytes_per_posting(args, index)
    record(args, "l0", setting, k, kind, found(args, kind, run), **times, bytes_per_posting=size, build_s=build_s)


def main():
    args = arguments(__doc__)
    index, build_s = prepare(args)
    if args.prepare:
        return
    for kind in kinds(args.data):
        for k in DEPTHS[kind]:
            measured(args, "exact", index, build_s, kind, k, "--method", "exact")
        for recall in RECALLS[kind]:
            method = ("--method", "approx", "--recall", str(recall))
            measured(args, f"approx {recall}", index, build_s, kind, 10, *method)


if __name__ == "__main__":
    main()
