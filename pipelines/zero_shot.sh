# What the pipelines measure models by; sourced.

# zero_shot MODEL NAME...: a table of a model directory on judged collections it did not see.
# MODEL is a directory, or bm25 (word pieces of models/splade-tiny). Queries by the directory's own table, or by the
# idf of each collection where CORPUS_IDF is set; 256 word pieces of a document (MAX_TOKENS), exact search.
# Documents are encoded again when the model is newer than their vectors.
zero_shot() {
    local model=$1 tokens=${MAX_TOKENS:-256} label name out data options tokenizer; shift
    label=$(basename "$model")${CORPUS_IDF:+, corpus idf} tokenizer=models/splade-tiny
    printf '%-24s %-18s %8s %8s %8s\n' model collection nDCG@10 terms FLOPS
    for name in "$@"; do
        out=$(basename "$model").$name.$tokens data=data/eval/$name options=()
        [ "$model" != bm25 ] || options=(--tokenizer "$tokenizer")
        [ -f "$out.parquet" ] && [ "$out.parquet" -nt "$model/l0.json" ] ||
            l0-encode --model "$model" "${options[@]}" --max-tokens "$tokens" "$data/corpus.jsonl" --quiet \
                -o "$out.parquet"
        l0-encode --role query --model "$model" "${options[@]}" "$data/queries.jsonl" --quiet \
            -o "$out.queries.parquet"
        [ "$model" = bm25 ] || options=(--model "$model")
        if [ -n "${CORPUS_IDF:-}" ]; then
            l0-encode idf --tokenizer "$tokenizer" "$data/corpus.jsonl" --quiet -o "$name.idf.json"
            options+=(--query-weights "$name.idf.json")
        fi
        l0-index "${options[@]}" "$out.parquet" --quiet -o "$out.l0x"
        l0-query "$out.l0x" "$data/queries.jsonl" -k 100 --format trec --quiet -o "$out.run"
        { l0-eval "$data/qrels/test.tsv" "$out.run" -m nDCG@10 --format jsonl --quiet
          l0-eval sparsity "$out.parquet" --queries "$out.queries.parquet" --format jsonl; } |
            awk -v label="$label" -v name="$name" '
                function of(key,  from) {
                    if (!match($0, "\"" key "\":[0-9.e-]+")) return ""
                    from = RSTART + length(key) + 3
                    return substr($0, from, RSTART + RLENGTH - from)
                }
                of("value") != "" { value = of("value") }
                of("flops") != "" { terms = of("doc_terms_mean"); flops = of("flops") }
                END { printf "%-24s %-18s %8.4f %8.1f %8.2f\n", label, name, value, terms, flops }'
    done | awk -v label="$label" '{ print; for (at = 0; at < 3; at++) sum[at] += $(NF - at) }
        END { printf "%-24s %-18s %8.4f %8.1f %8.2f\n", label, "mean", sum[2] / NR, sum[1] / NR, sum[0] / NR }'
}

# train RECIPE FOLDER ARGUMENTS...: a run, begun, gone on with, or done already. The weights are written last.
train() {
    local recipe=$1 folder=$2; shift 2
    [ -f "$folder/model.safetensors" ] && return
    compgen -G "$folder/checkpoints/step-*" >/dev/null && set -- --resume "$@"
    l0-train "$here/pipelines/recipes/$recipe" -o "$folder" "$@"
}
