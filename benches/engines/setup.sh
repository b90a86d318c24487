#!/usr/bin/env bash
# Makes a virtual environment with the engines that l0 is compared with.
#
#   benches/engines/setup.sh FOLDER     FOLDER outside the repository; PYTHON=python3.11 chooses another Python
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
"${PYTHON:-python3}" -m venv "$1"
"$1/bin/pip" install --quiet numpy numba pyarrow scipy bmp==0.2.8 pyseismic-lsr==0.5.4 pyterrier-pisa==0.4.9 \
    qdrant-client duckdb polars
echo "$1/bin/python is ready" >&2
