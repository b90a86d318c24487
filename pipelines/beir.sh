#!/usr/bin/env bash
# Encodes, indexes, queries and judges one BEIR collection.
#
#   pipelines/beir.sh NAME [MODEL]     NAME as BEIR has it: scifact, nfcorpus, fiqa …
#
# MODEL is a model directory (default: $L0_MODELS/splade-tiny). The collection comes from
# $L0_DATA/eval/NAME or $L0_DATA/NAME when it is there, else the official archive is fetched to
# target/beir and checked by its published hash. What is made stays in target/beir/NAME.
#
#   MAX_TOKENS=256        word pieces of a document        QUERY_TOKENS=64   of a query through the network
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
name=$1 model=${2:-${L0_MODELS:-models}/splade-tiny}
max_tokens=${MAX_TOKENS:-256} query_tokens=${QUERY_TOKENS:-64}

md5_of() { # the hashes that BEIR publishes with its archives
    case $1 in
    msmarco) echo 444067daf65d982533ea17ebd59501e4 ;; trec-covid) echo ce62140cb23feb9becf6270d0d1fe6d1 ;;
    nfcorpus) echo a89dba18a62ef92f7d323ec890a0d38d ;; nq) echo d4d3d2e48787a744b6f6e691ff534307 ;;
    hotpotqa) echo f412724f78b0d91183a0e86805e16114 ;; fiqa) echo 17918ed23cd04fb15047f73e6c3bd9d9 ;;
    arguana) echo 8ad3e3c2a5867cdced806d6503f29b99 ;; quora) echo 18fb154900ba42a600f84b839c173167 ;;
    webis-touche2020) echo 46f650ba5a527fc69e0a6521c5a23563 ;; scidocs) echo 38121350fc3a4d2f48850f6aff52e4a9 ;;
    dbpedia-entity) echo c2a39eb420a3164af735795df012ac2c ;; fever) echo 5a818580227bfb4b35bb6fa46d9b6c03 ;;
    climate-fever) echo 8b66f0a9126c521bae2bde127b4dc99d ;; scifact) echo 5f7d1de60b170fc8027bb7898e2efca1 ;;
    *) echo "no collection \`$1\` in L0_DATA, and BEIR publishes none of that name" >&2; return 1 ;;
    esac
}

fetch() { # NAME FOLDER: the official archive, whole and checked, or nothing
    local hash archive=$2/$1.zip
    hash=$(md5_of "$1")
    echo "fetching $1 from BEIR" >&2
    curl -f -L --progress-bar -o "$archive.part" \
        "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/$1.zip"
    echo "$hash  $archive.part" | md5sum --check --quiet || { rm "$archive.part"; exit 1; }
    mv "$archive.part" "$archive"
    python3 -m zipfile -e "$archive" "$2"
}

work=$here/target/beir/$name; mkdir -p "$work"
for data in "${L0_DATA:-none}/eval/$name" "${L0_DATA:-none}/$name" "$here/target/beir/data/$name"; do
    if [ -f "$data/corpus.jsonl" ]; then break; fi
done
if [ ! -f "$data/corpus.jsonl" ]; then mkdir -p "$(dirname "$data")"; fetch "$name" "$(dirname "$data")"; fi
[ -f "$model/tokenizer.json" ] || { echo "expected a model directory at $model; say MODEL or set L0_MODELS" >&2; exit 1; }
queries=$data/queries.jsonl qrels=$data/qrels/test.tsv

header "$name"
l0-encode --model bm25 --tokenizer "$model" "$data/corpus.jsonl" --quiet -o "$work/bm25.parquet"
l0-encode --role query --model bm25 --tokenizer "$model" "$queries" --quiet -o "$work/bm25-queries.parquet"
search bm25-set "$queries" "$qrels" --tokenizer "$model" <"$work/bm25.parquet"
search bm25-bag "$work/bm25-queries.parquet" "$qrels" --tokenizer "$model" <"$work/bm25.parquet"

label=$(basename "$model")
l0-encode --model "$model" --max-tokens "$max_tokens" "$data/corpus.jsonl" --resume -o "$work/$label.parquet"
l0-encode idf --tokenizer "$model" "$data/corpus.jsonl" --quiet -o "$work/idf.json"
l0-encode --role query --model "$model" --max-tokens "$query_tokens" "$queries" --quiet -o "$work/queries.parquet"
search "$label-both" "$work/queries.parquet" "$qrels" --tokenizer "$model" <"$work/$label.parquet"
search "$label-unit" "$queries" "$qrels" --tokenizer "$model" --query-weights unit <"$work/$label.parquet"
search "$label-idf" "$queries" "$qrels" --tokenizer "$model" --query-weights "$work/idf.json" <"$work/$label.parquet"
l0-query "$work/$label-idf.l0x" "$queries" -k 10 --check-exact
