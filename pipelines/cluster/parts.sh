#!/usr/bin/env bash
# Checks that a folder has every part, sound and of one corpus, and prints their names in order.
#
#   parts.sh FOLDER                                       exit 1: something is missing or damaged
#   l0-encode join $(parts.sh FOLDER) -o all.parquet      the bytes of one undisturbed run (L0_BY=rows)
#   l0-index $(parts.sh FOLDER) -o all.l0x
set -euo pipefail
[ $# -eq 1 ] || { echo "parts.sh: expected FOLDER" >&2; exit 2; }
folder=$1
fail() { echo "parts.sh: $folder: $1" >&2; exit 1; }

cd "$folder" || exit 1
shopt -s nullglob
manifests=(part-*-of-*.sha256) files=()
[ ${#manifests[@]} -gt 0 ] || fail "expected parts with their manifests, found none"
shards=${manifests[0]%.sha256}; shards=${shards##*-of-}
[ ${#manifests[@]} -le $((10#$shards)) ] || fail "expected one set of parts, found several"
for ((at = 0; at < 10#$shards; at++)); do
    name=$(printf 'part-%05d-of-%s' "$at" "$shards")
    [ -f "$name.sha256" ] || fail "expected $name, which is missing or unfinished"
    sha256sum --check --status "$name.sha256" ||
        fail "$name is not as it was written: run its part again"
    # cut by files, parts differ in their inputs
    made=$(sed -n '1p; / by files/q; /^# input/p' "$name.sha256")
    [ "$made" = "${first=$made}" ] ||
        fail "$name is of other inputs or options than the parts before it"
    files+=("$folder/$(sed -n '$s/^[0-9a-f]*  //p' "$name.sha256")")
done
printf '%s\n' "${files[@]}"
