#!/usr/bin/env bash
# Encodes a corpus in N parts with GNU parallel, on this machine or on several.
#
#   parallel.sh N FOLDER INPUT... [-- OPTION...]            arguments as of part.sh
#   L0_JOBS=8 L0_GPUS=8 parallel.sh 64 parts corpus/*.jsonl -- --device cuda --dtype bf16
#   L0_HOSTS=hosts.txt …                                    one host a line: parallel --sshloginfile;
#                                                           folder, inputs and programs are on all of them
#
# L0_JOBS parts run at a time on each host (2); with L0_GPUS each of these sees one device. A part that
# fails is tried once more; run the line again and what is finished is left alone.
set -euo pipefail
command -v parallel >/dev/null || { echo "parallel.sh: expected GNU parallel; xargs.sh does without" >&2; exit 2; }
[ $# -ge 3 ] || { echo "parallel.sh: expected N FOLDER INPUT... [-- OPTION...]" >&2; exit 2; }
shards=$1 folder=$2; shift
mkdir -p "$folder"
part="$(cd "$(dirname "$0")" && pwd)/part.sh"
slot='' # {%} is the slot of a job, from 1
[ -z "${L0_GPUS:-}" ] || slot="CUDA_VISIBLE_DEVICES=\$((({%} - 1) % $L0_GPUS))"
seq 0 $((shards - 1)) |
    parallel --jobs "${L0_JOBS:-2}" ${L0_HOSTS:+--sshloginfile "$L0_HOSTS"} --workdir "$PWD" \
        --retries 2 --joblog "$folder/jobs.tsv" \
        "$slot L0_BY=${L0_BY:-rows} L0_FORM=${L0_FORM:-parquet} L0_SHARDS=$shards L0_SHARD_INDEX={}" \
        "$(printf '%q ' "$part" "$@")"
