//! Texts of callers in attributes.

/// Bytes of a text in an attribute: every lawful service and name fits.
const TEXT_BYTES_MAX: usize = 256;

/// A text of at most 256 bytes; a longer one is cut.
pub fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(bounded("payments"), "payments");
        assert_eq!(bounded(&"x".repeat(1_000)), "x".repeat(256));
        assert_eq!(bounded(&"\u{20ac}".repeat(100)).len(), 255);
    }
}
