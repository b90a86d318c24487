#!/usr/bin/env bash
# The default model of the programs (l0:default), from a sentence encoder, without labels and without training: rows of
# MiniLM-L6's own words, fitted to short texts and calibrated on passages, in 8 bits. pipelines/terms.sh then
# says what it finds, by terms per document.
#
#   pipelines/vocabulary_model.sh [FOLDER]      FOLDER takes the model (default: target/vocabulary/l0-default;
#                                               src/lib/model/shipped/default ships)
#   DISTILL=1 pipelines/vocabulary_model.sh     also distils the whole network by recipes/vocabulary.toml (`run`), an hour
#
# Needs L0_DATA (train/ with BEIR folders and glosses, eval/, idf/) and L0_MODELS (minilm-l6; splade-tiny has to be there too). What is in
# target/vocabulary is not made again; a run that was killed goes on. About ten minutes on two cores. No
# judgement is read. docs/results.md says what came of it.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/pipelines/examples.sh"
. "$here/pipelines/zero_shot.sh"
work=$here/target/vocabulary target=$(realpath -m "${1:-$here/target/vocabulary/l0-default}")
data_and_models "$work"

[ -f pool/background.jsonl ] || python3 "$here/pipelines/pool.py" data/train pool
# weights from 1.52 up are 398 terms per document of scifact; a word that occurs once in a long document weighs 1.95 * 0.78
# and is cut
[ -f base/l0.json ] ||
    l0-train from-dense models/minilm-l6 --pooling mean --background pool/background.jsonl --passages 5000 --spread passages \
        --queries pool/queries.jsonl --query-weights data/idf/msmarco-bert-uncased.json \
        --lexical 1.95 --prune abs_value:1.52 -o base
rm -rf small
l0-train export base --dtype int8 --max-tokens 256 -o small
# the card is written by hand; what only Sentence Transformers reads stays behind, since it cannot read 8 bits
for file in {,document_1_VocabularyHead/,query_0_SparseStaticEmbedding/}config.json {,query_0_SparseStaticEmbedding/}model.safetensors \
    {config_sentence_transformers,l0,modules,router_config,sentence_bert_config}.json {special_tokens_map,tokenizer,tokenizer_config}.json; do
    install -Dm644 "small/$file" "$target/$file"
done
[ -z "${DISTILL:-}" ] || train vocabulary.toml run
