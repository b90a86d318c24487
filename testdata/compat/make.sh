#!/usr/bin/env bash
# Writes what README.md describes: make.sh PROGRAMS VERSION, run from the root of the repository.
# PROGRAMS is a folder with the five programs of that version; the files go to testdata/compat/VERSION.
# PYTHON names a Python with numpy and safetensors.
set -euo pipefail
PATH=$1:$PATH
out=testdata/compat/$2
model=$out/base
rm -rf "$out"
mkdir -p "$out/data/qrels"
"${PYTHON:-python3}" testdata/compat/base.py "$model"

# inputs: part of the demo collection, kept here because the demo may change
head -40 testdata/demo/corpus.jsonl > "$out/data/corpus.jsonl"
head -20 testdata/demo/queries.jsonl > "$out/data/queries.jsonl"
printf 'query-id\tcorpus-id\tscore\n' > "$out/data/qrels/test.tsv"
awk 'NR == FNR { split($0, part, "\""); known[part[4]]; next } $2 in known' \
    "$out/data/corpus.jsonl" testdata/demo/qrels/test.tsv | grep -E '^q(0[1-9]|1[0-9]|20)\b' \
    >> "$out/data/qrels/test.tsv"

# short documents, of which 64 are read at a time
head -200 testdata/demo/corpus.jsonl | sed -E 's/"title": ("[^"]*").*/"text": \1}/' > "$out/data/titles.jsonl"

# vectors
encode="l0-encode --model $model --quiet"
for form in parquet arrow jsonl; do
    $encode --prune top_k:16 "$out/data/corpus.jsonl" -o "$out/vectors.$form"
done

# indexes of the whole demo collection, one with texts, and their answers
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
$encode --prune top_k:16 testdata/demo/corpus.jsonl -o "$scratch/all.parquet"
$encode --prune top_k:16 "$out/data/corpus.jsonl" --keep-text -o "$scratch/texts.parquet"
index="l0-index --model $model --quiet"
$index "$scratch/all.parquet" -o "$out/u8.l0x" --weights u8
$index "$scratch/all.parquet" -o "$out/f32.l0x" --weights f32
$index "$scratch/all.parquet" -o "$out/compact.l0x" --compact
$index "$scratch/texts.parquet" -o "$out/texts.l0x"
for name in u8 f32 compact texts; do
    l0-query "$out/$name.l0x" "$out/data/queries.jsonl" -k 5 --format jsonl --quiet -o "$out/$name.answers.jsonl"
done

# a model and what it makes of some titles; examples with a teacher's scores
l0-train export $model --dtype int8 -o "$out/model" --quiet
head -20 "$out/data/titles.jsonl" | l0-encode --model "$out/model" --quiet -o "$out/model.vectors.jsonl"
cat > "$scratch/examples.jsonl" <<END
{"query": "my homemade bread is heavy like a brick, what went wrong", "pos": "A dough that has not risen makes a heavy bread", "negs": ["The tides follow the moon"]}
{"query": "how to make sourdough taste more sour", "pos": "Let the starter stand in the cold for a day", "negs": ["the sea is salt water", "a glass of water"]}
END
for form in parquet jsonl; do
    l0-train score --teacher $model "$scratch/examples.jsonl" -o "$out/examples.$form" --quiet
done

# encoding with --resume, killed after two finished parts (a part is closed after 5 seconds)
mkfifo "$scratch/pipe"
$encode --prune top_k:8 --batch-tokens 1 --resume -o "$out/resume.parquet" < "$scratch/pipe" &
exec 3> "$scratch/pipe"
sed -n 1,64p "$out/data/titles.jsonl" >&3; sleep 6
sed -n 65,128p "$out/data/titles.jsonl" >&3; sleep 6
sed -n 129,192p "$out/data/titles.jsonl" >&3; sleep 2
kill -9 $!
wait $! || true
exec 3>&-
test -e "$out/resume.parquet.parts/part-000001.json"

# a training run, killed between its first checkpoint and its end; and the log of the whole run
cat > "$out/recipe.toml" <<END
log_every = 1
checkpoint_every = 6

[model]
base = "$model"
max_tokens = 24
dropout = 0.1

[query]
kind = "learned"
lr = 1e-3

[optimizer]
lr = 1e-3

[[data]]
path = "$out/data"
split = "test"

[[stage]]
steps = 20
batch = 8
loss = [{ kind = "in_batch" }]
regularizer = { kind = "flops", lambda = 0.01, ramp = 5 }
threshold = { share = "all", width = 0.1, init = 0.1, lr = 1e-2 }
END
l0-train "$out/recipe.toml" -o "$scratch/whole" --quiet
cp "$scratch/whole/train.jsonl" "$out/whole.train.jsonl"
until [ -d "$out/train/checkpoints/step-00000006" ] && [ ! -e "$out/train/model.safetensors" ]; do
    rm -rf "$out/train"
    l0-train "$out/recipe.toml" -o "$out/train" --quiet &
    while [ ! -d "$out/train/checkpoints/step-00000006" ]; do sleep 0.002; done
    kill -9 $!
    wait $! || true
done
find "$out" -type f -printf "%s\n" | awk '{ sum += $1 } END { print NR " files, " sum " bytes" }'
