"""Whether other engines answer as l0 does, on vectors that l0-index exported.

    python parity.py INDEX QUERIES FOLDER [--qrels QRELS] [--jar JAR] [--k 10] [--engines pisa,bmp,seismic,lucene,qdrant,scipy]

INDEX is an .l0x with f32 weights, QUERIES are vectors of queries (l0-encode --role query). Each engine reads what
`l0-index export` writes, searches exhaustively, and `l0-eval diff` compares its run with that of l0-query: with the
vectors as they are for engines of floats, with the same whole numbers (read back from the CIFF, so that both have the
same) for engines of whole numbers. FOLDER keeps all files. An engine that cannot be imported is left out with a
message. Lucene needs a Java (11 or later) and Anserini's fat jar. A line an engine on standard output; exits 1 if
one differs.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

LEFT_OUT = (ImportError, FileNotFoundError)


def l0(program, *arguments, check=True):
    command = [f"l0-{program}", *map(str, arguments)]
    return subprocess.run(command, check=check, capture_output=True, text=True)


class Case:
    """The exports, made when they are first asked for, and l0's own runs."""

    def __init__(self, args):
        self.args, self.folder = args, args.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self.folder / "tokenizer.json"
        self.vectors = {}

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

    def whole(self):
        """l0's run with whole numbers: the CIFF read back, and queries times 10."""
        run = self.folder / "l0.whole.run"
        if not run.exists():
            ciff, back = self.docs("ciff", "docs.ciff"), self.folder / "whole.parquet"
            tokens = ["--tokenizer", self.args.tokenizer, "--quiet"]
            l0("index", "import", ciff, "--from", "ciff", *tokens, "-o", back)
            index = self.folder / "whole.l0x"
            l0("index", back, *tokens, "--weights", "f32", "-o", index)
            asked, lines = self.folder / "whole.asked.parquet", self.asked("jsonl", "whole.asked.jsonl", "--quantize", "scale:10")
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
    import bmp as engine

    ciff, index = case.docs("ciff", "docs.ciff"), case.folder / "bmp"
    engine.ciff2bmp(str(ciff), str(index), bsize=32, compress_range=False)
    searcher, hits = engine.Searcher(str(index)), []
    for query, terms in case.queries("--quantize", "scale:10"):
        docs, scores = searcher.search(terms, k=case.args.depth, alpha=1.0, beta=1.0) if terms else ([], [])
        hits.append((query, list(zip(docs, map(float, scores)))))
    return case.whole(), case.write("bmp", hits)


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
        raise FileNotFoundError("a Java and --jar")
    folder, index = case.folder / "anserini", case.folder / "lucene"
    shutil.rmtree(index, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    # the whole numbers of the CIFF, so that l0 has the same
    l0("index", "export", case.folder / "whole.parquet", "--tokenizer", case.args.tokenizer, "--to", "anserini",
       "--quantize", "scale:1", "-o", folder / "docs.jsonl") if case.whole() else None
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
    return case.whole(), run


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
    from scipy.sparse import load_npz

    docs, asked = case.docs("csr", "docs.npz"), case.asked("csr", "asked.npz")
    ids, names = (Path(f"{file}.ids.txt").read_text().splitlines() for file in (docs, asked))
    scores = (load_npz(asked).astype(np.float64) @ load_npz(docs).astype(np.float64).T).toarray()
    hits = []
    for query, row in zip(names, scores):
        order = np.argsort(-row, kind="stable")[: case.args.depth]
        hits.append((query, [(ids[at], float(row[at])) for at in order if row[at] > 0]))
    return case.real(), case.write("scipy", hits)


ENGINES = {"pisa": pisa, "bmp": bmp, "seismic": seismic, "lucene": lucene, "qdrant": qdrant, "scipy": scipy}

# the largest relative error of a score, and why: f16 values of Seismic's plain index; f32 sums in another order
TOLERANCE = {"seismic": 2**-10}
SUMS = 1e-5


def compare(name, ours, theirs, args):
    how = ["-k", args.k, "--tolerance", TOLERANCE.get(name, SUMS), "--strict"]
    if args.qrels:
        how += ["--qrels", args.qrels, "-m", "nDCG@10"]
    told = l0("eval", "diff", ours, theirs, *how, check=False)
    print(f"== {name}: {'differs' if told.returncode else 'the same ranking up to ties'}\n{told.stdout}{told.stderr}", flush=True)
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
        except LEFT_OUT as error:
            print(f"{name}: left out, for want of {error}", file=sys.stderr, flush=True)
            continue
        same &= compare(name, ours, theirs, args)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
