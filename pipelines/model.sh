#!/usr/bin/env bash
# Makes the small model that ships with the programs (l0:tiny): examples, three runs of recipes/tiny.toml that
# differ by their seed, the mean of their weights in half precision; then compares it with BM25 and the model
# it began with, on collections that no run saw.
#
#   pipelines/model.sh [FOLDER]      FOLDER gets the model, in place of one that is there (default:
#                                    target/model/l0-tiny; src/lib/model/shipped/tiny ships)
#
# Wants L0_DATA (train/ and eval/ with BEIR folders, idf/) and L0_MODELS (splade-tiny to start from;
# minilm-l6 as a second teacher). Examples, runs and vectors stay in target/model; what is there is not
# made again. Half an hour on two cores. The rows that it prints go into target/model/model.jsonl too.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/pipelines/examples.sh"
. "$here/pipelines/zero_shot.sh"
work=$here/target/model target=$(realpath -m "${1:-$here/target/model/l0-tiny}")
data_and_models "$work"
examples squadshifts 4
examples squad-sentences 3
examples medquad 4
examples stackexchange-small 1

for seed in 0 1 2; do train tiny.toml "run.$seed" --quiet --set seed=$seed; done

# mean FOLDER ARGUMENTS...: the mean of the runs, in place of a model that is there
mean() {
    local folder=$1; shift
    if [ -f "$folder/l0.json" ]; then rm -r "$folder"; fi
    l0-train export run.0 run.1 run.2 -o "$folder" "$@"
}
# the weight of the lexical part and the threshold: chosen on covid-qa and pubmedqa, which no run trains on
mean "$target" --lexical 0.5 --threshold 0.38 --max-tokens 256 --card "$here/pipelines/model_card.md"
mean network --max-tokens 256
[ "$target" = "$work/l0-tiny" ] || ln -sfnT "$target" l0-tiny

sets="scifact cranfield med vaswani nfcorpus-stripped"
mkdir -p splade-tiny
for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
    ln -sfn "../models/splade-tiny/$file" "splade-tiny/$file"
done
ln -sfn ../data/idf/msmarco-bert-uncased.json splade-tiny/idf.json
{
    zero_shot bm25 $sets
    zero_shot splade-tiny $sets
    CORPUS_IDF=1 zero_shot splade-tiny $sets
    zero_shot network $sets
    zero_shot l0-tiny $sets
    CORPUS_IDF=1 zero_shot l0-tiny $sets
} | tee tables
awk '$1 == "model" || !NF { next }
    { label = $1; for (at = 2; at <= NF - 4; at++) label = label " " $at; name = $(NF - 3) }
    name != "mean" { each[label] = each[label] sprintf(",\"%s\":%s", name, $(NF - 2)); next }
    { printf "{\"name\":\"%s\",\"nDCG@10\":%s,\"terms\":%s,\"flops\":%s%s}\n", label, $(NF - 2), $(NF - 1), $NF, each[label] }
    ' tables >model.jsonl
