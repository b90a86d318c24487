# zero_shot MODEL NAME...: a table of a model directory on judged collections it did not see; sourced.
# Queries by the directory's own table, 256 word pieces of a document (MAX_TOKENS), exact search.
# Documents are encoded again when the model is newer than their vectors.
zero_shot() {
    local model=$1 tokens=${MAX_TOKENS:-256} name out data; shift
    printf '%-20s %-18s %8s %8s %8s\n' model collection nDCG@10 terms FLOPS
    for name in "$@"; do
        out=$(basename "$model").$name.$tokens data=data/eval/$name
        [ "$out.parquet" -nt "$model/model.safetensors" ] ||
            l0-encode --model "$model" --max-tokens "$tokens" "$data/corpus.jsonl" --quiet -o "$out.parquet"
        l0-encode --role query --model "$model" "$data/queries.jsonl" --quiet -o "$out.queries.parquet"
        l0-index --model "$model" "$out.parquet" --quiet -o "$out.l0x"
        l0-query "$out.l0x" "$data/queries.jsonl" -k 100 --format trec --quiet -o "$out.run"
        { l0-eval "$data/qrels/test.tsv" "$out.run" -m nDCG@10 --format jsonl --quiet
          l0-eval sparsity "$out.parquet" --queries "$out.queries.parquet" --format jsonl; } |
            awk -v model="$model" -v name="$name" '
                function of(key,  from) {
                    if (!match($0, "\"" key "\":[0-9.e-]+")) return ""
                    from = RSTART + length(key) + 3
                    return substr($0, from, RSTART + RLENGTH - from)
                }
                of("value") != "" { value = of("value") }
                of("flops") != "" { terms = of("doc_terms_mean"); flops = of("flops") }
                END { printf "%-20s %-18s %8.4f %8.1f %8.2f\n", model, name, value, terms, flops }'
    done | awk '{ print; for (at = 3; at <= 5; at++) sum[at] += $at }
        END { printf "%-20s %-18s %8.4f %8.1f %8.2f\n", $1, "mean", sum[3] / NR, sum[4] / NR, sum[5] / NR }'
}

# train RECIPE FOLDER ARGUMENTS...: a run, begun, gone on with, or done already. The card is written last.
train() {
    local recipe=$1 folder=$2; shift 2
    [ -f "$folder/README.md" ] && return
    compgen -G "$folder/checkpoints/step-*" >/dev/null && set -- --resume "$@"
    l0-train "$here/pipelines/recipes/$recipe" -o "$folder" "$@"
}
