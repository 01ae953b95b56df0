//! Turns proto/ into Rust. protox reads the files itself, so that nobody needs protoc to build.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// The folder that imports are resolved against.
const ROOT: &str = "../proto";

const FILES: [&str; 4] = [
    "breakerd/v1/common.proto",
    "breakerd/v1/breaker_service.proto",
    "breakerd/v1/config_service.proto",
    "breakerd/v1/operations_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ROOT}");

    let mut compiler = protox::Compiler::new([ROOT])?;
    // Imports and comments go along: reflection serves the set, and tools like grpcurl show the
    // comments to whoever asks for a description.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;

    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out_dir.join("breakerd_descriptor.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        // Maps in the order of their keys: the same content is the same bytes.
        .btree_map(".breakerd.v1")
        // A permit goes from the wire to its check, and from its maker to the wire, without a copy.
        .bytes(".breakerd.v1.AllowRequestResponse.permit")
        .bytes(".breakerd.v1.RecordOutcomeRequest.permit")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
