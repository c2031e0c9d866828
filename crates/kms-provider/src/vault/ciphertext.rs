//! The text that Transit calls a ciphertext: `vault:v<version>:<base64>`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::key::DATA_KEY_LEN;

use crate::transit::parse_version;

const PREFIX: &str = "vault:v";

/// The shortest content of a wrapped data key: a 12-byte nonce, the key and a 16-byte tag.
const MIN_LEN: usize = 12 + DATA_KEY_LEN + 16;

/// A wrapped data key in Transit's own form, nothing of which has been authenticated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ciphertext<'a> {
    pub(super) text: &'a str,
    /// The version of the key.
    pub(super) version: u32,
}

impl<'a> Ciphertext<'a> {
    /// Reads the form; nothing that the server would not have written itself.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (version, content) = text.strip_prefix(PREFIX)?.split_once(':')?;
        // The strict engine refuses white space, missing padding and bits after the end.
        let content = STANDARD.decode(content).ok()?;
        (content.len() >= MIN_LEN).then_some(Self { text, version: parse_version(version)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &str = "BYdlwWkMKM3xeNO/gc/bItgdzKBtKqjqAfOYMBwV7YESWm5McVWJ8wZ2clTOErr3Acby/bsD6PJqEBmB";

    #[test]
    fn the_servers_own_form_is_read() {
        let text = format!("vault:v12:{CONTENT}");
        assert_eq!(Ciphertext::parse(text.as_bytes()), Some(Ciphertext { text: &text, version: 12 }));
    }

    #[test]
    fn any_other_form_is_refused() {
        for text in [
            format!("vault:v0:{CONTENT}"),
            format!("vault:v01:{CONTENT}"),
            format!("vault:v:{CONTENT}"),
            format!("vault:v-1:{CONTENT}"),
            format!("vault:1:{CONTENT}"),
            format!(" vault:v1:{CONTENT}"),
            format!("vault:v1:{CONTENT}\n"),
            format!("vault:v1:{CONTENT}A"),
            format!("vault:v1:{}", CONTENT.replace('/', "_")),
            // Of a data key of 31 bytes.
            format!("vault:v1:{}", STANDARD.encode([1; 59])),
            "vault:v1:".into(),
            "vault:v1:AAAA".into(),
            CONTENT.into(),
        ] {
            assert_eq!(Ciphertext::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Ciphertext::parse(&[0xff, 0xfe]), None);
    }
}
