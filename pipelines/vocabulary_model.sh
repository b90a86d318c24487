#!/usr/bin/env bash
# A model with a vocabulary head from a sentence encoder, without labels: a pool of texts, MiniLM-L6 with a decoder made of its
# own words (`base`), and distillation of the whole network by recipes/vocabulary.toml (`run`); then what both find.
#
#   pipelines/vocabulary_model.sh
#
# Needs L0_DATA (train/ with BEIR folders and glosses, eval/) and L0_MODELS (minilm-l6, splade-tiny). What is in target/vocabulary
# is not made again; a run that was killed goes on. About an hour and a half on two cores. No judgement is read before the last step.
# docs/results.md says what came of it.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/pipelines/examples.sh"
. "$here/pipelines/zero_shot.sh"
work=$here/target/vocabulary
data_and_models "$work"

[ -f pool/background.jsonl ] || python3 "$here/pipelines/pool.py" data/train pool
[ -f base/l0.json ] ||
    l0-train from-dense models/minilm-l6 --pooling mean --background pool/background.jsonl --passages 5000 \
        --spread passages --prune top_k:400 -o base
train vocabulary.toml run
{
    "$here/pipelines/terms.sh" base 'MiniLM, no training'
    "$here/pipelines/terms.sh" run 'MiniLM, distilled'
} | tee vocabulary.jsonl
