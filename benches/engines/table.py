"""Prints what results.jsonl says, in Markdown: medians over the rounds, and the ratios of l0 to the others.

    python table.py DATA

A ratio is that of l0 to another in one round, and then the median over the rounds: below 1, l0 needs less (of queries/s
it does more if above 1). Of an engine with several settings the cheapest that reaches the recall is taken, and the
first table leaves out what another setting beats.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

from collection import stats

COLUMNS = {
    "recall": "recall",
    "cpu_mean_us": "cpu mean us",
    "cpu_p99_us": "cpu p99 us",
    "p50_us": "wall p50 us",
    "p99_us": "wall p99 us",
    "queries_per_s": "queries/s, all cores",
    "bytes_per_posting": "bytes a posting",
    "build_s": "build s",
}
COST = ("cpu_mean_us", "cpu_p99_us", "queries_per_s")
# k, queries, and twice: engine, how its setting begins, least recall
RATIOS = [
    (10, "short", ("l0", "exact", 0), ("PISA", "MaxScore", 0)),
    (10, "short", ("l0", "exact", 0), ("BMP", "b=32", 0)),
    (10, "short", ("l0", "exact", 0), ("Lucene", "", 0)),
    (10, "short", ("l0", "exact", 0), ("Seismic", "", 0.95)),
    (10, "short", ("l0", "approx", 0.97), ("Seismic", "", 0.97)),
    (10, "short", ("l0", "approx", 0.99), ("Seismic", "", 0.99)),
    (1000, "short", ("l0", "exact", 0), ("PISA", "MaxScore", 0)),
    (1000, "short", ("l0", "exact", 0), ("BMP", "b=32", 0)),
    (1000, "short", ("l0", "exact", 0), ("Lucene", "", 0)),
    (10, "long", ("l0", "exact", 0), ("PISA", "MaxScore", 0)),
    (10, "long", ("l0", "exact", 0), ("BMP", "b=32", 0)),
    (10, "long", ("l0", "exact", 0), ("Lucene", "", 0)),
    (10, "long", ("l0", "approx", 0.989), ("Seismic", "", 0.989)),
]
# of the whole index; PISA's build is only a part of one
SIZE, BUILD = "bytes_per_posting", "build_s"
WHOLE = [
    ("PISA", "MaxScore", (SIZE,)),
    ("BMP", "b=32", (SIZE, BUILD)),
    ("Lucene", "", (SIZE, BUILD)),
    ("Seismic", "n=500/M f16", (SIZE, BUILD)),
    ("Seismic", "n=1000/M f16", (SIZE, BUILD)),
    ("Seismic", "n=1000/M DotVByte", (SIZE, BUILD)),
]


def read(data):
    """The rows of each (engine, setting, k, queries), by round."""
    groups = defaultdict(dict)
    for line in (data / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        groups[row["engine"], row["setting"], row["k"], row["queries"]][row["round"]] = row
    return dict(groups)


def median(rounds, name):
    values = [row[name] for row in rounds.values() if row.get(name) is not None]
    return statistics.median(values) if values else None


def ratio(ours, theirs, name, other=None):
    """The median, over the rounds that both have, of ours to theirs, which may have another name."""
    pairs = [(ours[at].get(name), theirs[at].get(other or name)) for at in ours.keys() & theirs.keys()]
    values = [our / their for our, their in pairs if our and their]
    return statistics.median(values) if values else None


def cost(rounds):
    """What settings are compared by; wall time if a program does not tell its processor time."""
    return median(rounds, "cpu_mean_us") or median(rounds, "mean_us")


def cheapest(groups, engine, setting, recall, k, kind):
    """The key of the cheapest setting that begins with `setting` and reaches the recall, None if there is none."""
    keys = [key for key in groups if key[0] == engine and key[1].startswith(setting) and key[2:] == (k, kind)]
    keys = [key for key in keys if median(groups[key], "recall") >= recall]
    return min(keys, key=lambda key: cost(groups[key]), default=None)


def on_front(groups, key):
    """Whether no other setting of the engine is both cheaper and as good."""
    recall, price = median(groups[key], "recall"), cost(groups[key])
    others = [groups[other] for other in groups if other[0] == key[0] and other[2:] == key[2:] and other != key]
    return not any(median(other, "recall") >= recall and cost(other) < price for other in others)


def shown(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def line(cells):
    return f"| {' | '.join(cells)} |"


def head(*names):
    return [line(names), line(["---"] * len(names))]


def medians(groups):
    yield from head("k", "queries", "engine", "setting", *COLUMNS.values())
    for key in sorted(groups, key=lambda key: (key[3] != "short", key[2], cost(groups[key]))):
        if on_front(groups, key):
            engine, setting, k, kind = key
            yield line([str(k), kind, engine, setting, *(shown(median(groups[key], name)) for name in COLUMNS)])


def named(key, engine, setting, recall):
    """What stands in the table for a choice, also if there was nothing to choose."""
    name = f"{engine} {key[1] if key else setting}".strip()
    return f"{name}{'' if key else ', none'}{f' at {recall}' if recall else ''}"


def ratios(groups):
    yield from head("", "against", "k", "queries", *(COLUMNS[name] for name in COST))
    present = {(key[0], key[3]) for key in groups}
    for k, kind, mine, other in RATIOS:
        if {("l0", kind), (other[0], kind)} <= present:
            our, their = cheapest(groups, *mine, k, kind), cheapest(groups, *other, k, kind)
            values = [shown(ratio(groups.get(our, {}), groups.get(their, {}), name)) for name in COST]
            yield line([named(our, *mine), named(their, *other), str(k), kind, *values])


def whole(groups):
    yield from head("l0 against", COLUMNS[SIZE], COLUMNS[BUILD])
    ours = groups.get(cheapest(groups, "l0", "exact", 0, 10, "short"), {})
    for engine, setting, names in WHOLE:
        theirs = groups.get(cheapest(groups, engine, setting, 0, 10, "short"))
        if theirs:
            values = [shown(ratio(ours, theirs, name) if name in names else None) for name in (SIZE, BUILD)]
            yield line([f"{engine} {setting}".strip(), *values])


def wheel(groups):
    """What BMP takes without the cost of a call through its wheel."""
    for (engine, _, k, kind), rounds in groups.items():
        if engine == "BMP":
            inner, outer = median(rounds, "inner_mean_us"), median(rounds, "mean_us")
            told = f"- BMP, k = {k}, {kind}, wall mean: {shown(outer)} us a call, {shown(inner)} without the wheel"
            ours = groups.get(("l0", "exact", k, kind), {})
            yield f"{told}; l0 exact to that: {shown(ratio(ours, rounds, 'mean_us', 'inner_mean_us'))}"


def table(data):
    groups, counts = read(data), stats(data)
    rounds = len({row for group in groups.values() for row in group})
    yield f"{counts['docs']:,} documents, {counts['postings'] / 1e6:,.1f} million postings, {rounds} rounds"
    for part in (medians, ratios, whole, wheel):
        lines = list(part(groups))
        if lines[2:] or part is wheel:  # more than a head
            yield from ("", *lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    print("\n".join(table(parser.parse_args().data)))


if __name__ == "__main__":
    main()
