#!/usr/bin/env bash
# The paper's sweeps at our scale: trains, encodes, indexes, queries and judges every point of
# pipelines/tradeoff.tsv, and draws what comes of it.
#
#   pipelines/tradeoff.sh [--quick] [STUDY...]      STUDY: only these of the grid's first column
#
# Wants L0_DATA (train/ and eval/ with BEIR folders, idf/) and L0_MODELS (splade-tiny to start from;
# minilm-l6 as a second teacher). Everything that is made stays in target/tradeoff: points that are there are
# not made again, and a point that was interrupted is started again. The whole grid takes about an hour on two cores
# and writes pipelines/results; studies, and --quick (a few points, half the steps, the small collections),
# leave results and figures next to their points alone.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/pipelines/examples.sh"
quick= sets="scifact cranfield med vaswani nfcorpus-stripped adi" largest=vaswani tokens=96
if [ "${1:-}" = --quick ]; then quick=-quick sets="cranfield med adi" largest=cranfield; shift; fi
work=$here/target/tradeoff$quick results=$here/pipelines/results
[ -z "$quick$*" ] || results=$work/results
data_and_models "$work"
mkdir -p points "$results"
few=${quick:+3}
examples squadshifts $((16 * ${few:-1}))
examples medquad $((16 * ${few:-1}))
examples stackexchange-small $((2 * ${few:-1}))

commit=$(git -C "$here" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
machine="$(nproc) cores, $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo 2>/dev/null || uname -m)"

# of KEY FILE: the number of a key in a file of JSON lines or of lines KEY TAB NUMBER.
of() { sed -nE "s/.*\"$1\":([-0-9.e]+).*/\1/p; s/^$1\t([-0-9.e]+).*/\1/p" "$2" | head -1; }

# latency INDEX QUERIES: processor time of a query, exact search on one thread, in microseconds.
latency() {
    l0-query "$1" "$2" -k 10 --threads 1 --bench --quiet | sed -nE 's/^mean, processor\t([0-9.]+) .*s$/\1/p'
}

# measure FOLDER: what a model is worth on all collections, as fields of a JSON object in FOLDER/fields.
measure() {
    local folder=$1 name data
    : >"$folder/sets"
    for name in $sets; do
        data=data/eval/$name
        l0-encode --model "$folder/model" --max-tokens $tokens "$data/corpus.jsonl" --quiet -o "$folder/docs.parquet"
        l0-encode --role query --model "$folder/model" "$data/queries.jsonl" --quiet -o "$folder/queries.parquet"
        l0-index --model "$folder/model" "$folder/docs.parquet" --quiet -o "$folder/$name.l0x"
        l0-query "$folder/$name.l0x" "$data/queries.jsonl" -k 100 --format trec --quiet -o "$folder/run"
        l0-eval "$data/qrels/test.tsv" "$folder/run" -m nDCG@10 -m R@100 --quiet >"$folder/measures"
        l0-eval sparsity "$folder/docs.parquet" --queries "$folder/queries.parquet" >"$folder/sparsity"
        echo "$name $(of nDCG@10 "$folder/measures") $(of R@100 "$folder/measures")" \
            "$(of doc_terms_mean "$folder/sparsity") $(of flops "$folder/sparsity")" \
            "$(stat -c %s "$folder/$name.l0x")" >>"$folder/sets"
    done
    # on the largest collection against the baseline's, in turn, the median of five
    data=data/eval/$largest
    for _ in 1 2 3 4 5; do
        echo "$(latency "$folder/$largest.l0x" "$data/queries.jsonl")" \
            "$(latency "points/$baseline/$largest.l0x" "$data/queries.jsonl")"
    done | awk 'NF != 2 { exit 1 } { print $1 / $2 }' | sort -g | sed -n 3p >"$folder/latency"
    awk -v latency="$(cat "$folder/latency")" -v commit="$commit" -v machine="$machine" '
        NF != 6 { exit 1 }
        { each = each sprintf("%s\"%s\":%s", NR > 1 ? "," : "", $1, $2)
          for (at = 2; at <= 6; at++) sum[at] += $at }
        END {
            printf "\"nDCG@10\":%.6f,\"R@100\":%.6f,\"terms\":%.3f,", sum[2] / NR, sum[3] / NR, sum[4] / NR
            printf "\"flops\":%.5f,\"index_bytes\":%d,\"latency\":%.3f,", sum[5] / NR, sum[6], latency
            printf "\"sets\":{%s},\"commit\":\"%s\",\"machine\":\"%s\"", each, commit, machine
        }' "$folder/sets" >"$folder/fields.part"
    mv "$folder/fields.part" "$folder/fields"
    rm -f "$folder"/{docs.parquet,queries.parquet,run}
    [ "$folder" = "points/$baseline" ] || rm -f "$folder"/*.l0x
}

# setting KEY CHANGE...: the number a change gives to a key of the regularizer, else null.
setting() {
    local key=$1 found; shift
    found=$(printf '%s\n' "$@" | sed -nE "s/.*regularizer[^;]*\\b$key *= *([0-9.e-]+).*/\1/p" | tail -1)
    echo "${found:-null}"
}

# place STUDY METHOD NAME SEED: the folder of a point, below points/.
place() { echo "$1.$(printf %s "$2.$3" | tr -c 'A-Za-z0-9.\n' '_').$4"; }

# point FOLDER STUDY METHOD NAME SEED CHANGE...: one line of results, made once.
point() {
    local folder=$1 study=$2 method=$3 name=$4 seed=$5 change changes=() key twin; shift 5
    [ ! -f "$folder/result.json" ] || return 0
    for change in "$@"; do changes+=(--set "$change"); done
    # points of one recipe and seed are one point, whatever the studies that ask for it
    key=$(printf '%s\n' "$seed" "$@" | sort | cksum | tr ' ' -)
    twin=$(cat "points/same.$key" 2>/dev/null || true)
    if [ ! -f "$twin/fields" ]; then
        twin=$folder
        rm -rf "$folder"; mkdir -p "$folder"
        echo "$study: $method, $name, seed $seed" >&2
        l0-train "$here/pipelines/recipes/tradeoff.toml" -o "$folder/model" --quiet \
            --set seed="$seed" ${short:+"${short[@]}"} "${changes[@]}"
        measure "$folder"
        cp "$folder/model/train.jsonl" "$folder/steps"
        rm -rf "$folder/model/checkpoints"
        echo "$folder" >"points/same.$key"
    fi
    mkdir -p "$folder"
    [ "$twin" = "$folder" ] || cp "$twin"/{fields,steps} "$folder/"
    {
        printf '{"study":"%s","method":"%s","name":"%s","seed":%d,' "$study" "$method" "$name" "$seed"
        cat "$folder/fields"
        printf ',"lambda":%s,"threshold":%s' "$(setting lambda "$@")" "$(setting threshold "$@")"
        printf ',"recipe":"tradeoff.toml","changes":"%s"}\n' "$(printf '%s; ' "$@" | sed 's/"/\\"/g')"
    } >"$folder/result.part"
    mv "$folder/result.part" "$folder/result.json"
}

short=() baseline= made=()
[ -z "$quick" ] || short=(--set stage.0.steps=80 --set stage.0.warmup=8)
while IFS=$'\t' read -r study method name seeds in_quick changes; do
    case $study in '' | '#'*) continue ;; esac
    [ -z "$quick" ] || [ "$in_quick" = quick ] || continue
    [ -z "$quick" ] || seeds=0
    wanted=$([ $# -eq 0 ] && echo yes || true)
    for asked in "$@"; do [ "$asked" != "$study" ] || wanted=yes; done
    [ -n "$wanted" ] || [ -z "$baseline" ] || continue
    [ -n "$baseline" ] || baseline=$(place "$study" "$method" "$name" 0)
    IFS='@' read -ra list <<<"$changes"
    for seed in ${seeds//,/ }; do
        folder=points/$(place "$study" "$method" "$name" "$seed")
        point "$folder" "$study" "$method" "$name" "$seed" "${list[@]}"
        made+=("$folder")
    done
done <"$here/pipelines/tradeoff.tsv"

for folder in "${made[@]}"; do cat "$folder/result.json"; done >"$results/tradeoff.jsonl"
# terms on the way: one line a logged step, of the points of one λ
for folder in "${made[@]}"; do
    grep -q '"study":"lambda".*"name":"λ 0.1"' "$folder/result.json" || continue
    method=$(sed -nE 's/.*"method":"([^"]*)".*/\1/p' "$folder/result.json")
    line="{\"method\":\"$method\",\"name\":\"\2\",\"step\":\2,\"terms\":\1}"
    sed -nE "s/.*\"nnz\":([0-9.]+).*\"step\":([0-9]+).*/$line/p" "$folder/steps"
done >"$results/steps.jsonl"
"$here/pipelines/figures.sh" "$results"
echo "results and figures: ${results#"$here"/}" >&2
