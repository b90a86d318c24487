#!/usr/bin/env bash
# Encodes, indexes, queries and judges the demo collection (testdata/demo) and prints a small table.
#
#   pipelines/demo.sh [FOLDER]      FOLDER keeps what is made (default: target/demo)
#
# BM25 needs no model. If L0_MODELS names a folder that has splade-tiny in it, its documents are
# encoded by the network too, and its queries by table look-up alone.
set -euo pipefail
. "$(dirname "$0")/common.sh"
work=${1:-$here/target/demo}; mkdir -p "$work"
demo=$here/testdata/demo
queries=$demo/queries.jsonl qrels=$demo/qrels/test.tsv

header "333 passages, 60 queries"
l0-encode --model bm25 --tokenizer "$demo" "$demo/corpus.jsonl" --keep-text --quiet |
    search bm25 "$queries" "$qrels" --tokenizer "$demo"

model=${L0_MODELS:-}/splade-tiny index=bm25.l0x
if [ -d "$model" ]; then
    l0-encode --model "$model" "$demo/corpus.jsonl" --keep-text --quiet -o "$work/splade-tiny.parquet"
    l0-encode idf --tokenizer "$model" "$demo/corpus.jsonl" --quiet -o "$work/idf.json"
    search splade-tiny-unit "$queries" "$qrels" --tokenizer "$model" <"$work/splade-tiny.parquet"
    search splade-tiny-idf "$queries" "$qrels" --tokenizer "$model" --query-weights "$work/idf.json" \
        <"$work/splade-tiny.parquet"
    index=splade-tiny-idf.l0x
else
    echo "(no network: L0_MODELS names no folder with splade-tiny in it)"
fi
programs=${PATH%%:*}
echo
echo "Ask it yourself:  ${programs#"$PWD"/}/l0-query ${work#"$PWD"/}/$index"
