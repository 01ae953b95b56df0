//! Describes proto/ for reflection and for JSON, if the feature `descriptor` is on. The code for proto/ is checked in, so that
//! a client builds with neither protoc nor protox: see tests/generated.rs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "descriptor")]
    descriptor::write().expect("proto/ is valid, and the folder for what is built can be written to");
}

#[cfg(feature = "descriptor")]
mod descriptor {
    use std::env;
    use std::error::Error;
    use std::fs;
    use std::path::PathBuf;

    include!("proto_files.rs");

    pub(super) fn write() -> Result<(), Box<dyn Error>> {
        println!("cargo::rerun-if-changed=proto_files.rs");
        println!("cargo::rerun-if-changed={ROOT}");
        let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
        fs::write(out_dir.join("breakerd_descriptor.bin"), compiled()?.encode_file_descriptor_set())?;
        let envoy = compiled_of(&ENVOY_FILES)?.encode_file_descriptor_set();
        fs::write(out_dir.join("envoy_descriptor.bin"), envoy)?;
        Ok(())
    }
}
