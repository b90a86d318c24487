#!/usr/bin/env bash
# A model of MiniLM's size (22.7 M parameters) on a CUDA device: a head for it, examples, three runs that differ by
# their seed, the mean of their weights in half precision; measured on collections that no run saw.
#
#   pipelines/minilm.sh [DEVICE]      cuda, cuda:I or cpu (days)
#
# Wants what pipelines/model.sh wants, and programs that were built with the feature cuda. Examples, runs and vectors
# stay in target/minilm; what is there is not made again.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/pipelines/examples.sh"
. "$here/pipelines/zero_shot.sh"
device=${1:-cuda} precision=bf16
[ "$device" != cpu ] || precision=f32
data_and_models "$here/target/minilm"
for name in squadshifts squad-sentences stackexchange-small covid-qa pubmedqa; do examples "$name" 1; done
examples medquad 4

if [ ! -f corpus.jsonl ]; then
    for name in squadshifts squad-sentences stackexchange-small covid-qa pubmedqa medquad; do
        cat "data/train/$name/corpus.jsonl"
    done >corpus.jsonl.part
    awk -F'\t' '{ gsub(/["\\]/, " "); printf "{\"_id\":\"wordnet-%d\",\"text\":\"%s: %s\"}\n", NR, $2, $3 }' \
        data/train/wordnet-glosses.tsv >>corpus.jsonl.part
    mv corpus.jsonl.part corpus.jsonl
fi

train minilm-head.toml head --device "$device" --dtype "$precision" --quiet
for seed in 0 1 2; do
    train minilm-gpu.toml "run.$seed" --device "$device" --dtype "$precision" --quiet --set "seed=$seed"
done
[ -f minilm/l0.json ] ||
    l0-train export run.0 run.1 run.2 -o minilm --lexical 0.5 --threshold 0.38 --max-tokens 256
sets="scifact cranfield med vaswani nfcorpus-stripped"
zero_shot minilm $sets
CORPUS_IDF=1 zero_shot minilm $sets
