//! A token endpoint's answer, read leniently: once it is given, the refresh token is spent.

use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use serde::{Deserialize, Deserializer, Serialize};

/// The fields of RFC 6749, section 5.1, that are used. Others may be of any kind: Twitch's `scope` is a list.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    #[serde(default = "none", deserialize_with = "access")]
    access_token: AccessToken,
    #[serde(default = "bearer", skip)]
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    #[serde(default, deserialize_with = "if_any")]
    refresh_token: Option<RefreshToken>,
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

fn none() -> AccessToken {
    AccessToken::new(String::new())
}

/// An access token that is no text counts as an empty one: the refresh token next to it must not be lost.
fn access<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccessToken, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map_or_else(none, |text| AccessToken::new(text.to_owned())))
}

impl Answer {
    /// Whether it has any token at all.
    pub(super) fn has_tokens(&self) -> bool {
        !self.access_token.secret().trim().is_empty() || self.refresh_token.is_some()
    }
}

/// A number, or a text with one; anything else says nothing.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let number =
        value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64));
    Ok(number.or_else(|| value.as_str()?.trim().parse().ok()))
}

/// A refresh token that is empty or no text counts as missing: the one before stays.
fn if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RefreshToken>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str().filter(|text| !text.trim().is_empty());
    Ok(text.map(|text| RefreshToken::new(text.to_owned())))
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whatever_else_is_in_it() -> Result<(), serde_json::Error> {
        for (text, lifetime, refresh) in [
            (r#"{"access_token":"a"}"#, None, None),
            (
                r#"{"access_token":"a","token_type":"bearer","expires_in":60,"refresh_token":"r"}"#,
                Some(60),
                Some("r"),
            ),
            (
                r#"{"access_token":"a","expires_in":"60","scope":["x"],"refresh_token":"","more":{}}"#,
                Some(60),
                None,
            ),
            (r#"{"access_token":"a","expires_in":60.0,"token_type":7,"refresh_token":null}"#, Some(60), None),
            (r#"{"access_token":"a","expires_in":null}"#, None, None),
        ] {
            let answer: Answer = serde_json::from_str(text)?;
            let found = (answer.expires_in, answer.refresh_token().map(|token| token.secret().as_str()));
            assert_eq!(
                (answer.access_token().secret().as_str(), found),
                ("a", (lifetime, refresh)),
                "{text}"
            );
        }
        Ok(())
    }

    #[test]
    fn an_answer_without_an_access_token_keeps_its_refresh_token() -> Result<(), serde_json::Error> {
        for access in [r#""access_token":"","#, r#""access_token":null,"#, r#""access_token":7,"#, ""] {
            let answer: Answer = serde_json::from_str(&format!(r#"{{{access}"refresh_token":"r"}}"#))?;
            assert_eq!(answer.refresh_token().map(|token| token.secret().as_str()), Some("r"), "{access}");
            assert!(answer.access_token().secret().is_empty() && answer.has_tokens(), "{access}");
        }
        for text in
            [r#"{"error":"x"}"#, r#"{"access_token":" "}"#, r#"{"access_token":"","refresh_token":" "}"#]
        {
            assert!(!serde_json::from_str::<Answer>(text)?.has_tokens(), "{text}");
        }
        for refresh in [r#""""#, r#"" ""#, "null", "false", "7"] {
            let answer: Answer =
                serde_json::from_str(&format!(r#"{{"access_token":"a","refresh_token":{refresh}}}"#))?;
            assert!(answer.refresh_token().is_none() && answer.has_tokens(), "{refresh}");
        }
        Ok(())
    }
}
