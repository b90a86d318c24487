#!/usr/bin/env bash
# Encodes one part of a corpus: what every recipe of this folder runs, once for each part.
#
#   L0_SHARDS=16 L0_SHARD_INDEX=3 part.sh FOLDER INPUT... [-- OPTION...]     OPTIONs are l0-encode's
#
# Which part: L0_SHARD_INDEX from 0, else the id of a Slurm array's task, else the index of a Kubernetes
# Job's pod. How many parts is always said, as L0_SHARDS: a scheduler that runs only the failed ones
# again counts those alone.
# Cut by L0_BY=rows (the rows with number ≡ I mod N; every part reads the whole input) or L0_BY=files
# (the I-th of every N INPUTs; for corpora of many files).
#
# FOLDER gets part-00003-of-00016.parquet (L0_FORM=jsonl, arrow: another form), whole or not at all, and
# then its manifest, part-….sha256: the part's SHA-256 and what it was made of. Killed and run again, it
# goes on where it was; a part that is finished and sound is left alone (exit 0), one whose manifest
# speaks of other inputs or options is refused (exit 3).
set -euo pipefail

usage() { echo "part.sh: $1" >&2; exit 2; }
[ $# -ge 2 ] || usage "expected FOLDER INPUT... [-- OPTION...]"
folder=$1 inputs=(); shift
while [ $# -gt 0 ] && [ "$1" != -- ]; do inputs+=("$1"); shift; done
[ $# -eq 0 ] || shift
[ ${#inputs[@]} -gt 0 ] || usage "expected at least one INPUT"
shards=${L0_SHARDS:-} form=${L0_FORM:-parquet}
index=${L0_SHARD_INDEX:-${SLURM_ARRAY_TASK_ID:-${JOB_COMPLETION_INDEX:-}}}
[[ $shards =~ ^[1-9][0-9]{0,4}$ ]] || usage "expected L0_SHARDS=N, the number of parts, found \`$shards\`"
[[ $index =~ ^(0|[1-9][0-9]{0,4})$ && $index -lt $shards ]] ||
    usage "expected a part from 0 to $((shards - 1)) as L0_SHARD_INDEX, SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, found \`$index\`"

case ${L0_BY:-rows} in
    rows) cut=(--shard "$index/$shards") ;;
    files)
        cut=() mine=()
        for ((at = index; at < ${#inputs[@]}; at += shards)); do mine+=("${inputs[at]}"); done
        [ ${#mine[@]} -gt 0 ] || usage "L0_BY=files: expected at least $shards inputs, found ${#inputs[@]}"
        inputs=("${mine[@]}") ;;
    *) usage "expected L0_BY=rows or files, found \`$L0_BY\`" ;;
esac

name=$(printf 'part-%05d-of-%05d' "$index" "$shards")
out=$folder/$name.$form
manifest() { # what must be the same for the part to be the same; then its hash, as sha256sum writes it
    echo "# $(l0-encode --version), by ${L0_BY:-rows}${*:+, $*}"
    for input in "${inputs[@]}"; do echo "# input $(wc -c <"$input") $input"; done
    (cd "$folder" && sha256sum "$name.$form")
}
for input in "${inputs[@]}"; do [ -f "$input" ] || usage "expected files, which can be read again after a kill, found \`$input\`"; done
mkdir -p "$folder"
if command -v flock >/dev/null; then # held until the last process of this part has ended
    exec 9>"$folder/.$name.lock"
    flock --nonblock 9 || { echo "part.sh: $out: another process makes this part" >&2; exit 1; }
fi
if [ -f "$folder/$name.sha256" ] && [ -f "$out" ]; then
    if ! (cd "$folder" && sha256sum --check --status "$name.sha256"); then
        echo "part.sh: $out is not as it was written; making it again" >&2
    elif [ "$(manifest "$@")" = "$(cat "$folder/$name.sha256")" ]; then
        exit 0
    else
        echo "part.sh: $out: expected a part of these inputs and options, found another (see $name.sha256); take another FOLDER" >&2
        exit 3
    fi
fi
l0-encode "${inputs[@]}" "${cut[@]}" --resume -o "$out" "$@"
manifest "$@" >"$folder/.$name.sha256"
mv "$folder/.$name.sha256" "$folder/$name.sha256"
