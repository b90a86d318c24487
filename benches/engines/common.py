"""What the engines' scripts share: their command line, the clock, the record of a measurement, inverted lists."""

import argparse
import json
import os
import struct
import sys
import time
from pathlib import Path

import numba as nb
import numpy as np
import truth
from collection import TERMS, load, queries, stats

ROOT = Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))
DEPTHS = {"short": (10, 1000), "long": (10,)}  # the k of exact search


# --- a script


def arguments(doc):
    """The command line of every engine's script."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the collection")
    parser.add_argument("--prepare", action="store_true", help="make the index if it is missing, measure nothing")
    parser.add_argument("--round", type=int, default=1, help="the number that the records get")
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="where l0-index and l0-query are")
    parser.add_argument("--jar", type=Path, help="a jar with Lucene in it")
    args = parser.parse_args()
    args.data = args.data.resolve()
    return args


def built(index, build):
    """The seconds that `build()` gives; it runs only if they are not noted next to the index."""
    note = Path(f"{index}.json")
    if not note.exists():
        seconds = build()
        note.write_text(json.dumps({"build_s": round(seconds, 1)}) + "\n")
    return json.loads(note.read_text())["build_s"]


# --- the clock


def clocked(call):
    """Seconds and result of a call."""
    since = time.perf_counter()
    result = call()
    return time.perf_counter() - since, result


def times(wall, cpu):
    """Means and percentiles of what the queries took, in microseconds."""
    row = {"cpu_mean_us": np.mean(cpu), "cpu_p99_us": np.percentile(cpu, 99), "mean_us": np.mean(wall)}
    row |= {f"p{share}_us": np.percentile(wall, share) for share in (50, 99)}
    return {name: round(float(value), 1) for name, value in row.items()}


def measure(search, ids, asked):
    """The `ids` of what `search` gives for each query, and the times of a second pass, one query after the other."""
    found = [ids(search(query)) for query in asked]
    wall, cpu = [], []
    for query in asked:
        before = time.thread_time_ns(), time.perf_counter_ns()
        search(query)
        after = time.thread_time_ns(), time.perf_counter_ns()
        cpu.append((after[0] - before[0]) / 1e3)
        wall.append((after[1] - before[1]) / 1e3)
    return found, times(wall, cpu)


def rate(all_at_once, number):
    """Queries a second of a call that answers them all, the second time."""
    all_at_once()
    return round(number / clocked(all_at_once)[0], 1)


def record(args, engine, setting, k, kind, found, **more):
    """Appends a measurement to results.jsonl. `found` has the document numbers of each query."""
    row = {"engine": engine, "setting": setting, "k": k, "queries": kind, "round": args.round}
    row["recall"] = round(truth.recall(args.data, kind, found, k), 4)
    line = json.dumps(row | more)
    with (args.data / "results.jsonl").open("a") as out:
        out.write(line + "\n")
    print(line, file=sys.stderr, flush=True)


def bytes_per_posting(args, *files):
    return round(sum(file.stat().st_size for file in files) / stats(args.data)["postings"], 2)


# --- inverted lists of 8-bit impacts, in l0's order of documents


def impacts(weights, largest):
    """Linear in the weight, 1 to 255: what the engines with whole numbers take."""
    return np.clip(np.rint(weights * np.float32(255 / largest)), 1, 255).astype(np.uint8)


def order(data):
    """The document at each place of l0's index: section 10, found by the table at the end of the file."""
    with (data / "l0.l0x").open("rb") as file:
        file.seek(-24, os.SEEK_END)
        rows = struct.unpack("<QII8s", file.read())[1]
        file.seek(-24 - 24 * rows, os.SEEK_END)
        table = [struct.unpack("<IIQQ", file.read(24)) for _ in range(rows)]
        for kind, _, start, length in table:
            if kind == 10:
                file.seek(start)
                return np.frombuffer(file.read(length), "<u4")
    raise SystemExit(f"{data / 'l0.l0x'} has no order; build it with --order bp")


@nb.njit(cache=True)
def invert(order, begins, terms, impacts):
    """Where each term's list begins, and the places and impacts of all lists; places ascend in a list."""
    ends = np.zeros(TERMS + 1, np.int64)
    for term in terms:
        ends[term + 1] += 1
    ends = np.cumsum(ends)
    next_of = ends[:-1].copy()
    places, values = np.empty(len(terms), np.uint32), np.empty(len(terms), np.uint8)
    for place in range(len(order)):
        for posting in range(begins[order[place]], begins[order[place] + 1]):
            at = next_of[terms[posting]]
            places[at], values[at] = place, impacts[posting]
            next_of[terms[posting]] += 1
    return ends, places, values


def inverted(data):
    """The order, postings a document in it, and the lists as (term, places, impacts)."""
    begins, terms, weights = load(data)
    at = order(data)
    ends, places, values = invert(at, np.asarray(begins), np.asarray(terms), impacts(weights, weights.max()))
    spans = ((term, slice(ends[term], ends[term + 1])) for term in range(TERMS) if ends[term + 1] > ends[term])
    return at, np.diff(begins)[at], [(term, places[span], values[span]) for term, span in spans]
