#!/usr/bin/env bash
# Effectiveness and cost of a model against the terms that are kept of a document; documents are encoded once.
#
#   pipelines/terms.sh MODEL NAME [K...]      MODEL is a folder as l0-train writes it; NAME labels the rows; K: 100 150 200 300 400
#
# Needs L0_DATA. The demo (and how many of its 31 questions that share no word with their answer have it in the first five), then
# five collections of data/eval, 256 word pieces, exact search, query weights as the model says. terms, FLOPS and bytes of the index
# per document are those of scifact. Prints JSON lines; vectors stay in target/terms/NAME.
set -euo pipefail
. "$(dirname "$0")/common.sh"
model=$(realpath -e "$1") name=$2; shift 2
[ $# -gt 0 ] || set -- 100 150 200 300 400
[ -d "${L0_DATA:-}/eval" ] || { echo "skipped: expected L0_DATA with eval/ in it" >&2; exit 0; }
work=$here/target/terms/$name; mkdir -p "$work"; cd "$work"
sets="scifact cranfield med vaswani nfcorpus-stripped"

folder() { if [ "$1" = demo ]; then echo "$here/testdata/demo"; else echo "$L0_DATA/eval/$1"; fi; }
number() { grep -o "\"$1\":[0-9.e-]*" | head -1 | cut -d: -f2; }

for set in demo $sets; do
    data=$(folder "$set")
    [ -f "$set.jsonl" ] ||
        l0-encode --model "$model" --max-tokens 256 "$data/corpus.jsonl" --format jsonl --quiet -o "$set.jsonl"
    if [ ! -f "$set.table.json" ]; then
        l0-encode idf --tokenizer "$model" --max-tokens 256 "$data/corpus.jsonl" --quiet |
            python3 "$here/pipelines/reweigh.py" "$model" >"$set.table.tmp"
        mv "$set.table.tmp" "$set.table.json"
    fi
    l0-encode --role query --model "$model" "$data/queries.jsonl" --quiet -o "$set.queries.parquet"
done
sed -n 's/.*"mismatch": \[\(.*\)\].*/\1/p' "$here/testdata/demo/META.json" | tr -d '" ' | tr , '\n' >ids
awk 'NR == FNR { wanted[$1]; next } FNR == 1 || $1 in wanted' ids "$here/testdata/demo/qrels/test.tsv" >mismatch.tsv
for k in "$@"; do
    row="" sum=0 terms=0 flops=0
    for set in demo $sets; do
        data=$(folder "$set")
        python3 "$here/pipelines/keep_largest.py" "$k" <"$set.jsonl" >kept.jsonl
        l0-index kept.jsonl --model "$model" --query-weights "$set.table.json" --quiet -o kept.l0x
        l0-query kept.l0x "$data/queries.jsonl" -k 100 --format trec --quiet -o kept.run
        value=$(l0-eval "$data/qrels/test.tsv" kept.run -m nDCG@10 --format jsonl --quiet | number value)
        if [ "$set" = demo ]; then
            share=$(l0-eval mismatch.tsv kept.run -m 'Success(rel=2)@5' --format jsonl --quiet | number value)
            row="\"demo\":$value,\"mismatch\":$(awk -v s="$share" -v n="$(wc -l <ids)" 'BEGIN { printf "%.0f", s * n }')"
            continue
        fi
        found=$(l0-eval sparsity kept.jsonl --queries "$set.queries.parquet" --format jsonl)
        row="$row,\"$set\":$value"
        sum=$(awk -v a="$sum" -v b="$value" 'BEGIN { print a + b / 5 }')
        if [ "$set" = scifact ]; then
            terms=$(number doc_terms_mean <<<"$found") flops=$(number flops <<<"$found")
            bytes=$(($(stat -c %s kept.l0x) / $(wc -l <"$data/corpus.jsonl")))
        fi
    done
    printf '{"name":"%s","k":%s,"nDCG@10":%.4f,"terms":%.1f,"flops":%.2f,"bytes":%s,%s}\n' \
        "$name" "$k" "$sum" "$terms" "$flops" "$bytes" "$row"
done
