"""Writes dense.json: scores of dense bi-encoders by sentence-transformers, for tests/train/score.rs.

    python testdata/golden/dense.py [FOLDER WITH minilm-l6]

Each case is a directory of testdata/toy's encoder under the small files of Sentence Transformers that
stand in the case, or minilm-l6 as it is (mean pooling). Texts: the first queries and documents of
testdata/demo. Made with sentence-transformers 6.2.0, transformers 5.23.0, torch 2.15.0, on a processor.
"""

import json, os, sys, tempfile
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

here = Path(__file__).resolve().parent
toy, demo = here.parent / "toy", here.parent / "demo"
QUERIES, DOCUMENTS = 5, 50


def texts(name, count):
    rows = [json.loads(line) for line in open(demo / name)][:count]
    return [f"{row.get('title', '')} {row['text']}".strip() for row in rows]


def module(idx, kind, path):
    return {"idx": idx, "name": str(idx), "path": path, "type": f"sentence_transformers.models.{kind}"}


def case(pooling, conventions, normalize=False, length=64):
    modules = [module(0, "Transformer", ""), module(1, "Pooling", "1_Pooling")]
    if normalize:
        modules.append(module(2, "Normalize", "2_Normalize"))
    return {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": 32, **pooling},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "config_sentence_transformers.json": conventions,
    }


MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CASES = {
    "mean": case(MEAN, {}, normalize=True),
    "cls, dot, prompts": case(
        {"pooling_mode": "cls"},
        {
            "prompts": {"query": "query: ", "document": "passage: "},
            "similarity_fn_name": "dot",
            "model_type": "SentenceTransformer",
        },
    ),
    "mean, cosine, short": case(MEAN, {"similarity_fn_name": "cosine"}, length=16),
}


def scores(model, queries, documents):
    with torch.inference_mode():
        sides = model.encode_query(queries), model.encode_document(documents)
    return model.similarity(*sides).tolist()


def toy_directory(folder, files):
    for name in os.listdir(toy):
        os.symlink(toy / name, folder / name)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "2_Normalize").mkdir()


queries, documents = texts("queries.jsonl", QUERIES), texts("corpus.jsonl", DOCUMENTS)
found = {"queries": QUERIES, "documents": DOCUMENTS, "toy": [], "minilm-l6": None}
for name, files in CASES.items():
    with tempfile.TemporaryDirectory() as folder:
        toy_directory(Path(folder), files)
        model = SentenceTransformer(folder, device="cpu")
        found["toy"].append(
            {"name": name, "files": files, "scores": scores(model, queries, documents)}
        )
models = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["L0_MODELS"])
model = SentenceTransformer(str(models / "minilm-l6"), device="cpu")
found["minilm-l6"] = scores(model, queries, documents)
(here / "dense.json").write_text(json.dumps(found) + "\n")
