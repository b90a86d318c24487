"""BMP (block-max pruning) by the wheel bmp: exact search in blocks of 32 documents, l0's order of documents.

    python engine_bmp.py DATA

The wheel makes 65,537 empty lists at every call, so that two times are recorded: cpu_mean_us and the others are those
of a call of Searcher.search, inner_mean_us is what BMP's own program for a file of queries prints, which makes
the lists once.
"""

import math
import re
import struct
import subprocess
import sys

import bmp
import numba as nb
import numpy as np
from collection import kinds, queries, token
from common import DEPTHS, arguments, built, bytes_per_posting, clocked, inverted, measure, record

BLOCK = 32
QUERY_LEVELS = 32  # whole numbers that BMP makes of query weights


# --- its input: a CIFF file, protobuf messages each after its length


@nb.njit(cache=True)
def put(buffer, at, number):
    """Writes a varint; gives where it ends."""
    while number >= 128:
        buffer[at] = (number & 127) | 128
        number >>= 7
        at += 1
    buffer[at] = number
    return at + 1


@nb.njit(cache=True)
def put_postings(places, impacts):
    """The postings of a list: field 4, each {1: gap, 2: impact}."""
    buffer = np.empty(16 * len(places), np.uint8)
    at, before = 0, 0
    for posting in range(len(places)):
        buffer[at], start = 34, at + 2
        buffer[start] = 8
        end = put(buffer, start + 1, places[posting] - before)
        buffer[end] = 16
        end = put(buffer, end + 1, impacts[posting])
        buffer[at + 1] = end - start
        at, before = end, places[posting]
    return buffer[:at]


def varint(number):
    buffer = np.empty(10, np.uint8)
    return buffer[: put(buffer, 0, number)].tobytes()


def field(number, value):
    """A field of a message: a whole number, a float or a string."""
    if isinstance(value, float):
        return varint(8 * number + 1) + struct.pack("<d", value)
    if isinstance(value, str):
        return varint(8 * number + 2) + varint(len(value)) + value.encode()
    return varint(8 * number) + varint(int(value))


def fields(values):
    """The fields of a message, numbered from 1."""
    return b"".join(field(number, value) for number, value in enumerate(values, 1))


def write_ciff(data, path):
    order, lengths, lists = inverted(data)
    docs, terms = len(order), len(lists)
    header = (1, terms, docs, terms, docs, int(lengths.sum()), float(lengths.mean()), "l0")
    with path.open("wb", buffering=1 << 24) as file:

        def message(*parts):
            file.write(varint(sum(map(len, parts))))
            file.writelines(parts)

        message(fields(header))
        for term, places, impacts in lists:
            about = fields((token(term), len(places), impacts.sum(dtype=int)))
            message(about, put_postings(places, impacts).data)
        for place, (doc, length) in enumerate(zip(order, lengths)):
            message(fields((place, str(doc), length)))


# --- search


def build(args, index):
    """Builds the index; gives the seconds, its input not counted."""
    ciff = args.data / "docs.ciff"
    write_ciff(args.data, ciff)
    seconds, _ = clocked(lambda: bmp.ciff2bmp(str(ciff), str(index), bsize=BLOCK, compress_range=False))
    ciff.unlink()
    return seconds


def hits(searcher, query, k):
    """Document numbers; none where BMP panics, as it does if every impact that a query meets is the largest."""
    try:
        return searcher.search(query, k=k, alpha=1.0, beta=1.0)[0]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what a panic becomes in Python
        print(f"BMP: {error}", file=sys.stderr)
        return []


def inner_mean_us(args, index, kind, rows, k):
    """The mean that BMP prints when it searches a file; there a weight is a word said so often. None if it panics."""
    path = args.data / f"bmp.{kind}.txt"
    with path.open("w") as out:
        for name, terms, weights in rows:
            times = [math.ceil(np.float32(weight) * np.float32(QUERY_LEVELS / max(weights))) for weight in weights]
            words = (word for term, number in zip(terms, times) for word in [token(term)] * number)
            out.write(f"{name}: {' '.join(words)}\n")
    call = f"import bmp; bmp.search(index={str(index)!r}, queries={str(path)!r}, k={k}, alpha=1.0, beta=1.0)"
    told = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True).stderr
    means = re.findall(r"search_elapsed\s*=\s*([0-9.]+)", told)
    return float(means[-1]) if means else None


def run(args, index, build_s):
    fixed = {"bytes_per_posting": bytes_per_posting(args, index), "build_s": build_s}
    rows = {kind: queries(args.data, kind) for kind in kinds(args.data)}
    wanted = [(kind, k) for kind in rows for k in DEPTHS[kind]]
    # before the index is opened here: it is all in memory, and twice may be too much
    inner = {(kind, k): inner_mean_us(args, index, kind, rows[kind], k) for kind, k in wanted}
    searcher = bmp.Searcher(str(index))
    for kind, k in wanted:
        asked = [{token(term): weight for term, weight in zip(*row)} for _, *row in rows[kind]]
        found, took = measure(lambda query: hits(searcher, query, k), lambda docs: [int(doc) for doc in docs], asked)
        record(args, "BMP", f"b={BLOCK}", k, kind, found, **took, inner_mean_us=inner[kind, k], **fixed)


def main():
    args = arguments(__doc__)
    index = args.data / f"bmp.b{BLOCK}"
    build_s = built(index, lambda: build(args, index))
    if not args.prepare:
        run(args, index, build_s)


if __name__ == "__main__":
    main()
