#!/usr/bin/env python3
"""Reads vectors as SciPy matrices: parquet_to_scipy.py DOCUMENTS.parquet QUERIES.parquet [K] prints a TREC run.

The product of both matrices has the scores of l0-query on an index with --weights f32, bit for bit:
both add f32 products in the order of the terms.
"""
import sys

import numpy as np
import pyarrow.parquet as parquet
from scipy.sparse import csr_matrix


def read(file):
    """The ids, and an f32 matrix with one row per text and one column per term."""
    table = parquet.read_table(file, columns=["id", "indices", "values"])
    width = int(parquet.read_schema(file).metadata[b"l0.vocab_size"])
    indices, values = (table[name].combine_chunks() for name in ("indices", "values"))
    starts = indices.offsets.to_numpy()
    matrix = (values.flatten().to_numpy(), indices.flatten().to_numpy(), starts - starts[0])
    return table["id"].to_pylist(), csr_matrix(matrix, shape=(len(table), width))


def search(queries, documents, k):
    """For each query the rows of its at most k best documents and their scores, best first."""
    for row in queries @ documents.T.tocsr():
        found = np.sort(row.indices)
        scores = row.toarray()[0, found]
        best = np.argsort(-scores, kind="stable")[:k]
        yield found[best], scores[best]


if __name__ == "__main__":
    ids, documents = read(sys.argv[1])
    qids, queries = read(sys.argv[2])
    k = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    for qid, (found, scores) in zip(qids, search(queries, documents, k)):
        for rank, (row, score) in enumerate(zip(found, scores), start=1):
            score = np.format_float_positional(score, trim="-")
            print(qid, "Q0", ids[row], rank, score, "l0")
