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

/// The parts of Envoy's API that breakerd speaks.
const ENVOY_FILES: [&str; 2] =
    ["envoy/service/auth/v3/external_auth.proto", "envoy/service/accesslog/v3/als.proto"];

fn compiled() -> Result<protox::Compiler, protox::Error> {
    compiled_of(&FILES)
}

fn compiled_of(files: &[&str]) -> Result<protox::Compiler, protox::Error> {
    let mut compiler = protox::Compiler::new([ROOT])?;
    // Imports and comments go along: reflection serves the set, and tools like grpcurl show the
    // comments to whoever asks for a description.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files)?;
    Ok(compiler)
}
