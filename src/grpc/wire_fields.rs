//! Finds the fields of a message where they stand, so that what is in them is decoded one by one, or not at all.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The fields of a message that have a length, each with its number. It ends behind the first bytes that are no field.
pub(super) struct WireFields<'a>(&'a [u8]);

/// Bytes of a message that are no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoField;

impl<'a> WireFields<'a> {
    /// Those of `message`.
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Those of `message` with this number, up to what is no field.
    pub(super) fn numbered(message: &'a [u8], number: u32) -> impl Iterator<Item = &'a [u8]> {
        let fields = Self::of(message).map_while(Result::ok);
        fields.filter(move |(tag, _)| *tag == number).map(|(_, field)| field)
    }

    /// The next one; none: the message is over.
    fn read(&mut self) -> Result<Option<(u32, &'a [u8])>, NoField> {
        while !self.0.is_empty() {
            let (tag, wire_type) = decode_key(&mut self.0).map_err(|_| NoField)?;
            if wire_type == WireType::LengthDelimited {
                let length = decode_varint(&mut self.0).map_err(|_| NoField)?;
                let length = usize::try_from(length).map_err(|_| NoField)?;
                let field = self.0.get(..length).ok_or(NoField)?;
                self.0.advance(length);
                return Ok(Some((tag, field)));
            }
            skip_field(wire_type, tag, &mut self.0, DecodeContext::default()).map_err(|_| NoField)?;
        }
        Ok(None)
    }
}

impl<'a> Iterator for WireFields<'a> {
    type Item = Result<(u32, &'a [u8]), NoField>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read().transpose();
        if let Some(Err(NoField)) = next {
            self.0 = &[];
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_a_length_are_found_and_what_is_no_field_ends_them_once() {
        let all = |message| WireFields::of(message).collect::<Vec<_>>();
        assert_eq!(all(&[]), []);
        // A varint, which is passed over, an empty field, and one with two bytes.
        assert_eq!(
            all(&[0x10, 0x05, 0x0a, 0x00, 0x12, 0x02, 7, 8]),
            [Ok((1, &[][..])), Ok((2, &[7, 8][..]))]
        );
        assert_eq!(all(&[0x0a, 0x00, 0x0a, 0x7f, 0x00]), [Ok((1, &[][..])), Err(NoField)], "too short");
        assert_eq!(all(&[0xff; 20]), [Err(NoField)]);
        assert_eq!(WireFields::numbered(&[0x0a, 0x00, 0x12, 0x00, 0x0a, 0x01, 9], 1).count(), 2);
    }
}
