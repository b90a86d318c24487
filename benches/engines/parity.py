"""Whether other engines answer as l0 does, on vectors that l0-index exported.

    python parity.py INDEX QUERIES FOLDER TOKENIZER [--qrels QRELS] [--jar JAR] [--k 10] [--engines pisa,bmp,...]

INDEX is an .l0x with f32 weights, QUERIES are vectors of queries (l0-encode --role query) by the same TOKENIZER. Each engine reads what
`l0-index export` writes, searches exhaustively, and `l0-eval diff` compares its run with that of l0-query: with the
vectors as they are for engines of floats, with the same whole numbers (read back from the CIFF, so that both have the
same) for engines of whole numbers. FOLDER keeps all files. An engine that cannot be imported is left out with a
message. Lucene needs a Java (11 or later) and Anserini's fat jar. What `l0-eval diff` says of each
engine on standard output; exits 1 if one differs.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "examples"))  # parquet_to_scipy


def l0(program, *arguments, check=True):
    command = [f"l0-{program}", *map(str, arguments)]
    return subprocess.run(command, check=check, capture_output=True, text=True)


class Case:
    """The exports, made when they are first asked for, and l0's own runs."""

    def __init__(self, args):
        self.args, self.folder = args, args.folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def export(self, to, source, name, *options):
        path = self.folder / name
        l0("index", "export", source, "--to", to, "-o", path, *options)
        return path

    def docs(self, to, name, *options):
        return self.export(to, self.args.index, name, *options)

    def asked(self, to, name, *options):
        return self.export(to, self.args.queries, name, "--tokenizer", self.args.tokenizer, *options)

    def queries(self, *options):
        """Queries as pairs of an id and {token: weight}."""
        path = self.asked("jsonl", "asked.jsonl", *options)
        rows = map(json.loads, path.open())
        return [(row["_id"], row["vector"]) for row in rows]

    def real(self):
        """l0's run with the vectors as they are."""
        run = self.folder / "l0.real.run"
        if not run.exists():
            l0("query", self.args.index, self.args.queries, "-k", self.args.depth, "--format", "trec", "-o", run)
        return run

    def whole(self, lines=None, ciff=None):
        """l0's run with whole numbers: a CIFF read back; queries times 10, or of a file of lines."""
        run = self.folder / f"l0.{lines.stem if lines else 'whole'}.run"
        if not run.exists():
            ciff = ciff or self.docs("ciff", "docs.ciff")
            back = self.folder / f"{ciff.name}.parquet"
            tokens = ["--tokenizer", self.args.tokenizer, "--quiet"]
            l0("index", "import", ciff, "--from", "ciff", *tokens, "-o", back)
            index, asked = self.folder / "whole.l0x", self.folder / "whole.asked.parquet"
            l0("index", back, *tokens, "--weights", "f32", "-o", index)
            lines = lines or self.asked("jsonl", "whole.asked.jsonl", "--quantize", "scale:10")
            l0("index", "import", lines, "--from", "jsonl", "--queries", *tokens, "-o", asked)
            l0("query", index, asked, "-k", self.args.depth, "--format", "trec", "-o", run)
        return run

    def write(self, name, hits):
        """A run of (query, [(document, score), ..])."""
        path = self.folder / f"{name}.run"
        with path.open("w") as out:
            for query, found in hits:
                for rank, (doc, score) in enumerate(found, 1):
                    out.write(f"{query} Q0 {doc} {rank} {score!r} {name}\n")
        return path


def pisa(case):
    import numpy as np
    from pyterrier_pisa import _pisathon

    folder = case.folder / "pisa"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    case.docs("pisa", "pisa/inv")
    for ours, theirs in (("terms", "term"), ("documents", "doc")):
        plain = folder / f"fwd.{ours}"
        (folder / f"inv.{ours}").rename(plain)
        _pisathon.build_binlex(str(plain), str(folder / f"fwd.{theirs}lex"))
    opened = _pisathon.RetrievalContext()
    _pisathon.prepare_index(opened, str(folder), "block_simdbp", "quantized", "", stop_fname="")
    k, hits = case.args.depth, []
    for query, terms in case.queries("--quantize", "scale:10"):
        into = {"result_qidxs": np.empty(k, np.int32), "result_docnos": np.empty(k, object)}
        into |= {"result_ranks": np.empty(k, np.int32), "result_scores": np.empty(k, np.float32)}
        asked = [(0, {term: float(weight) for term, weight in terms.items()})]
        fixed = {"k": k, "threads": 1, "query_weighted": 1, "pretokenised": True}
        count = _pisathon.retrieve(opened, "maxscore", asked, **fixed, **into)
        hits.append((query, list(zip(into["result_docnos"][:count], map(float, into["result_scores"][:count])))))
    return case.whole(), case.write("pisa", hits)


def bmp(case):
    """BMP rounds the weights of a query up to whole numbers of which the largest is 32, so l0 is given the same. With
    impacts of 8 bits it misses more documents than with 6, and with fewer blocks more than with many."""
    import bmp as engine
    import numpy as np

    ciff = case.docs("ciff", "bmp.ciff", "--quantize", "max:63")
    index, lines = case.folder / "bmp", case.folder / "bmp.asked.jsonl"
    engine.ciff2bmp(str(ciff), str(index), bsize=8, compress_range=False)
    searcher, hits = engine.Searcher(str(index)), []
    with lines.open("w") as out:
        for query, terms in case.queries():
            scale = np.float32(32) / np.float32(max(terms.values(), default=1))
            terms = {term: math.ceil(np.float32(weight) * scale) for term, weight in terms.items()}
            out.write(json.dumps({"_id": query, "vector": terms}) + "\n")
            docs, scores = searcher.search(terms, k=case.args.depth, alpha=1.0, beta=1.0) if terms else ([], [])
            hits.append((query, list(zip(docs, map(float, scores)))))
    return case.whole(lines, ciff), case.write("bmp", hits)


def seismic(case):
    import numpy as np
    import seismic as engine

    docs = case.docs("seismic", "docs.seismic.jsonl")
    count = sum(1 for _ in docs.open())
    # every posting is kept, in clusters whose summaries are whole: nothing is skipped
    whole = {"n_postings": count, "max_fraction": 1e6, "centroid_fraction": 0.1, "summary_energy": 1.0, "doc_cut": 10_000}
    index = engine.SeismicIndex.build(str(docs), **whole)
    string, hits = engine.get_seismic_string(), []
    for query, terms in case.queries():
        if not terms:
            continue
        words, weights = np.array(list(terms), string), np.array(list(terms.values()), np.float32)
        found = index.search(query, words, weights, k=case.args.depth, query_cut=len(words), heap_factor=0.0)
        hits.append((query, [(doc, score) for _, score, doc in found]))
    return case.real(), case.write("seismic", hits)


def lucene(case):
    if not case.args.jar or not shutil.which("java"):
        raise ImportError("a Java and --jar", name="a Java and --jar")
    folder, index = case.folder / "anserini", case.folder / "lucene"
    shutil.rmtree(index, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    # the whole numbers of the CIFF, so that l0 has the same
    ours = case.whole()
    made = ["--tokenizer", case.args.tokenizer, "--to", "anserini", "--quantize", "scale:1"]
    l0("index", "export", case.folder / "docs.ciff.parquet", *made, "-o", folder / "docs.jsonl")
    for beside in folder.glob("docs.jsonl.*"):
        beside.unlink()
    topics, run = case.asked("anserini", "lucene.tsv", "--quantize", "scale:10"), case.folder / "lucene.run"
    java = ["java", "-Xmx4g", "-cp", str(case.args.jar)]
    build = ["io.anserini.index.IndexCollection", "-collection", "JsonVectorCollection", "-input", folder, "-index", index]
    build += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", "1", "-impact", "-pretokenized"]
    search = ["io.anserini.search.SearchCollection", "-index", index, "-topics", topics, "-topicReader", "TsvString"]
    search += ["-output", run, "-impact", "-pretokenized", "-hits", case.args.depth]
    for what in (build, search):
        subprocess.run(java + list(map(str, what)), check=True, capture_output=True)
    return ours, run


def qdrant(case):
    from qdrant_client import QdrantClient, models

    docs, asked = case.docs("qdrant", "docs.qdrant"), case.asked("qdrant", "asked.qdrant", "-k", case.args.depth)
    made = json.loads(Path(f"{docs}.collection.json").read_text())
    client = QdrantClient(":memory:")
    sparse = {name: models.SparseVectorParams(**params) for name, params in made["sparse_vectors"].items()}
    client.create_collection("l0", vectors_config=made["vectors"], sparse_vectors_config=sparse)
    for body in map(json.loads, docs.open()):
        points = [models.PointStruct(**point) for point in body["points"]]
        client.upsert("l0", points)
    hits = []
    for body in map(json.loads, asked.open()):
        if not body["query"]["indices"]:
            continue
        vector = models.SparseVector(**body["query"])
        found = client.query_points("l0", query=vector, using=body["using"], limit=body["limit"], with_payload=body["with_payload"])
        hits.append((body["_id"], [(point.payload["id"], point.score) for point in found.points if point.score > 0]))
    return case.real(), case.write("qdrant", hits)


def scipy(case):
    import numpy as np
    from parquet_to_scipy import read

    (ids, docs), (names, asked) = map(read, tables(case))
    scores = (asked.astype(np.float64) @ docs.astype(np.float64).T).toarray()
    hits = []
    for query, row in zip(names, scores):
        order = np.argsort(-row, kind="stable")[: case.args.depth]
        hits.append((query, [(ids[at], float(row[at])) for at in order if row[at] > 0]))
    return case.real(), case.write("scipy", hits)


def tables(case):
    """Documents and queries as Parquet, for engines that are databases."""
    tokens, made = ["--tokenizer", case.args.tokenizer, "--quiet"], []
    for name, lines in (("docs", case.docs("jsonl", "docs.jsonl")), ("asked", case.asked("jsonl", "asked.jsonl"))):
        path = case.folder / f"{name}.parquet"
        role = ["--queries"] if name == "asked" else []
        l0("index", "import", lines, "--from", "jsonl", *role, *tokens, "-o", path)
        made.append(str(path))
    return made


def best(case, name, rows):
    """The run of rows (query, document, score), the best of each query."""
    found = {}
    for query, doc, score in rows:
        found.setdefault(query, []).append((doc, score))
    hits = [(query, sorted(docs, key=lambda hit: -hit[1])[: case.args.depth]) for query, docs in found.items()]
    return case.write(name, hits)


SCORES = """SELECT asked.id AS query, docs.id AS doc, sum(CAST(asked.w AS DOUBLE) * docs.w) AS score
    FROM asked JOIN docs ON asked.t = docs.t GROUP BY asked.id, docs.id"""


def duckdb(case):
    import duckdb as engine

    parts = [f"{name} AS (SELECT id, unnest(indices) AS t, unnest(\"values\") AS w FROM '{path}')"
             for name, path in zip(("docs", "asked"), tables(case))]
    return case.real(), best(case, "duckdb", engine.sql(f"WITH {', '.join(parts)} {SCORES}").fetchall())


def polars(case):
    import polars as engine

    docs, asked = (engine.scan_parquet(path).select("id", "indices", "values").explode("indices", "values") for path in tables(case))
    score = (engine.col("values").cast(engine.Float64) * engine.col("values_right")).sum()
    found = asked.join(docs, on="indices").group_by("id", "id_right").agg(score.alias("score")).collect()
    return case.real(), best(case, "polars", found.iter_rows())


def spark(case):
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    for name, path in zip(("docs", "asked"), tables(case)):
        pairs = session.read.parquet(path).selectExpr("id", "inline(arrays_zip(indices, `values`))")
        pairs.toDF("id", "t", "w").createOrReplaceTempView(name)
    rows = [tuple(row) for row in session.sql(SCORES).collect()]
    session.stop()
    return case.real(), best(case, "spark", rows)


ENGINES = {
    "pisa": pisa, "bmp": bmp, "seismic": seismic, "lucene": lucene, "qdrant": qdrant,
    "scipy": scipy, "duckdb": duckdb, "polars": polars, "spark": spark,
}

# BMP 0.2.8 misses a document now and then where there are few blocks, with all scores right: the least mean overlap
# at k, where it need not be 1
OVERLAP = {"bmp": 0.99}

# the largest relative error of a score, and why: f16 values of Seismic's plain index; f32 sums in another order
TOLERANCE = {"seismic": 2**-10}
SUMS = 1e-5


def compare(name, ours, theirs, args):
    how = ["-k", args.k, "--tolerance", TOLERANCE.get(name, SUMS)]
    how += ["--min-overlap", OVERLAP[name]] if name in OVERLAP else ["--strict"]
    if args.qrels:
        how += ["--qrels", args.qrels, "-m", "nDCG@10"]
    told = l0("eval", "diff", ours, theirs, *how, check=False)
    same = "the same ranking up to ties" if name not in OVERLAP else f"an overlap of {OVERLAP[name]} or more"
    print(f"== {name}: {'differs' if told.returncode else same}\n{told.stdout}{told.stderr}", flush=True)
    return told.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("index", "queries", "folder", "tokenizer"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--qrels", type=Path)
    parser.add_argument("--jar", type=Path)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--engines", default=",".join(ENGINES))
    args = parser.parse_args()
    args.depth = 4 * args.k  # deep enough for the ties at k
    case, same = Case(args), True
    for name in args.engines.split(","):
        try:
            ours, theirs = ENGINES[name](case)
        except ImportError as error:
            print(f"{name}: left out, for want of {error.name}", file=sys.stderr, flush=True)
            continue
        same &= compare(name, ours, theirs, args)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
