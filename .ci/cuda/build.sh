#!/usr/bin/env bash
# build.sh: the five programs with the feature cuda in target/cuda/release; l0-encode, l0-train, the tests and the
# bench of a device in one archive, target/l0-cuda.tar.xz, to be carried to a machine that has one
# (pipelines/gpu_check.sh).
#
# With a CUDA toolkit on PATH or in CUDA_HOME that is used; without, one is put together (toolkit.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${CUDA_HOME:-}" ] && ! command -v nvcc >/dev/null; then
    . "$(.ci/cuda/toolkit.sh target/cuda-toolkit | tail -1)"
fi
export CARGO_TARGET_DIR=target/cuda
cargo build --release --features cuda --bins
cargo test --release --features cuda --lib --test main --bench device --no-run --message-format json >target/cuda/tests.json
pack=target/cuda/pack
rm -rf "$pack"
mkdir -p "$pack"
cp target/cuda/release/l0-encode target/cuda/release/l0-train "$pack"
python3 - "$pack" <<'PY'
import json, shutil, sys

names = {"l0": "l0-unit-tests", "main": "l0-tests", "device": "l0-bench-device"}
for line in open("target/cuda/tests.json"):
    found = json.loads(line)
    if found.get("reason") == "compiler-artifact" and found.get("executable") and found["target"]["name"] in names:
        shutil.copy(found["executable"], f"{sys.argv[1]}/{names[found['target']['name']]}")
PY
strip "$pack"/*
tar --sort=name -cf - -C "$pack" . | xz -T1 -9 >target/l0-cuda.tar.xz
ls -l "$pack" target/l0-cuda.tar.xz
