//! Compiles the kernels to PTX for the feature `cuda`, and checks whether the larger shipped model is among
//! the sources: it is too large for a package.
//!
//! PTX for compute capability 8.0: the driver finishes it for the card at hand when it is loaded.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = "src/lib/nn/cuda/kernels.cu";
const MODEL: &str = "src/lib/model/shipped/default/model.safetensors";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=src/lib/nn/cuda/build.rs");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    println!("cargo::rerun-if-changed=src/lib/model/shipped");
    println!("cargo::rustc-check-cfg=cfg(shipped_default)");
    if Path::new(MODEL).exists() {
        println!("cargo::rustc-cfg=shipped_default");
    } else {
        println!("cargo::warning={MODEL} is missing: l0:default will be the small model, l0:tiny");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc"));
    let nvcc = env::var_os("NVCC").map(PathBuf::from).or(home.filter(|nvcc| nvcc.exists()));
    let nvcc = nvcc.unwrap_or_else(|| "nvcc".into());
    let folder = env::var_os("OUT_DIR").expect("cargo names the folder of a build script");
    let target = PathBuf::from(folder).join("kernels.ptx");
    let status = Command::new(&nvcc)
        .args(["--ptx", "-O3", "-arch=compute_80", "-o"])
        .args([target.as_os_str(), SOURCE.as_ref()])
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} could not compile {SOURCE}: {status}", nvcc.display()),
        Err(error) => panic!(
            "{}: {error}; the feature cuda needs the CUDA toolkit (set CUDA_HOME or NVCC), or `make cuda`",
            nvcc.display()
        ),
    }
}
