#!/usr/bin/env bash
# Encodes, indexes, queries and judges the demo collection (testdata/demo) and prints a small table.
#
#   pipelines/demo.sh [FOLDER]      FOLDER keeps what is made (default: target/demo)
#
# BM25 over word pieces, and the model that ships with the programs: its documents are encoded by the
# network, its queries by table look-up alone. Then the same on the queries that share no word with
# an answer, how many of these have an answer (grade 2) among the first five, and three of them with the
# answer that the model found.
set -euo pipefail
. "$(dirname "$0")/common.sh"
work=${1:-$here/target/demo}; mkdir -p "$work"
demo=$here/testdata/demo
queries=$demo/queries.jsonl qrels=$demo/qrels/test.tsv

header "333 passages, 60 queries"
l0-encode --model bm25 "$demo/corpus.jsonl" --keep-text --quiet |
    search bm25 "$queries" "$qrels" --tokenizer l0:default
l0-encode "$demo/corpus.jsonl" --keep-text --quiet -o "$work/l0-default.parquet"
search l0-default "$queries" "$qrels" <"$work/l0-default.parquet"

echo
ids=$(sed -n 's/.*"mismatch": \[\(.*\)\].*/\1/p' "$demo/META.json" | tr -d '" ')
awk -v ids="$ids" 'BEGIN { FS = "\t"; split(ids, list, ","); for (at in list) wanted[list[at]] = 1 }
    NR == 1 || $1 in wanted' "$qrels" >"$work/mismatch.tsv"
count=$(tr , '\n' <<<"$ids" | wc -l)
header "$count that share no word"
for name in bm25 l0-default; do measure "$name" "$work/mismatch.tsv"; done
echo
for name in bm25 l0-default; do
    found=$(l0-eval "$work/mismatch.tsv" "$work/$name.run" -m 'Success(rel=2)@5' --format jsonl --quiet |
        sed -n 's/.*"value":\([0-9.]*\).*/\1/p')
    awk -v name="$name" -v share="$found" -v count="$count" \
        'BEGIN { printf "%s answers %.0f of %d of them in the first five\n", name, share * count, count }'
done

echo
echo "Three of them, with the answer that the model found, and its rank:"
awk -F '\t' 'NR == FNR { if ($3 == 2) answer[$1, $2] = 1; next }
    { split($0, hit, " ") } hit[4] <= 5 && (hit[1], hit[3]) in answer && !seen[hit[1]]++ && shown++ < 3 {
        print hit[1] "\t" hit[3] "\t" hit[4] }' \
    "$work/mismatch.tsv" "$work/l0-default.run" |
    while IFS=$'\t' read -r query answer rank; do
        text() { grep "\"_id\": *\"$1\"" "$2" | sed -n "s/.*\"$3\": *\"\([^\"]*\)\".*/\1/p"; }
        printf '  %s\n  %4s  %s: %s\n' "$(text "$query" "$queries" text)" "$rank" "$answer" "$(text "$answer" "$demo/corpus.jsonl" title)"
    done
programs=${PATH%%:*}
echo
echo "Ask it yourself:  ${programs#"$PWD"/}/l0-query ${work#"$PWD"/}/l0-default.l0x"
