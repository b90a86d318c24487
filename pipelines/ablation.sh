#!/usr/bin/env bash
# What each choice of `l0-train from-dense` does, by leaving it out: a row per variant and seed, as JSON lines for l0-eval tradeoff.
#
#   [SEEDS='0 1 2'] pipelines/ablation.sh [NAME...] >rows.jsonl      NAME: variants as in the list below; default: all
#
# A seed is a third of the texts: other 260 background passages, and other 10,000 short texts. Collections: the demo, cranfield and
# med (nDCG@10 is the mean of the last two), 256 word pieces, exact search. Needs L0_DATA, L0_MODELS and the pool of
# pipelines/vocabulary_model.sh. About two minutes per row on two cores; a row that is there is not made again.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/pipelines/examples.sh"
work=$here/target/ablation
data_and_models "$work"
pool=$here/target/vocabulary/pool
[ -f "$pool/queries.jsonl" ] || { echo "expected $pool/queries.jsonl: run pipelines/vocabulary_model.sh first" >&2; exit 1; }

number() { grep -o "\"$1\":[0-9.e-]*" | head -1 | cut -d: -f2; }
slice() { sed -n "$(($2 * $3 + 1)),$((($2 + 1) * $3))p" "$1"; }

# row NAME SEED INDEX-OPTIONS FROM-DENSE-OPTIONS...
row() {
    local name=$1 seed=$2 search=$3 set data value cells="" sum=0 terms flops; shift 3
    [ -s "$name.$seed.json" ] && { cat "$name.$seed.json"; return; }
    rm -rf model; l0-train from-dense models/minilm-l6 --quiet -o model "$@"
    for set in demo cranfield med; do
        data=data/eval/$set; [ "$set" = demo ] && data=$here/testdata/demo
        l0-encode --quiet --model model --max-tokens 256 "$data/corpus.jsonl" -o rows.parquet
        l0-encode --quiet --model model --role query "$data/queries.jsonl" -o queries.parquet
        # shellcheck disable=SC2086
        l0-index --quiet --model model --weights f32 $search rows.parquet -o rows.l0x
        l0-query --quiet rows.l0x "$data/queries.jsonl" -k 100 --format trec -o rows.run
        value=$(l0-eval "$data/qrels/test.tsv" rows.run -m nDCG@10 --format jsonl --quiet | number value)
        cells="$cells,\"$set\":$value"
        if [ "$set" = demo ]; then
            value=$(l0-eval mismatch.tsv rows.run -m 'Success(rel=2)@5' --format jsonl --quiet | number value)
            cells="$cells,\"mismatch\":$(awk -v s="$value" -v n="$(wc -l <ids)" 'BEGIN { printf "%.0f", s * n }')"
        else
            sum=$(awk -v a="$sum" -v b="$value" 'BEGIN { print a + b / 2 }')
            flops=$(l0-eval sparsity rows.parquet --queries queries.parquet --format jsonl | tee found | number flops)
            terms=$(number doc_terms_mean <found)
        fi
    done
    printf '{"name":"%s","seed":%s,"nDCG@10":%.4f,"terms":%.1f,"flops":%.2f%s}\n' \
        "$name" "$seed" "$sum" "$terms" "$flops" "$cells" >"$name.$seed.json"
    cat "$name.$seed.json"
}

sed -n 's/.*"mismatch": \[\(.*\)\].*/\1/p' "$here/testdata/demo/META.json" | tr -d '" ' | tr , '\n' >ids
awk 'NR == FNR { wanted[$1]; next } FNR == 1 || $1 in wanted' ids "$here/testdata/demo/qrels/test.tsv" >mismatch.tsv

for name in "${@:-all}"; do
    for seed in ${SEEDS:-0 1 2}; do
        slice "$pool/background.jsonl" "$seed" 260 >background.jsonl
        slice "$pool/queries.jsonl" "$seed" 10000 >queries.jsonl
        base=(--pooling mean --background background.jsonl --queries queries.jsonl)
        variant() { # variant NAME INDEX-OPTIONS FROM-DENSE-OPTIONS...
            local of=$1 search=$2; shift 2
            if [ "$name" = all ] || [ "$name" = "$of" ]; then row "$of" "$seed" "$search" "$@"; fi
        }
        unfitted=(--pooling mean --background background.jsonl)
        variant default '' "${base[@]}"
        variant rows-of-words '' "${unfitted[@]}"
        variant model-weights '--query-weights model' "${base[@]}"
        variant cls '' --pooling cls "${base[@]:2}"
        variant max '' --pooling max "${base[@]:2}"
        variant tied '' "${unfitted[@]}" --decoder tied
        variant rank-64 '' "${unfitted[@]}" --decoder rank:64
        variant rank-192 '' "${unfitted[@]}" --decoder rank:192
        variant lexical-0 '' "${base[@]}" --lexical 0
        variant lexical-1 '' "${base[@]}" --lexical 1
        variant lexical-3 '' "${base[@]}" --lexical 3
        variant threshold '' "${base[@]}" --prune abs_value:1.5
    done
done
