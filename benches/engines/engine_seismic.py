"""Seismic by the wheel pyseismic-lsr: approximate search, three indexes, a small grid of settings.

    python engine_seismic.py DATA

Its n_postings is an average over the vocabulary, so that the same share of a collection is kept only if it grows with
the collection: `n=1000/M` is 1000 postings a term for a million documents. f16 is the plain index, DotVByte
the compressed one. The build reads the float vectors; no order of documents is needed.
"""

import itertools
from pathlib import Path

import numpy as np
import seismic
from collection import TERMS, kinds, load, queries, stats, token
from common import arguments, built, bytes_per_posting, clocked, measure, rate, record

# name: (compressed, postings a term and million documents, centroids, energy of summaries)
INDEXES = {
    "n=500/M f16": (False, 500, 0.1, 0.4),
    "n=1000/M f16": (False, 1000, 0.2, 0.5),
    "n=1000/M DotVByte": (True, 1000, 0.2, 0.5),
}
CUTS = {"short": (4, 6), "long": (10, 15, 20)}  # query terms that are looked up
HEAPS = {"short": (1.0, 0.9, 0.8, 0.7), "long": (1.0, 0.9)}  # the lower, the more is searched
ROWS = 50_000  # written at a time
STRING = seismic.get_seismic_string()


def write_vectors(path, counts, terms, weights):
    """Seismic's own form, parts of it as they come: a vector is its length, its u32 terms, its f32 weights."""
    with path.open("ab") as file:
        starts = np.cumsum(2 * counts + 1) - (2 * counts + 1)
        out = np.empty(2 * len(terms) + len(counts), np.uint32)
        out[starts] = counts
        within = np.arange(len(terms)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = np.repeat(starts, counts) + 1 + within
        out[at] = terms
        out[at + np.repeat(counts, counts)] = np.asarray(weights, np.float32).view(np.uint32)
        file.write(out.tobytes())


def write_docs(data, path):
    begins, terms, weights = load(data)
    path.write_bytes(np.uint32(len(begins) - 1).tobytes())
    for first in range(0, len(begins) - 1, ROWS):
        ends = begins[first : first + ROWS + 1]
        span = slice(ends[0], ends[-1])
        write_vectors(path, np.diff(ends), terms[span], weights[span])


def write_queries(rows, path):
    path.write_bytes(np.uint32(len(rows)).tobytes())
    counts = np.array([len(terms) for _, terms, _ in rows])
    write_vectors(path, counts, *(np.concatenate([row[column] for row in rows]) for column in (1, 2)))


def dataset(data):
    """The documents as DotVByte wants them: in memory, terms as words."""
    begins, terms, weights = load(data)
    words = np.array([token(term) for term in range(TERMS)], STRING)
    made = seismic.SeismicDataset()
    for doc in range(len(begins) - 1):
        span = slice(begins[doc], begins[doc + 1])
        made.add_document(str(doc), words[terms[span]], np.array(weights[span]))
    return made


def build(args, name, index):
    """Builds and saves an index; gives the seconds of the build, its input not counted."""
    compressed, share, centroids, energy = INDEXES[name]
    number = max(1, round(share * stats(args.data)["docs"] / 1e6))
    how = {"n_postings": number, "centroid_fraction": centroids, "summary_energy": energy, "max_fraction": 4.0}
    if compressed:
        docs = dataset(args.data)
        seconds, made = clocked(lambda: seismic.SeismicIndexDotVByte.build_from_dataset(docs, **how))
    else:
        docs = args.data / "docs.seismic"
        if not docs.exists():
            write_docs(args.data, docs)
        seconds, made = clocked(lambda: seismic.SeismicIndexRaw.build(str(docs), **how))
    made.save(str(index))
    return seconds


def prepare(args):
    """File and seconds of each index."""
    made = {}
    for name in INDEXES:
        index = args.data / f"seismic.{name.replace('/', ' a ').replace(' ', '-')}"
        seconds = built(index, lambda: build(args, name, index))
        # the compressed class puts a suffix to the name it is given
        made[name] = next(file for file in (index, Path(f"{index}.index.seismic")) if file.exists()), seconds
    (args.data / "docs.seismic").unlink(missing_ok=True)
    return made


# --- search


class Searcher:
    """An opened index with one way to search the plain and the compressed kind."""

    def __init__(self, file, compressed):
        kind = seismic.SeismicIndexDotVByte if compressed else seismic.SeismicIndexRaw
        self.index, self.compressed = kind.load(str(file)), compressed

    def query(self, name, terms, weights):
        """A query as the index takes it."""
        weights = np.array(weights, np.float32)
        if self.compressed:
            return name, np.array([token(term) for term in terms], STRING), weights
        return np.array(terms, np.int32), weights

    def ids(self, hits):
        """Document numbers of hits."""
        return [int(hit[2]) for hit in hits] if self.compressed else [hit[1] for hit in hits]

    def at_once(self, asked, file, *how):
        if self.compressed:
            names, terms, weights = zip(*asked)
            return self.index.batch_search(np.array(names, STRING), list(terms), list(weights), *how)
        return self.index.batch_search(str(file), *how)


def run(args, name, index, build_s):
    compressed = INDEXES[name][0]
    searcher = Searcher(index, compressed)
    fixed = {"bytes_per_posting": bytes_per_posting(args, index), "build_s": build_s}
    for kind in kinds(args.data):
        rows, file = queries(args.data, kind), args.data / f"seismic.{kind}"
        write_queries(rows, file)
        asked = [searcher.query(*row) for row in rows]
        for cut, heap in itertools.product(CUTS[kind], HEAPS[kind]):
            how = (10, cut, heap, 0, True)
            found, took = measure(lambda query: searcher.index.search(*query, *how), searcher.ids, asked)
            fast = rate(lambda: searcher.at_once(asked, file, *how), len(asked))
            setting = f"{name} cut={cut} heap={heap}"
            record(args, "Seismic", setting, 10, kind, found, **took, queries_per_s=fast, **fixed)


def main():
    args = arguments(__doc__)
    for name, made in prepare(args).items():
        if not args.prepare:
            run(args, name, *made)


if __name__ == "__main__":
    main()
