//! The code for proto/ is checked in: whoever depends on this crate builds it without a compiler of proto files. This
//! generates it again and finds no difference; `make proto` writes what it generates.

use std::path::Path;

use breaker::Field;
use breakerd_api::thresholds;
use prost_reflect::DescriptorPool;

include!("../proto_files.rs");

#[test]
fn the_generated_code_is_that_of_the_proto_files() {
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        // Maps in the order of their keys: the same content is the same bytes.
        .btree_map(".breakerd.v1")
        // A permit goes from the wire to its check, and from its maker to the wire, without a copy.
        .bytes(".breakerd.v1.AllowRequestResponse.permit")
        .bytes(".breakerd.v1.RecordOutcomeRequest.permit")
        .out_dir(folder.path())
        .compile_fds(compiled().unwrap().file_descriptor_set())
        .unwrap();
    let generated = std::fs::read_to_string(folder.path().join("breakerd.v1.rs")).unwrap();
    let checked_in = Path::new("src/generated/breakerd.v1.rs");
    if std::env::var_os("BREAKERD_WRITE_GENERATED").is_some() {
        std::fs::write(checked_in, &generated).unwrap();
    }
    let present = std::fs::read_to_string(checked_in).unwrap_or_default();
    assert!(present == generated, "api/src/generated is not of proto/ as it is: run `make proto`");
}

/// One file a package, and one that has them in modules.
#[test]
fn the_generated_code_of_envoys_api_is_that_of_the_proto_files() {
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .btree_map(".envoy")
        .include_file("mod.rs")
        .out_dir(folder.path())
        .compile_fds(compiled_of(&ENVOY_FILES).unwrap().file_descriptor_set())
        .unwrap();
    let checked_in = Path::new("src/generated/envoy");
    let is_written = std::env::var_os("BREAKERD_WRITE_GENERATED").is_some();
    if is_written {
        std::fs::create_dir_all(checked_in).unwrap();
    }
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let generated = std::fs::read_to_string(file.path()).unwrap();
        let present = checked_in.join(file.file_name());
        if is_written {
            std::fs::write(&present, &generated).unwrap();
        }
        let present = std::fs::read_to_string(present).unwrap_or_default();
        assert!(present == generated, "api/src/generated/envoy is not of proto/ as it is: run `make proto`");
    }
}

#[test]
fn the_thresholds_have_the_names_of_the_message() {
    let set = compiled().unwrap().encode_file_descriptor_set();
    let message =
        DescriptorPool::decode(&*set).unwrap().get_message_by_name("breakerd.v1.Thresholds").unwrap();
    for field in Field::ALL {
        assert!(message.get_field_by_name(thresholds::name(*field)).is_some(), "{field}");
    }
    assert_eq!(message.fields().len(), Field::ALL.len());
}
