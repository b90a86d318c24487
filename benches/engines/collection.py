"""A collection in a folder: what the generator and the converter write and every engine reads.

docs.parquet          id (utf8, the row's number), indices (list<int32>, ascending), values (list<float32>)
queries.jsonl         lines {"_id", "indices", "values"}; queries_long.jsonl alike, may be missing
tokenizer.json        a vocabulary of as many made-up words as there are terms
idf.json              their query weights: the idf of these documents, by which l0 calibrates approximate search
csr_{indptr,indices,values}.npy   the documents again, for the engines that are given them as arrays
stats.json            counts
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TERMS = 30522  # as in BERT's vocabulary
KINDS = {"short": "queries.jsonl", "long": "queries_long.jsonl"}
SCHEMA = pa.schema([("id", pa.string()), ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))])


def token(term):
    return f"t{term:05d}"


class Array:
    """A one-dimensional .npy file that grows; numpy leaves room in the header for the final length."""

    def __init__(self, path, dtype):
        self.dtype, self.length, self.file = np.dtype(dtype), 0, path.open("wb")
        self.header()

    def header(self):
        shape = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, shape)

    def append(self, values):
        self.length += len(values)
        self.file.write(values.astype(self.dtype, copy=False).tobytes())

    def close(self):
        self.file.seek(0)
        self.header()
        self.file.close()


class Writer:
    """Writes documents a part at a time; with `csr`, as arrays too."""

    def __init__(self, folder, csr=True):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.counts, self.found = folder, [], np.zeros(TERMS, np.int64)
        self.parquet = pq.ParquetWriter(folder / "docs.parquet", SCHEMA, compression="zstd", compression_level=1)
        self.arrays = []
        if csr:
            kinds = (("indices", np.uint16), ("values", np.float32))
            self.arrays = [Array(folder / f"csr_{name}.npy", kind) for name, kind in kinds]

    def write(self, counts, terms, weights):
        """Documents of `counts` postings each, terms ascending in a document."""
        first = sum(map(len, self.counts))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        lists = [pa.ListArray.from_arrays(offsets, pa.array(x)) for x in (terms.astype(np.int32), weights)]
        ids = pa.array([str(first + row) for row in range(len(counts))])
        self.parquet.write_table(pa.table([ids, *lists], schema=SCHEMA))
        for array, values in zip(self.arrays, (terms, weights)):
            array.append(values)
        self.counts.append(counts)
        self.found += np.bincount(terms, minlength=TERMS)

    def close(self):
        """Finishes the files, writes tokenizer, counts and idf; gives the idf of each term, 0 for one that is not used."""
        self.parquet.close()
        counts = np.concatenate(self.counts)
        if self.arrays:
            np.save(self.folder / "csr_indptr.npy", np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))
        for array in self.arrays:
            array.close()
        stats = {
            "docs": len(counts),
            "postings": int(counts.sum()),
            "postings_p5_p50_p95": np.percentile(counts, [5, 50, 95]).tolist(),
            "terms_used": int((self.found > 0).sum()),
            "largest_share_of_docs": round(float(self.found.max() / len(counts)), 4),
        }
        (self.folder / "stats.json").write_text(json.dumps(stats, indent=1) + "\n")
        write_tokenizer(self.folder / "tokenizer.json")
        idf = np.where(self.found > 0, np.log(1 + (len(counts) - self.found + 0.5) / (self.found + 0.5)), 0)
        table = {token(term): round(float(idf[term]), 4) for term in range(TERMS)}
        (self.folder / "idf.json").write_text(json.dumps(table))
        return idf


def write_tokenizer(path):
    model = {"type": "WordLevel", "vocab": {token(term): term for term in range(TERMS)}, "unk_token": token(0)}
    absent = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    split = {"pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []}
    path.write_text(json.dumps({"version": "1.0", **absent, **split, "model": model}))


def write_queries(path, queries):
    with path.open("w") as out:
        for name, terms, weights in queries:
            out.write(json.dumps({"_id": name, "indices": terms, "values": weights}) + "\n")


def kinds(folder):
    """The kinds of queries that are there."""
    return [kind for kind, name in KINDS.items() if (folder / name).exists()]


def queries(folder, kind):
    """(id, terms, weights) of each query."""
    rows = map(json.loads, (folder / KINDS[kind]).read_text().splitlines())
    return [(row["_id"], row["indices"], row["values"]) for row in rows]


def stats(folder):
    return json.loads((folder / "stats.json").read_text())


def vectors(path):
    """Parts of a Parquet file of vectors, as (counts, terms, weights)."""
    for batch in pq.ParquetFile(path).iter_batches(20_000, columns=["indices", "values"]):
        offsets = np.asarray(batch.column(0).offsets)
        terms, weights = (np.asarray(column.flatten()) for column in batch.columns)
        yield np.diff(offsets), terms, weights


def load(folder):
    """The documents as mapped arrays: where each begins, terms, weights."""
    names = ("indptr", "indices", "values")
    missing = [name for name in names if not (folder / f"csr_{name}.npy").exists()]
    if missing:
        raise SystemExit(f"{folder} has no csr_{missing[0]}.npy: it was made with --no-csr, for l0 alone")
    return [np.load(folder / f"csr_{name}.npy", mmap_mode="r") for name in names]
