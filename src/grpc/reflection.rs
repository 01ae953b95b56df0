//! Reflection in both versions: what grpcurl and its like read before they can ask anything.

use tonic::service::Routes;
use tonic_reflection::server::Builder;

use super::serve::ServeError;
use crate::proto::FILE_DESCRIPTOR_SET;

/// Both services. Each describes the other too, and the details of errors, which no method names.
pub(super) fn routes() -> Result<Routes, ServeError> {
    let v1 = described().build_v1().map_err(ServeError::Reflection)?;
    let v1alpha = described().build_v1alpha().map_err(ServeError::Reflection)?;
    Ok(Routes::new(v1).add_service(v1alpha).prepare())
}

fn described() -> Builder<'static> {
    Builder::configure()
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
}
