# zero_shot MODEL NAME...: a table of a model directory on judged collections it did not see; sourced.
# Queries by the directory's own table, 256 word pieces of a document (MAX_TOKENS), exact search.
zero_shot() {
    local model=$1 name out; shift
    printf '%-20s %-18s %8s %8s %8s\n' model collection nDCG@10 terms FLOPS
    for name in "$@"; do
        out=$(basename "$model").$name
        [ -f "$out.parquet" ] || l0-encode --model "$model" --max-tokens "${MAX_TOKENS:-256}" \
            "data/eval/$name/corpus.jsonl" --quiet -o "$out.parquet"
        l0-encode --role query --model "$model" "data/eval/$name/queries.jsonl" --quiet -o "$out.queries.parquet"
        l0-index --model "$model" "$out.parquet" --quiet -o "$out.l0x"
        l0-query "$out.l0x" "data/eval/$name/queries.jsonl" -k 100 --format trec --quiet -o "$out.run"
        { l0-eval "data/eval/$name/qrels/test.tsv" "$out.run" -m nDCG@10 --format jsonl --quiet
          l0-eval sparsity "$out.parquet" --queries "$out.queries.parquet" --format jsonl; } |
            awk -v model="$model" -v name="$name" '
                function of(key) { return match($0, "\"" key "\":[0-9.e-]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "" }
                of("value") != "" { value = of("value") }
                of("flops") != "" { printf "%-20s %-18s %8.4f %8.1f %8.2f\n", model, name, value, of("doc_terms_mean"), of("flops") }'
    done | awk '{ print; for (at = 3; at <= 5; at++) sum[at] += $at }
        END { printf "%-20s %-18s %8.4f %8.1f %8.2f\n", $1, "mean", sum[3] / NR, sum[4] / NR, sum[5] / NR }'
}
