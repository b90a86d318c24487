#!/usr/bin/env bash
# toolkit.sh DIR: what a CUDA build needs, without a GPU, a driver or root, in DIR; prints the file to source.
#
# Compiler and headers come from NVIDIA's wheels on PyPI; the libraries that a program meets only where it runs (driver,
# cuBLAS, cuRAND, NVRTC) are stubs of the symbols that the bindings name. What is built this way runs where CUDA 13 is
# installed. CUDA_COMPUTE_CAP names the card, 90 (H100, H200) unless set.
set -euo pipefail
dir=${1:?toolkit.sh DIR}
mkdir -p "$dir/stubs"
dir=$(cd "$dir" && pwd)
stubs=$dir/stubs
if [ ! -x "$dir/venv/bin/python" ]; then python3 -m venv "$dir/venv"; fi
"$dir/venv/bin/pip" install --quiet --no-deps \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
home=$(echo "$dir"/venv/lib/python3*/site-packages/nvidia/cu13)
ln -sf "$home/lib/libcudart.so.13" "$stubs/libcudart.so"
cargo fetch --quiet
bindings=$(cargo metadata --format-version 1 --features cuda |
    python3 -c 'import json, os, sys
found = [p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"]
print(os.path.dirname(found[0]))')
python3 - "$bindings/src" "$stubs" <<'PY'
import pathlib, re, subprocess, sys

source, stubs = map(pathlib.Path, sys.argv[1:])
libraries = [
    ("driver", "cuda", "libcuda.so.1"),
    ("cublas", "cublas", "libcublas.so.13"),
    ("cublaslt", "cublasLt", "libcublasLt.so.13"),
    ("curand", "curand", "libcurand.so.10"),
    ("nvrtc", "nvrtc", "libnvrtc.so.13"),
]
for module, name, soname in libraries:
    text = "".join(file.read_text() for file in (source / module / "sys").rglob("*.rs"))
    symbols = sorted(set(re.findall(r"^pub unsafe fn ((?:cu|nvrtc)\w+)\s*\(", text, re.M)))
    if not symbols:
        sys.exit(f"no symbols of {name} in {source}")
    code = stubs / f"{name}.c"
    code.write_text("".join(f"int {symbol}(void) {{ return 1; }}\n" for symbol in symbols))
    command = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{soname}"]
    subprocess.check_call([*command, "-o", stubs / f"lib{name}.so", code])
PY
cat >"$dir/env.sh" <<EOF
export CUDA_HOME='$home' PATH='$home/bin':\$PATH CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90}
export RUSTFLAGS="-L native=$stubs"
EOF
echo "$dir/env.sh"
