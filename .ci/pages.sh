#!/usr/bin/env bash
# Manual pages and completions of the programs in FOLDER, where systems look for them under SHARE:
#
#   .ci/pages.sh FOLDER SHARE
set -euo pipefail
folder=$1 share=$2
bash=$share/bash-completion/completions zsh=$share/zsh/site-functions fish=$share/fish/vendor_completions.d
mkdir -p "$share/man/man1" "$bash" "$zsh" "$fish"
for program in l0-encode l0-eval l0-index l0-query l0-train; do
    "$folder/$program" --man | gzip -9n >"$share/man/man1/$program.1.gz"
    "$folder/$program" --completions bash >"$bash/$program"
    "$folder/$program" --completions zsh >"$zsh/_$program"
    "$folder/$program" --completions fish >"$fish/$program.fish"
done
