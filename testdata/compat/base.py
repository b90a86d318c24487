"""Cuts testdata/toy-st down to one layer of 16 dimensions, so that a checkpoint of it is small: base.py OUT."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

SOURCE, OUT = Path("testdata/toy-st"), Path(sys.argv[1])
CUT = {32: 16, 64: 32}  # hidden size and intermediate size; also the positions, of which 24 are read

shutil.copytree(SOURCE, OUT, ignore=shutil.ignore_patterns("idf.json", "query_token_weights.txt", "vocab.txt"))
tensors = {
    name: np.ascontiguousarray(tensor[tuple(slice(CUT.get(size, size)) for size in tensor.shape)])
    for name, tensor in load_file(SOURCE / "model.safetensors").items()
    if "layer.1." not in name
}
save_file(tensors, OUT / "model.safetensors", metadata={"format": "pt"})
config = json.loads((SOURCE / "config.json").read_text())
config |= dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, max_position_embeddings=32)
(OUT / "config.json").write_text(json.dumps(config, indent=1) + "\n")
