//! Detection answers every text, and never calls something plaintext that claims to be an envelope.

use envelope_core::Format;
use envelope_core::format::{FormatError, detect, has_strong_mark};

const IV: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn unmarked_texts_are_plaintext() {
    for text in [
        "",
        "x",
        "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-12345-67890-AbCdEf",
        "ya29.a0AfH6SMB-token_with.dots",
        "tök€n-ünï-🔑",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
        "0123456789abcdef0123456789abcdef",
        "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11",
        "user:password",
        "v1.local.token",
        "v:1",
        "version:2",
        "k",
        "{}",
        r#"{"access_token": "x", "expires_in": 3600}"#,
        r#"{"alg": "RS256", "kid": "1"}"#,
        r#"{"ciphertext": "x"}"#,
        "token with a line end\n",
        "Wo1wd20YfeRKh/FB3w4ZRcaGHZTnTf/sYlBmeXE=",
    ] {
        assert_eq!(detect(text), Ok(Format::Plaintext), "{text}");
        assert!(!has_strong_mark(text));
    }
}

#[test]
fn marked_texts_that_do_not_parse_are_errors() {
    for (text, error) in [
        ("kms:v2:", FormatError::Shape),
        ("kms:v2:AAAA", FormatError::Shape),
        ("kms:v2:AAAA:AAAA", FormatError::TooShort),
        ("kms:v3:", FormatError::TooShort),
        ("kms:v3:AAAA", FormatError::UnknownVersion),
        ("kms:v4:AAAA:AAAA", FormatError::UnknownVersion),
        ("kms:V2:AAAA:AAAA", FormatError::UnknownVersion),
        ("KMS:v2:AAAA:AAAA", FormatError::UnknownVersion),
        ("Kms:{}", FormatError::UnknownVersion),
        ("kms:", FormatError::UnknownVersion),
        ("kms:token", FormatError::UnknownVersion),
        ("kms:{}", FormatError::Json),
        ("a21zOnYyO", FormatError::Base64),
        ("djF8", FormatError::Shape),
        ("djF8AAA", FormatError::Base64),
        ("ZGV2fA==", FormatError::UnknownVersion),
        ("ZGV2fQ==", FormatError::Shape),
        ("v1:", FormatError::Shape),
        ("v+2:a:b:c", FormatError::UnknownVersion),
        ("v02:00:00:00", FormatError::UnknownVersion),
        ("12:34:56", FormatError::TooShort),
        ("AB:CD:EF", FormatError::Hex),
        ("{", FormatError::Json),
        ("{\"a\": }", FormatError::Json),
        ("{} {}", FormatError::Json),
        ("{not json}", FormatError::Json),
        (r#"{"ciphertext": "x", "algorithm": "KMS"}"#, FormatError::Json),
        (r#"{"ciphertext": "x", "encryption_context": {}}"#, FormatError::Json),
        (r#"{"alg": "x", "keyId": "y"}"#, FormatError::Json),
        (r#"{"iv": "x", "tag": "y", "ciphertext": "z"}"#, FormatError::Json),
        (" kms:v2:AAAA:AAAA", FormatError::WhiteSpace),
        ("kms:v9\n", FormatError::UnknownVersion),
        ("\u{feff}kms:v2:AAAA:AAAA", FormatError::WhiteSpace),
        ("\tv1:00:00:00", FormatError::WhiteSpace),
        ("kmt:v2:AAAA:AAAA", FormatError::DamagedMark),
        ("kms_v2:AAAA:AAAA", FormatError::DamagedMark),
        ("b21zOnYyO", FormatError::DamagedMark),
    ] {
        let detected = detect(text);
        assert!(detected.is_err(), "{text}: {detected:?}");
        if !text.ends_with('\n') {
            assert_eq!(detected, Err(error), "{text}");
        }
    }
    for text in [format!("{IV}:"), format!("{IV}:token"), format!("{}:x:y", IV.to_uppercase())] {
        assert!(detect(&text).is_err(), "{text}");
    }
    let deep = "{\"a\":".repeat(100_000);
    assert_eq!(detect(&deep), Err(FormatError::Json));
}

#[test]
fn strong_marks_are_those_of_our_own_envelopes() {
    for text in ["kms:v2:", "kms:v3:x", "a21zOnYyOnh4"] {
        assert!(has_strong_mark(text));
    }
    for text in ["kms:", "kms:{", "djF8", "ZGV2f", "v1:", "{", ""] {
        assert!(!has_strong_mark(text));
    }
}
