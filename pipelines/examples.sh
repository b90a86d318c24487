# Where data and models are, and examples with teachers' scores; sourced.

# data_and_models WORK: makes and enters the folder WORK, with links to the data and the models in it; where they are
# absent, says so and ends the pipeline.
data_and_models() {
    local folder
    for folder in "${L0_DATA:-}/train" "${L0_DATA:-}/eval" "${L0_MODELS:-}/splade-tiny" "${L0_MODELS:-}/minilm-l6"; do
        [ -d "$folder" ] || { echo "skipped: expected $folder; set L0_DATA and L0_MODELS" >&2; exit 0; }
    done
    mkdir -p "$1"
    ln -sfnT "$(realpath "$L0_DATA")" "$1/data"; ln -sfnT "$(realpath "$L0_MODELS")" "$1/models"
    cd "$1"
}

# examples NAME EACH: every EACH-th query of data/train/NAME with hard negatives, as three teachers score them, in
# NAME.parquet; its ids are those of the folder NAME. Half of the queries get what BM25 finds (ranks to 60) beside
# the good document, the other half what splade-tiny finds.
examples() {
    local name=$1 each=$2 folder=data/train/$1 part
    [ ! -f "$name.parquet" ] || return 0
    echo "examples of $name" >&2
    ln -sfnT "$folder" "$name"
    l0-encode --model bm25 --tokenizer models/splade-tiny "$folder/corpus.jsonl" --quiet |
        l0-index --tokenizer models/splade-tiny --quiet -o "$name.0.l0x"
    l0-encode --model models/splade-tiny --max-tokens 128 "$folder/corpus.jsonl" --quiet |
        l0-index --tokenizer models/splade-tiny --query-weights data/idf/msmarco-bert-uncased.json --quiet \
            -o "$name.1.l0x"
    for part in 0 1; do
        awk -v each="$each" -v part="$part" 'NR % each == 0 && (NR / each) % 2 == part' \
            "$folder/queries.jsonl" >"$name.$part.jsonl"
        l0-train mine --index "$name.$part.l0x" "$name.$part.jsonl" "$folder/qrels/train.tsv" \
            --negatives 7 --to 60 --quiet -o "$name.$part.mined.jsonl"
    done
    # a step takes four documents of a query; "," stands between the ids of a list
    awk 'gsub(/","/, "&") >= 2' "$name".[01].mined.jsonl >"$name.mined.jsonl"
    l0-train score --teacher models/splade-tiny --teacher mean:models/minilm-l6 --teacher bm25 \
        --tokenizer models/splade-tiny --texts "$folder" --max-tokens 160 "$name.mined.jsonl" -o "$name.parquet"
}
