"""PISA by the wheel pyterrier-pisa: MaxScore over 8-bit impacts, block_simdbp postings, l0's order of documents.

    python engine_pisa.py DATA

The inverted lists are written here, in the plain form that PISA compresses; the build time is that of compressing.
Query weights become whole numbers, and the wheel says a word as often as its weight.
"""

import shutil

import numpy as np
from collection import kinds, queries, token
from common import CORES, DEPTHS, arguments, built, bytes_per_posting, clocked, inverted, measure, rate, record
from pyterrier_pisa import _pisathon

SCALE = 16  # of a query weight before it is rounded


def u32(values):
    return np.asarray(values, np.uint32).tobytes()


def write_lists(data, folder):
    """PISA's plain index: lists of u32, each after its length; the first of .docs has the number of documents."""
    order, lengths, lists = inverted(data)
    folder.mkdir()
    with (folder / "inv.docs").open("wb") as docs, (folder / "inv.freqs").open("wb") as frequencies:
        docs.write(u32([1, len(order)]))
        for _, places, values in lists:
            docs.write(u32([len(places)]) + u32(places))
            frequencies.write(u32([len(values)]) + u32(values))
    (folder / "inv.sizes").write_bytes(u32([len(order)]) + u32(lengths))
    for name, words in (("term", (token(term) for term, *_ in lists)), ("doc", map(str, order))):
        plain = folder / {"term": "fwd.terms", "doc": "fwd.documents"}[name]
        plain.write_text("\n".join(words) + "\n")
        _pisathon.build_binlex(str(plain), str(folder / f"fwd.{name}lex"))


def context(folder):
    """The index, opened; made from the plain lists if it is not there."""
    opened = _pisathon.RetrievalContext()
    _pisathon.prepare_index(opened, str(folder), "block_simdbp", "quantized", "", stop_fname="")
    return opened


def build(args, folder):
    """Builds the index; gives the seconds of compressing the lists."""
    shutil.rmtree(folder, ignore_errors=True)
    write_lists(args.data, folder)
    seconds, _ = clocked(lambda: context(folder))
    for plain in ("inv.docs", "inv.freqs"):
        (folder / plain).unlink()
    return seconds


def searcher(opened, k, number, threads):
    """A function from `number` queries to the document numbers of each."""
    size = k * number
    ranks, which = np.empty(size, np.int32), np.empty(size, np.int32)
    names, scores = np.empty(size, object), np.empty(size, np.float32)
    into = {"result_qidxs": which, "result_docnos": names, "result_ranks": ranks, "result_scores": scores}
    fixed = {"k": k, "threads": threads, "query_weighted": 1, "pretokenised": True, **into}
    return lambda asked: names[: _pisathon.retrieve(opened, "maxscore", asked, **fixed)]


def run(args, folder, build_s):
    opened = context(folder)
    fixed = {"bytes_per_posting": bytes_per_posting(args, *folder.glob("quantized*")), "build_s": build_s}
    for kind in kinds(args.data):
        rows = queries(args.data, kind)
        asked = [{token(term): float(max(1, round(SCALE * weight))) for term, weight in zip(*row)} for _, *row in rows]
        for k in DEPTHS[kind]:
            one, all_at_once = searcher(opened, k, 1, threads=1), searcher(opened, k, len(asked), threads=CORES)
            found, took = measure(lambda query: one([(0, query)]), lambda names: names.astype(int), asked)
            fast = rate(lambda: all_at_once(list(enumerate(asked))), len(asked))
            record(args, "PISA", "MaxScore", k, kind, found, **took, queries_per_s=fast, **fixed)


def main():
    args = arguments(__doc__)
    folder = args.data / "pisa"
    build_s = built(folder, lambda: build(args, folder))
    if not args.prepare:
        run(args, folder, build_s)


if __name__ == "__main__":
    main()
