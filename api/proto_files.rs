// Included by build.rs and by tests/generated.rs: what both compile. protox reads the files itself, so that nobody needs
// protoc.

/// The folder that imports are resolved against.
const ROOT: &str = "../proto";

const FILES: [&str; 4] = [
    "breakerd/v1/common.proto",
    "breakerd/v1/breaker_service.proto",
    "breakerd/v1/config_service.proto",
    "breakerd/v1/operations_service.proto",
];

fn compiled() -> Result<protox::Compiler, protox::Error> {
    let mut compiler = protox::Compiler::new([ROOT])?;
    // Imports and comments go along: reflection serves the set, and tools like grpcurl show the
    // comments to whoever asks for a description.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    Ok(compiler)
}
