#!/usr/bin/env python3
"""Writes a pool of texts without labels from BEIR folders and glosses: passages, short texts, and a background.

    pool.py DATA OUT      DATA: folders with corpus.jsonl and queries.jsonl, and wordnet-glosses.tsv

OUT gets documents.jsonl, queries.jsonl and background.jsonl. No judgement is read. Same data, same bytes.
"""
import json
import random
import re
import sys
from pathlib import Path

# folder: passages, queries
TAKEN = {
    "squadshifts": (5664, 16000),
    "squad-sentences": (6652, 11877),
    "medquad": (7000, 6000),
    "stackexchange-small": (3657, 2065),
    "debian-packages": (8000, 9000),
    "covid-qa": (1805, 1380),
    "pubmedqa": (1000, 1000),
}
GLOSSES, GLOSSES_AS_QUERIES, SENTENCES, BACKGROUND = 16000, 12000, 12000, 5000


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rows(texts):
    return [json.dumps({"_id": str(at), "text": text}, ensure_ascii=False) + "\n" for at, text in enumerate(texts)]


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(rows)


def main(data, out):
    draw = random.Random(0)
    documents, queries = [], []
    for name, (passages, questions) in TAKEN.items():
        corpus, asked = lines(data / name / "corpus.jsonl"), lines(data / name / "queries.jsonl")
        draw.shuffle(corpus)
        draw.shuffle(asked)
        documents += [(x.get("title", "") + " " + x["text"]).strip() for x in corpus[:passages]]
        queries += [x["text"][:200] for x in asked[:questions]]
    with open(data / "wordnet-glosses.tsv", encoding="utf-8") as file:
        glosses = [line.rstrip("\n").split("\t") for line in file]
    glosses = [gloss for gloss in glosses if len(gloss) >= 3]
    draw.shuffle(glosses)
    # a word asks for its gloss; other glosses ask for what means the same
    for gloss in glosses[:GLOSSES]:
        documents.append(gloss[2])
        queries.append(gloss[1].split(",")[0])
    queries += [gloss[2][:150] for gloss in glosses[GLOSSES : GLOSSES + GLOSSES_AS_QUERIES]]
    for document in draw.sample(documents, SENTENCES):
        sentences = [x for x in re.split(r"(?<=[.!?]) ", document) if 20 < len(x) < 160]
        if sentences:
            queries.append(draw.choice(sentences))
    out.mkdir(parents=True, exist_ok=True)
    background = rows(documents)
    write(out / "documents.jsonl", background)
    write(out / "queries.jsonl", rows(queries))
    random.Random(3).shuffle(background)
    write(out / "background.jsonl", background[:BACKGROUND])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
