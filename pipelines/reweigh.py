#!/usr/bin/env python3
"""The query table that an index makes of a model: the model's own, or its geometric mean with the idf of the collection if the
model's l0.json says "query_weights": "corpus". For vectors that carry no document frequencies, as JSON lines.

    l0-encode idf --tokenizer MODEL corpus.jsonl | reweigh.py MODEL >table.json
"""
import array
import json
import math
import os
import struct
import sys

if len(sys.argv) != 2:
    sys.exit(__doc__)
model = sys.argv[1]
idf = json.load(sys.stdin)
with open(os.path.join(model, "tokenizer.json"), encoding="utf-8") as file:
    vocabulary = json.load(file)["model"]["vocab"]
with open(os.path.join(model, "query_0_SparseStaticEmbedding", "model.safetensors"), "rb") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    tensor = json.loads(file.read(size))["weight"]
    begin, end = tensor["data_offsets"]
    file.seek(8 + size + begin)
    body = file.read(end - begin)
if tensor["dtype"] == "F32":
    table = array.array("f", body)
elif tensor["dtype"] == "F16":
    table = [half for half, in struct.iter_unpack("<e", body)]
else:
    sys.exit(f"{model}: expected a query table of type F32 or F16, found {tensor['dtype']}")
try:
    with open(os.path.join(model, "l0.json"), encoding="utf-8") as file:
        corpus = json.load(file).get("query_weights") == "corpus"
except FileNotFoundError:
    corpus = False
weight = (lambda own, counted: math.sqrt(max(own, 0.0) * counted)) if corpus else (lambda own, counted: max(own, 0.0))
json.dump({token: weight(table[term], idf.get(token, 0.0)) for token, term in vocabulary.items()}, sys.stdout)
