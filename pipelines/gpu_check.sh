#!/usr/bin/env bash
# Checks l0 on a machine with a CUDA device, and measures it against PyTorch there: about 5 minutes.
#
#   pipelines/gpu_check.sh [ARCHIVE] [FOLDER]
#
# ARCHIVE is what `make cuda` leaves (target/l0-cuda.tar.xz: l0-encode, l0-train, the tests and the bench of a device,
# built elsewhere); without it what is in target/cuda/pack is taken. The machine needs CUDA 13's libraries and a python3 that has
# PyTorch, transformers and tokenizers, nothing else. FOLDER keeps what is made. Exits 1 at the first thing that is
# wrong, and names it.
#
# Tolerances, of a vector's norm: 1e-4 in f32, 0.06 in bf16, whose numbers have 8 bits. Means of tenths of a loss curve
# of 200 steps may differ by 0.5 % from the processor's in f32, and by 3 % from PyTorch's in bf16.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
archive=${1:+$(realpath "$1")} work=$(realpath -m "${2:-$here/target/gpu-check}")
cd "$here"
mkdir -p "$work"
if [ -n "$archive" ]; then
    mkdir -p "$work/bin"
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' "$archive" "$work/bin"
    PATH=$work/bin:$PATH
else
    PATH=$here/target/cuda/pack:$PATH
fi
libraries=$(python3 -c '
import glob, os, torch
root = os.path.dirname(os.path.dirname(torch.__file__))
names = ["libcublas.so.13", "libcurand.so.10", "libcudart.so.13"]
print(":".join(sorted({os.path.dirname(path) for name in names for path in glob.glob(f"{root}/nvidia/**/{name}", recursive=True)})))')
export LD_LIBRARY_PATH=$libraries:/usr/local/cuda/lib64:/usr/local/nvidia/lib64:${LD_LIBRARY_PATH:-}
if ldd "$(command -v l0-encode)" | grep 'not found'; then exit 1; fi
gpu() { python3 benches/gpu.py "$@"; }
say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

say "operators and gradients: kernels against the plain formula, steps against PyTorch's dumps"
for tests in l0-unit-tests l0-tests; do
    "$tests" --test-threads 4 ops:: golden:: families:: train_step:: model:: device 2>&1 | grep -v "^test .* ok$" | tail -60
done

say "models"
gpu make "$work/models"

say "vectors: processor, CUDA in f32 and in bf16, PyTorch in f32"
corpus=testdata/demo/corpus.jsonl
for model in testdata/toy "$work/models/minilm"; do
    name=$(basename "$model")
    encode() { l0-encode --model "$model" "$corpus" --max-tokens "$1" --quiet -o "$work/$name-$2.jsonl" "${@:3}"; }
    longest=256; if [ "$name" = toy ]; then longest=64; fi
    encode $longest cpu
    encode $longest f32 --device cuda
    encode $longest bf16 --device cuda --dtype bf16
    gpu same "$work/$name-cpu.jsonl" "$work/$name-f32.jsonl" 1e-4
    gpu same "$work/$name-cpu.jsonl" "$work/$name-bf16.jsonl" 0.06
done
gpu against "$work/models/minilm" "$work/minilm-bf16.jsonl" "$corpus" 0.06

say "loss curves: 200 steps of the toy model"
gpu data "$work/toy-run" testdata/toy --batch 8 --tokens 64 --steps 200
for device in cpu cuda; do
    rm -rf "$work/toy-run/$device"
    l0-train "$work/toy-run/recipe.toml" -o "$work/toy-run/$device" --device $device --quiet
done
gpu curves "$work/toy-run/cuda/train.jsonl" "$work/toy-run/cpu/train.jsonl" 0.005

say "encoding, 256 tokens"
for batch in 64 256; do
    l0-bench-device "$work/models/minilm" "$work/models/base" --tokens 256 --batch $batch
    gpu encode "$work/models/minilm" --tokens 256 --batch $batch
    gpu encode "$work/models/base" --tokens 256 --batch $batch
done

say "the whole program: text in, Parquet out"
for at in $(seq 30); do sed "s/\"_id\": *\"/&$at-/" "$corpus"; done >"$work/long.jsonl"
l0-encode --model "$work/models/minilm" "$work/long.jsonl" --max-tokens 256 --device cuda --dtype bf16 -o "$work/long.parquet"

say "training steps, 256 tokens"
for shape in minilm:16:200 minilm:64:40 base:32:40; do
    IFS=: read -r model batch steps <<<"$shape"
    folder=$work/train-$model-$batch
    gpu data "$folder" "$work/models/$model" --batch "$batch" --tokens 256 --steps "$steps"
    rm -rf "$folder/l0"
    l0-train "$folder/recipe.toml" -o "$folder/l0" --device cuda --dtype bf16 --quiet
    gpu steps "$folder/l0/train.jsonl" --batch "$batch"
    gpu train "$folder/recipe.toml"
    gpu curves "$folder/l0/train.jsonl" "$folder/torch/train.jsonl" 0.03
done
say "done"
