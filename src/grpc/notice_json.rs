//! Notifications as JSON: the message `Transition` of the API, as protobuf defines its JSON.

use breakerd_api::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::convert;
use crate::webhook::{JsonOf, Notice};

const MESSAGE: &str = "breakerd.v1.Transition";

/// What makes JSON of a notification.
///
/// # Errors
/// When the description of the API that is built in cannot be read.
pub fn notice_json() -> anyhow::Result<JsonOf> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    let descriptor =
        pool.get_message_by_name(MESSAGE).ok_or_else(|| anyhow::anyhow!("there is no message {MESSAGE}"))?;
    Ok(std::sync::Arc::new(move |notice: &Notice| {
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut out = Vec::with_capacity(1_024);
        let mut serializer = serde_json::Serializer::new(&mut out);
        // The message is of this very description, and memory takes what is written.
        if let Err(error) = message.transcode_from(&convert::notice(notice)) {
            tracing::error!(%error, "cannot make a message of a notification");
        } else if let Err(error) = message.serialize_with_options(&mut serializer, &SerializeOptions::new()) {
            tracing::error!(%error, "cannot make JSON of a notification");
        }
        out
    }))
}
