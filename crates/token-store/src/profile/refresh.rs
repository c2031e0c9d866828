//! How a table's tokens are refreshed, and where: `[tables.refresh]` and `[providers.…]` of a profile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Table;

/// The columns of a token that is refreshed, and who refreshes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Refresh {
    /// The token column with the access token.
    pub access: String,
    /// The token column with the refresh token.
    pub refresh: String,
    /// The column that says when the access token expires: a date and time, or seconds or milliseconds since 1970. A
    /// time without a time zone is in UTC.
    pub expires_at: String,
    /// The column that names one of the profile's providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The one provider of every row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

/// An OAuth 2.0 provider that refreshes tokens (RFC 6749, section 6).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Provider {
    /// The token endpoint: `https://…`, or `http://` on the loopback interface.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The name of the secret that holds the client's secret; none for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// How the client shows its secret.
    #[serde(default)]
    pub auth: ClientAuth,
}

/// How a client shows its id and secret to a token endpoint (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClientAuth {
    /// In the header `Authorization`.
    #[default]
    Basic,
    /// In the body of the request.
    Post,
}

impl Refresh {
    /// Tokens in these columns, refreshed by the caller's own grant.
    pub fn new(access: impl Into<String>, refresh: impl Into<String>, expires_at: impl Into<String>) -> Self {
        let (access, refresh, expires_at) = (access.into(), refresh.into(), expires_at.into());
        Self { access, refresh, expires_at, provider: None, fixed: None }
    }
}

impl Table {
    /// Columns that a refresh reads or writes next to the tokens are plain columns.
    pub(super) fn name_refresh_columns(&mut self) {
        let Some(refresh) = &self.refresh else { return };
        for column in [Some(&refresh.expires_at), refresh.provider.as_ref()].into_iter().flatten() {
            let has_role = self.own_columns().chain(self.version_columns()).any(|own| own == column);
            if !has_role {
                self.plain.push(column.clone());
            }
        }
    }

    /// A problem of `[tables.refresh]`, if any.
    pub(super) fn wrong_refresh(&self, providers: &BTreeMap<String, Provider>) -> Option<String> {
        let refresh = self.refresh.as_ref()?;
        let problem = |text: String| Some(format!("refresh of table {:?}: {text}", self.name));
        for (field, column) in [("access", &refresh.access), ("refresh", &refresh.refresh)] {
            if !self.tokens.contains(column) {
                return problem(format!("{field} names {column:?}, which is not a token column"));
            }
        }
        if refresh.access == refresh.refresh {
            return problem("access and refresh name the same column".into());
        }
        if !self.plain.contains(&refresh.expires_at) {
            return problem(format!("expires_at names {:?}, which has another role", refresh.expires_at));
        }
        match (&refresh.provider, &refresh.fixed) {
            (Some(_), Some(_)) => problem("provider and fixed are both given".into()),
            (Some(column), None)
                if self.tokens.contains(column) || self.version_columns().any(|own| own == column) =>
            {
                problem(format!("provider names {column:?}, which has another role"))
            }
            (None, Some(name)) if !providers.contains_key(name) => {
                problem(format!("fixed names {name:?}, which is not in [providers]"))
            }
            _ => None,
        }
    }
}

impl Provider {
    /// The problem with these settings, if there is one.
    pub(super) fn problem(&self, name: &str) -> Option<String> {
        let problem = |text: &str| Some(format!("provider {name:?}: {text}"));
        if self.client_id.is_empty() {
            return problem("client_id is empty");
        }
        if self.client_secret.as_ref().is_some_and(String::is_empty) {
            return problem("client_secret is empty: leave it out for a public client");
        }
        if !is_secure(&self.token_url) {
            return problem(
                "token_url must begin with https:// and have no user, password or fragment; http:// is for the \
                 loopback interface only",
            );
        }
        None
    }
}

/// Whether data sent to this address cannot be read on the way.
fn is_secure(url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = !authority.is_empty() && !url.contains(['#', '\\', ' ']) && !authority.contains('@');
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    plain
        && !host.is_empty()
        && match scheme {
            "https" => true,
            "http" => matches!(host, "localhost" | "127.0.0.1" | "::1"),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::is_secure;

    #[test]
    fn a_token_endpoint_is_reached_over_tls_or_on_this_machine() {
        for url in [
            "https://id.example.org/oauth2/token",
            "https://id.example.org:8443/token?tenant=a",
            "http://127.0.0.1:8080/token",
            "http://[::1]/token",
            "http://localhost/token",
        ] {
            assert!(is_secure(url), "{url}");
        }
        for url in [
            "",
            "id.example.org/token",
            "http://id.example.org/token",
            "http://127.0.0.1.example.org/token",
            "http://localhost@id.example.org/token",
            "https://user:password@id.example.org/token",
            "https:///token",
            "ftp://localhost/token",
            "https://id.example.org/token#part",
        ] {
            assert!(!is_secure(url), "{url}");
        }
    }
}
