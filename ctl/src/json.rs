//! Answers for programs: the JSON that protobuf defines, as every other client of the API would print it.
//!
//! It is made from the description of the API that the server's reflection serves too, so that no field can be
//! missing here: 64-bit numbers and durations are texts, names are in lowerCamelCase, what is absent is left out.

use std::io::{self, Write};

use breakerd_api::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

const PACKAGE: &str = "breakerd.v1";

/// The description of the API.
pub(super) struct Json(DescriptorPool);

impl Json {
    pub(super) fn new() -> Self {
        // It is part of this program, and a test reads it.
        Self(DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap_or_default())
    }

    /// Over several lines, as people read it too.
    pub(super) fn object(&self, out: &mut dyn Write, name: &str, message: &impl Message) -> io::Result<()> {
        let described = self.described(name, message)?;
        let mut serializer = serde_json::Serializer::pretty(&mut *out);
        described.serialize_with_options(&mut serializer, &SerializeOptions::new())?;
        writeln!(out)
    }

    /// On one line.
    pub(super) fn line(&self, out: &mut dyn Write, name: &str, message: &impl Message) -> io::Result<()> {
        let described = self.described(name, message)?;
        let mut serializer = serde_json::Serializer::new(&mut *out);
        described.serialize_with_options(&mut serializer, &SerializeOptions::new())?;
        writeln!(out)
    }

    fn described(&self, name: &str, message: &impl Message) -> io::Result<DynamicMessage> {
        let descriptor = self
            .0
            .get_message_by_name(&format!("{PACKAGE}.{name}"))
            .ok_or_else(|| io::Error::other(format!("there is no message {PACKAGE}.{name}")))?;
        let mut described = DynamicMessage::new(descriptor);
        described.transcode_from(message).map_err(io::Error::other)?;
        Ok(described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakerd_api::v1;

    #[test]
    fn an_answer_is_the_json_that_protobuf_defines() {
        let response = v1::AllowRequestResponse {
            state: v1::State::Open.into(),
            reason: v1::AllowReason::Open.into(),
            permit: vec![1, 2, 255].into(),
            epoch: 1 << 60,
            retry_after: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            ..v1::AllowRequestResponse::default()
        };
        let mut out = Vec::new();
        Json::new().line(&mut out, "AllowRequestResponse", &response).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"state\":\"STATE_OPEN\",\"reason\":\"ALLOW_REASON_OPEN\",\"permit\":\"AQL/\",\
             \"epoch\":\"1152921504606846976\",\"retryAfter\":\"1.500s\"}\n"
        );
    }
}
