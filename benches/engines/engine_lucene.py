"""Lucene, if there is a Java and a jar: impacts as term frequencies, one segment, l0's order of documents.

    python engine_lucene.py DATA --jar JAR

Java 11 or later, which compiles LuceneBench.java as it runs it; a JAR that holds lucene-core and
lucene-analysis-common 9. Query weights are floats.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from collection import kinds, load, queries
from common import DEPTHS, arguments, built, bytes_per_posting, impacts, order, record, times

SOURCE = Path(__file__).with_name("LuceneBench.java")


def java(args, memory, *what):
    command = ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", "-cp", args.jar, SOURCE, *map(str, what)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write_vectors(data, path):
    begins, terms, weights = load(data)
    values = impacts(weights, weights.max())
    with path.open("wb", buffering=1 << 24) as file:
        for doc in order(data):
            span = slice(begins[doc], begins[doc + 1])
            file.write(np.array([doc, span.stop - span.start], ">i4").tobytes())
            file.write(terms[span].astype(">u2").tobytes() + values[span].tobytes())


def build(args, index):
    """Builds the index; gives the seconds, its input not counted."""
    vectors = args.data / "docs.lucene"
    write_vectors(args.data, vectors)
    shutil.rmtree(index, ignore_errors=True)
    seconds = float(java(args, "6g", "index", vectors, index))
    vectors.unlink()
    return seconds


def run(args, index, build_s):
    fixed = {"bytes_per_posting": bytes_per_posting(args, *index.iterdir()), "build_s": build_s}
    for kind in kinds(args.data):
        asked = args.data / f"lucene.{kind}"
        rows = (zip(terms, weights) for _, terms, weights in queries(args.data, kind))
        asked.write_text("".join(" ".join(f"{term} {weight}" for term, weight in row) + "\n" for row in rows))
        for k in DEPTHS[kind]:
            lines = [list(map(int, line.split())) for line in java(args, "2g", "search", index, asked, k).splitlines()]
            wall, cpu = ([line[column] / 1e3 for line in lines] for column in (0, 1))
            record(args, "Lucene", "BooleanQuery", k, kind, [line[2:] for line in lines], **times(wall, cpu), **fixed)


def main():
    args = arguments(__doc__)
    if not args.jar or not shutil.which("java"):
        return print("Lucene: left out, for want of a Java or of --jar", file=sys.stderr)
    index = args.data / "lucene"
    build_s = built(index, lambda: build(args, index))
    if not args.prepare:
        run(args, index, build_s)


if __name__ == "__main__":
    main()
