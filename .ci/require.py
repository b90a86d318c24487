#!/usr/bin/env python3
"""Prints what this machine has of what tests may lack, as L0_REQUIRE names it: then nothing of it is skipped.

The packages are those of the Python that runs this, which is also the one of L0_PYTHON (default: python3);
engines are looked for in that of L0_ENGINES, if it is set.
"""
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

TOOLS = ["duckdb", "flock", "kubectl", "parallel", "script"]
PACKAGES = ["datasets", "duckdb", "huggingface_hub", "polars", "pyarrow", "scipy", "sentence_transformers", "yaml"]
ENGINES = {"pisa": "pyterrier_pisa", "bmp": "bmp", "seismic": "seismic", "qdrant": "qdrant_client",
           "scipy": "scipy", "duckdb": "duckdb", "polars": "polars"}

if len(sys.argv) > 1:  # asked by another process for the engines of its Python
    print(*(f"engine:{name}" for name, package in ENGINES.items() if find_spec(package)), sep="\n")
    sys.exit()

found = [tool for tool in TOOLS if shutil.which(tool)]
found += [f"py:{package}" for package in PACKAGES if find_spec(package)]
if os.environ.get("L0_DATA"):
    found.append("data")
models = os.environ.get("L0_MODELS")
if models and Path(models).is_dir():
    found += sorted(f"model:{folder.name}" for folder in Path(models).iterdir() if folder.is_dir())
engines = os.environ.get("L0_ENGINES", sys.executable)
found += subprocess.run([engines, __file__, "engines"], check=True, capture_output=True, text=True).stdout.split()
print(",".join(found))
