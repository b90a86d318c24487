"""Real vectors instead of generated ones.

    python convert.py DOCS.parquet QUERIES.jsonl OUT

DOCS as l0-encode writes it: columns indices and values, term ids below 30522. QUERIES: lines {"_id", "indices",
"values"}. Documents are renumbered from 0, so that all engines are given the same names.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from collection import KINDS, TERMS, Writer, vectors, write_queries


def sorted_rows(counts, terms, weights):
    """Terms ascending in each document, weights above 0 only."""
    if terms.max(initial=0) >= TERMS:
        raise SystemExit(f"expected term ids below {TERMS}, found {terms.max()}")
    doc = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((terms, doc))
    order = order[weights[order] > 0]
    counts = np.bincount(doc[order], minlength=len(counts))
    return counts, terms[order].astype(np.uint16), weights[order].astype(np.float32)


def query(line):
    row = json.loads(line)
    pairs = sorted((term, weight) for term, weight in zip(row["indices"], row["values"], strict=True) if weight > 0)
    return row["_id"], [term for term, _ in pairs], [weight for _, weight in pairs]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    writer = Writer(args.out)
    for part in vectors(args.docs):
        writer.write(*sorted_rows(*part))
    writer.close()
    write_queries(args.out / KINDS["short"], map(query, args.queries.read_text().splitlines()))


if __name__ == "__main__":
    main()
