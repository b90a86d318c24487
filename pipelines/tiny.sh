#!/usr/bin/env bash
# Trains recipes/tiny-cpu.toml from splade-tiny and holds the model against the one it began with, on
# collections that neither saw.
#
#   pipelines/tiny.sh [--set KEY=VALUE ...]     changes go to l0-train
#
# Wants L0_DATA (train/ and eval/ with BEIR folders, idf/) and L0_MODELS (splade-tiny, minilm-l6: the
# teachers). Everything that is made stays in target/tiny; what is there is not made again.
set -euo pipefail
. "$(dirname "$0")/common.sh"
for folder in "${L0_DATA:-}/train" "${L0_DATA:-}/eval" "${L0_MODELS:-}/splade-tiny" "${L0_MODELS:-}/minilm-l6"; do
    [ -d "$folder" ] || { echo "skipped: want $folder; set L0_DATA and L0_MODELS" >&2; exit 0; }
done
work=$here/target/tiny; mkdir -p "$work"; cd "$work"
ln -sfn "$(cd "$L0_DATA" && pwd)" data; ln -sfn "$(cd "$L0_MODELS" && pwd)" models
. "$here/pipelines/zero_shot.sh"

# examples EACH NEGATIVES NAME: every EACH-th query with hard negatives of BM25, scored by three teachers.
examples() {
    local each=$1 negatives=$2 name=$3 folder=data/train/$3
    [ -f "$name.parquet" ] && return
    l0-encode --model bm25 --tokenizer models/splade-tiny "$folder/corpus.jsonl" --quiet |
        l0-index --tokenizer models/splade-tiny -o "$name.l0x" --quiet
    awk -v each="$each" 'NR % each == 0' "$folder/queries.jsonl" >"$name.queries.jsonl"
    l0-train mine --index "$name.l0x" "$name.queries.jsonl" "$folder/qrels/train.tsv" \
        --negatives "$negatives" --to 50 -o "$name.mined.jsonl"
    l0-train score --teacher models/splade-tiny --teacher mean:models/minilm-l6 --teacher bm25 \
        --tokenizer models/splade-tiny --texts "$folder" --max-tokens 128 \
        "$name.mined.jsonl" -o "$name.parquet"
}
examples 6 7 squadshifts
examples 3 7 squad-sentences
examples 20 7 medquad
examples 1 7 stackexchange-small

train tiny-cpu.toml model "$@"

# the start, with the same query table
mkdir -p start
for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
    ln -sfn "../models/splade-tiny/$file" "start/$file"
done
ln -sfn ../data/idf/msmarco-bert-uncased.json start/idf.json
sets="scifact cranfield med vaswani nfcorpus-stripped"
zero_shot start $sets
zero_shot model $sets
