"""A trained directory in Sentence Transformers and in transformers, against l0-encode: 100 scores each.

    l0-train RECIPE.toml -o DIR
    python tests/model/loaders.py DIR... [--programs target/release]

Encodes queries and passages of testdata/demo three ways: by l0-encode, by Sentence Transformers (`encode_query`,
`encode_document`), and by plain transformers (`AutoModelForMaskedLM`, the formula of the model card, the table
of idf.json). Prints the largest difference among the scores of 100 pairs for each library and its version, and exits
1 if one is above 1e-4 of the score. Run it once in each environment:

    pip install torch "sentence-transformers>=6"
    pip install torch sentence-transformers==5.1.2 transformers==4.56.2

A model with a vocabulary head is held to more: the same terms, weights within 1e-4 of each other, and both again after
Sentence Transformers has saved and loaded it. Plain transformers loads its encoder (`AutoModel`) only.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import sentence_transformers
import torch
import transformers

ROOT = Path(__file__).resolve().parents[2]
PAIRS = 100
LARGEST_DIFFERENCE = 1e-4


def texts_of(name, key):
    lines = (ROOT / "testdata/demo" / name).read_text().splitlines()
    return [json.loads(line)[key] for line in lines]


def pairs():
    """Every third passage with the queries in turn; every tenth passage is six, too long for most models."""
    queries, passages = texts_of("queries.jsonl", "text"), texts_of("corpus.jsonl", "text")
    long = lambda at: " ".join(passages[at : at + 6]) if at % 10 == 0 else passages[at]
    return [(queries[at % len(queries)], long(3 * at)) for at in range(PAIRS)]


def by_l0(directory, texts, role, programs, terms):
    lines = "".join(json.dumps({"_id": str(at), "text": text}) + "\n" for at, text in enumerate(texts))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        command = [programs / "l0-encode", "--model", directory, "--role", role, "-", "-o", out, "--quiet"]
        subprocess.run(command, input=lines.encode(), check=True)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    dense = torch.zeros(len(rows), terms)
    for row, weights in zip(rows, dense, strict=True):
        weights[row["indices"]] = torch.tensor(row["values"])
    return dense


def by_sentence_transformers(directory, queries, documents):
    model = sentence_transformers.SparseEncoder(str(directory), device="cpu", trust_remote_code=True)
    encoded = model.encode_query(queries), model.encode_document(documents)
    return [vectors.to_dense() for vectors in encoded]


def saved_again(directory, queries, documents):
    model = sentence_transformers.SparseEncoder(str(directory), device="cpu", trust_remote_code=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return by_sentence_transformers(folder, queries, documents)


def masked_language(directory):
    """A function from a batch of one text and its task to weights, by the formula of the model card."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()
    depth = json.loads((directory / "l0.json").read_text())["activation"]

    def weights_of(batch, task):
        weights = model(**batch).logits[0].max(0).values.relu()
        for _ in range(depth):
            weights = weights.log1p()
        return weights

    return weights_of


def vocabulary_head(directory):
    """The same by the encoder of transformers and the head in the directory."""
    model = transformers.AutoModel.from_pretrained(directory).eval()
    spec = importlib.util.spec_from_file_location("l0_head", directory / "l0_head.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = next(path.name for path in directory.iterdir() if path.name.endswith("_VocabularyHead"))
    head = module.VocabularyHead.load(str(directory), subfolder=folder)

    def weights_of(batch, task):
        # as packed texts, of which there is one
        states, length = model(**batch).last_hidden_state, batch["input_ids"].shape[1]
        packed = {"token_embeddings": states, "cu_seq_lens_q": torch.tensor([0, length])}
        return head({**batch, **packed}, task=task)["sentence_embedding"][0]

    return weights_of


def by_transformers(directory, queries, documents):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    weights_of = vocabulary_head(directory) if has_head(directory) else masked_language(directory)

    def network(texts, task):
        batches = [tokenizer(text, truncation=True, return_tensors="pt") for text in texts]
        with torch.no_grad():
            return torch.stack([weights_of(batch, task) for batch in batches])

    def table(texts, task):
        weights = json.loads((directory / "idf.json").read_text())
        rows = torch.zeros(len(texts), len(tokenizer))
        for row, text in zip(rows, texts, strict=True):
            for token in set(tokenizer.tokenize(text)):
                row[tokenizer.convert_tokens_to_ids(token)] = weights.get(token, 0.0)
        return rows

    side = table if (directory / "idf.json").exists() else network
    return side(queries, "query"), network(documents, "document")


def has_head(directory):
    return "l0_head" in json.loads((directory / "config.json").read_text())


def weights_off(ours, theirs):
    """The largest relative difference of two sides' weights; those near 0 count by 1 % of the largest.

    A weight that one side alone keeps counts by how far it lies above the least that is kept.
    """
    largest = ours.amax(1, keepdim=True)
    off = (ours - theirs).abs() / ours.clamp(min=1e-30).maximum(0.01 * largest)
    least = ours.masked_fill(ours <= 0.0, torch.inf).amin(1, keepdim=True)
    alone = (ours > 0.0) != (theirs > 0.0)
    return float(torch.where(alone, ours.maximum(theirs) / least - 1.0, off).max())


def check(directory, programs):
    queries, documents = zip(*pairs(), strict=True)
    terms = json.loads((directory / "config.json").read_text())["vocab_size"]
    sides = [(queries, "query"), (documents, "document")]
    ours = [by_l0(directory, texts, role, programs, terms) for texts, role in sides]
    expected = (ours[0] * ours[1]).sum(1)
    worst = 0.0
    ways = [(sentence_transformers, by_sentence_transformers), (transformers, by_transformers)]
    if has_head(directory):
        ways.append((sentence_transformers, saved_again))
    for library, load in ways:
        theirs = load(directory, list(queries), list(documents))
        weights = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
        scores = (theirs[0] * theirs[1]).sum(1)
        off = float(((scores - expected).abs() / expected.abs().clamp(min=1.0)).max())
        if has_head(directory):
            off = max(off, *(weights_off(a, b) for a, b in zip(ours, theirs, strict=True)))
        worst = max(worst, off)
        name = f"{library.__name__} {library.__version__}" + (", saved again" if load is saved_again else "")
        print(f"{directory.name}: {name}: scores {off:.1e}, weights {weights:.1e}, mean score {expected.mean():.2f}")
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--programs", type=Path, default=ROOT / "target/release")
    args = parser.parse_args()
    sys.exit(max(check(directory, args.programs) for directory in args.directories) > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    main()
