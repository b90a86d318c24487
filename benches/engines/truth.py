"""The exact answers, from float weights: what recall is measured against.

    python truth.py DATA        writes DATA/truth.npz

One walk over docs.parquet scores every document for all queries at once, so that memory does not grow with the
collection. For each query the best DEPTH documents are kept. A hit counts if its true score reaches the k-th true
score: of documents that tie there, any is right.
"""

import argparse
from pathlib import Path

import numba as nb
import numpy as np
from collection import TERMS, kinds, queries, vectors

DEPTH = 1100  # 1000 hits, and room for what ties with the last
ROUNDING = 2e-6  # of a score: engines add in f32, in another order


@nb.njit(cache=True)
def keep_best(ids, scores, held):
    """Leaves the best DEPTH of `held` documents in front, and gives the least score among them."""
    order = np.argsort(-scores[:held])[:DEPTH]
    ids[: len(order)], scores[: len(order)] = ids[order], scores[order]
    return scores[len(order) - 1]


@nb.njit(cache=True)
def walk(first, counts, terms, weights, starts, asking, strength, best):
    """Scores the documents from `first` on; `asking` are the queries of each term, `best` what is kept of each."""
    ids, scores, held, least = best
    sums = np.zeros(len(held))
    at = 0
    for row in range(len(counts)):
        for posting in range(at, at + counts[row]):
            for ask in range(starts[terms[posting]], starts[terms[posting] + 1]):
                sums[asking[ask]] += strength[ask] * weights[posting]
        at += counts[row]
        for query in range(len(held)):
            if sums[query] > least[query]:
                ids[query, held[query]], scores[query, held[query]] = first + row, sums[query]
                held[query] += 1
                if held[query] == 2 * DEPTH:
                    least[query], held[query] = keep_best(ids[query], scores[query], held[query]), DEPTH
            sums[query] = 0


def by_term(vectors):
    """The queries turned around: where each term's begin, the queries, their weights."""
    rows = [(term, query, weight) for query, (_, *row) in enumerate(vectors) for term, weight in zip(*row)]
    terms, asking, strength = map(np.array, zip(*sorted(rows)))
    return np.searchsorted(terms, np.arange(TERMS + 1)), asking, strength


def find(data, asked):
    """Ids and scores of the best DEPTH documents of each query, best first; score 0 where there are fewer."""
    size = (len(asked), 2 * DEPTH)
    best = np.zeros(size, np.int64), np.zeros(size), np.zeros(len(asked), np.int64), np.zeros(len(asked))
    first, turned = 0, by_term(asked)
    for counts, terms, weights in vectors(data / "docs.parquet"):
        walk(first, counts, terms, weights, *turned, best)
        first += len(counts)
    ids, scores, held, _ = best
    for query, number in enumerate(held):
        scores[query, number:] = 0
    order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def write(data):
    """Finds and stores the answers to all queries."""
    asked = {kind: queries(data, kind) for kind in kinds(data)}
    ids, scores = find(data, [query for rows in asked.values() for query in rows])
    arrays, first = {}, 0
    for kind, rows in asked.items():
        span = slice(first, first + len(rows))
        arrays |= {f"{kind}_ids": ids[span], f"{kind}_scores": scores[span]}
        first += len(rows)
    np.savez(data / "truth.npz", **arrays)


def recall(data, kind, found, k):
    """Mean over queries of the share of the true best k that is in `found`, a list of ids a query."""
    path = data / "truth.npz"
    if not path.exists():
        write(data)
    file = np.load(path)
    shares = []
    for ids, scores, got in zip(file[f"{kind}_ids"], file[f"{kind}_scores"], found, strict=True):
        wanted = min(k, np.count_nonzero(scores))
        if wanted:
            right = ids[(scores > 0) & (scores >= scores[wanted - 1] * (1 - ROUNDING))]
            shares.append(min(wanted, len(np.intersect1d(right, got[:k]))) / wanted)
    return float(np.mean(shares))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    write(parser.parse_args().data)


if __name__ == "__main__":
    main()
