//! The form of the AWS endpoints: without this check, the SDK finds a malformed one only when it sends a request.

use url::Url;

use super::reader::Reader;

/// Every variable that gives an endpoint, for all services or for one, begins so.
const PREFIX: &str = "AWS_ENDPOINT_URL";

/// Those of the services that the SDK asks on this project's behalf.
pub(super) const KNOWN: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_ENDPOINT_URL_STS",
];

/// Whether a variable gives an endpoint.
pub(super) fn is_one(name: &str) -> bool {
    name == PREFIX || name.strip_prefix(PREFIX).is_some_and(|service| service.starts_with('_'))
}

/// Whether the environment gives AWS KMS an address of its own, and neither every AWS service nor AWS STS.
#[cfg(feature = "aws")]
pub(crate) fn reaches_kms_alone() -> bool {
    let is_set =
        |service: &str| std::env::var_os(format!("{PREFIX}{service}")).is_some_and(|url| !url.is_empty());
    is_set("_KMS") && !is_set("") && !is_set("_STS")
}

/// Adds a problem for each endpoint that is not a URL. Its value is not shown: it can hold a password.
pub(super) fn check(reader: &mut Reader<'_>, names: &[String]) {
    for name in names {
        if reader.text(name).is_some_and(|text| !is_endpoint(&text)) {
            reader.problem(name.clone(), "must be a URL such as http://localhost:4566, with its scheme");
        }
    }
}

fn is_endpoint(text: &str) -> bool {
    // The parser ignores blanks and corrects slashes; later users of the value do not.
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let has_form = rest.is_some_and(|rest| !rest.starts_with('/'));
    let is_clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\');
    let url = Url::parse(text).ok().filter(|_| has_form && is_clean);
    url.is_some_and(|url| {
        url.host_str().is_some_and(|host| !host.is_empty())
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_scheme_and_a_host() {
        for good in [
            "http://localhost:4566",
            "https://kms.eu-west-1.amazonaws.com",
            "http://[::1]:5000/",
            "http://10.0.0.1/base",
        ] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in [
            "localhost:4566",
            "localhost",
            "//localhost",
            "http:/localhost",
            "http://",
            "https:///x",
            "ftp://host",
            "http://a b",
            " http://host",
            "http://host\n",
            "http://host:port",
            "http://host:99999",
            "kms.amazonaws.com",
            "http:\\\\host",
            "http://host?x=1",
        ] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }
}
