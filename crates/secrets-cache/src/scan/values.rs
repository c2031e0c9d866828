//! Whether a value looks like a secret, by the name that it has and by its randomness.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// Shortest value that counts as random.
const RANDOM_LEN: usize = 20;
/// Bits per character from which a value counts as random. English text has about 4.1 over 27 letters but is broken by
/// spaces; identifiers made of words stay under 3.7.
const RANDOM_BITS: f64 = 3.8;
/// The same for hexadecimal text, which has at most 4.
const RANDOM_HEX_BITS: f64 = 3.0;
/// Shortest value of a setting that is called a key, or has a suggestive word in the middle of its name.
const STRONG_LEN: usize = 12;

/// How much a file says by names alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Settings: a name counts, and so does randomness.
    Settings,
    /// Configuration: only a suggestive name, with a value that is more than a word.
    Configuration,
    /// Code: the same, with a longer value, since much in code is named after the secrets that it handles.
    Code,
}

// The patterns are constants; a test checks that they compile.
static TELLING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = "secrets?|secret_?strings?|passw(?:or)?ds?|passwd|passphrase|pass|pwd|psk|tokens?|api[_-]?keys?|access[_-]?keys?|private[_-]?key|\
                 master[_-]?key|encryption[_-]?keys?|signing[_-]?keys?|secret[_-]?keys?|session[_-]?keys?|service[_-]?keys?|account[_-]?key|\
                 shared[_-]?key|storage[_-]?key|license[_-]?key|app[_-]?key|auth[_-]?key|hmac[_-]?key|deploy[_-]?key|credentials?|auth|salt|pepper";
    let after = "base|prod(?:uction)?|dev(?:elopment)?|stag(?:e|ing)|test|live|old|new|prev(?:ious)?|current|primary|\
                 secondary|backup|admin|root|main|default|plain(?:text)?|raw|value|b64|base64|hex|v?\\d+|[a-z]";
    Regex::new(&format!("(?i)(?:^|[_.-]|[a-z0-9](?-i:[A-Z])?)(?:{words})(?:[_.-](?:{after}))*\\d*$")).ok()
});
static TELLING_INSIDE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new("(?i)(?:^|[_.-])(?:secret|passw(?:or)?d|passphrase|token|api_?key|private_?key|credential)s?(?:[_.-])").ok()
});
/// Names that end so say something about a secret, or are public.
static HARMLESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let ends = "file|path|dir(?:ectory)?|folder|ur[li]s?|endpoint|host(?:name)?|port|ttl|expir(?:y|es|ation)(?:_\\w+)?|timeout|\
                alg(?:orithm)?|header|name|arn|id|ids|enabled?|disabled?|mode|type|kind|len(?:gth)?|size|min|max|count|limit|\
                rounds|cost|issuer|audience|scopes?|prefix|suffix|version|region|format|policy|provider|source|store|backend|\
                driver|engine|required|optional|interval|age|user(?:name)?|email|alias|label|field|column|param(?:eter)?|\
                cookie|domain|hint|chars|charset|regex|pattern|retries|hours|minutes|seconds|days|ms|secs?|class|manager|\
                service|strategy|method|location|bucket|queue|topic|table|schema|grace|window|digest|checksum|sha\\d*|commit|\
                revision|release|build|etag|fingerprint|thumbprint|key_?id|public_?key|publishable_?key|site_?key|client_?id|\
                per_\\w+|lifetime|rotation|schedule|template|script|command|cmd|image|tag|digest|origin|realm|subject";
    Regex::new(&format!(
        "(?i)(?:(?:^|[_.-]|(?-i:[a-z0-9]))(?:{ends})$|(?:^|[_.-])(?:public|publishable|next_public|vite|react_app|max|min|use|enable|disable|require|allow|has|is|num|no)[_.-])"
    ))
    .ok()
});
static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^(?:\$[A-Z_][A-Z0-9_]*$|\$\{.*\}$|\$\(.*\)$|\{.*\}$|\{\{|<[^>]*>?$|%\(|%[sdvq]|%\{|#\{|@@|__\w+__$|\[[\w -]*\]$|:\w+$)",
    )
    .ok()
});
static IDENTIFIER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // A UUID, an identifier of AWS, a host name, an e-mail address, a MIME type, a version, a date.
    Regex::new(
        r"(?x)^(?:
            [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}
            | [a-z0-9-]+(?:\.[a-z0-9-]+)+\.?(?::\d+)?
            | [^@\s]+@[\w.-]+\.[a-z]{2,}
            | [a-z]{1,12}-[0-9a-f]{8,17}(?:,[a-z]{1,12}-[0-9a-f]{8,17})*
            | v?\d+(?:\.\d+)+(?:[-+][\w.]+)?
            | \d{4}-\d\d-\d\d(?:[T\ ][\d:.Z+-]+)?
            | (?:arn|urn|sha\d+|md5|alias|projects|keyring|vault|local|dotenv)[:/].*
        )$",
    )
    .ok()
});

fn matches(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// Whether a name suggests a secret, so that a literal under it counts in every file.
pub(super) fn is_telling(name: &str) -> bool {
    matches(&TELLING, name)
}

/// The rule by which a setting is a secret, if it is one.
pub(super) fn by_name_or_randomness(name: &str, value: &str, strictness: Strictness) -> Option<&'static str> {
    if is_placeholder(value) || is_word(value) || is_path(value) || matches(&HARMLESS, name) {
        return None;
    }
    let is_literal = match strictness {
        Strictness::Settings => true,
        Strictness::Configuration => is_strong(value, 6),
        Strictness::Code => is_strong(value, 8),
    };
    // `password = config.password` names another setting, and so does `secretKeyRef`.
    if is_telling(name) && is_literal {
        return Some("secret-by-name");
    }
    let is_key = name.to_ascii_lowercase().ends_with("key") || matches(&TELLING_INSIDE, name);
    if strictness == Strictness::Settings
        && is_key
        && !matches(&IDENTIFIER, value)
        && is_strong(value, STRONG_LEN)
    {
        return Some("secret-by-name");
    }
    (strictness == Strictness::Settings && is_random(value)).then_some("high-entropy")
}

/// A placeholder for a value: a reference, or a word to be replaced.
pub(super) fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let is_elsewhere = [
        "arn:aws",
        "secret://",
        "vault:",
        "op://",
        "env:",
        "ref+",
        "ssm:",
        "awssm:",
        "process.env",
        "os.environ",
    ]
    .iter()
    .any(|start| lower.starts_with(start));
    let starts = [
        "changeme",
        "change-me",
        "change_me",
        "change-this",
        "change_this",
        "replace",
        "placeholder",
        "example",
        "your_",
        "your-",
        "your ",
        "yourpassword",
        "todo",
        "redacted",
        "insert",
        "enter_",
        "enter-",
        "dummy",
        "fixme",
        "none",
        "null",
        "undefined",
    ];
    let is_word = starts.iter().any(|word| lower.starts_with(word))
        || lower.ends_with("_here")
        || lower.ends_with("-here");
    let is_filler = !lower.is_empty()
        && lower.chars().all(|c| matches!(c, '*' | 'x' | '.' | '-' | '_' | '•' | '#' | '?'));
    value.is_empty() || is_elsewhere || is_word || is_filler || matches(&REFERENCE, value)
}

/// A word of the usual settings, or a number.
fn is_word(value: &str) -> bool {
    const WORDS: [&str; 40] = [
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "enabled",
        "disabled",
        "required",
        "optional",
        "auto",
        "default",
        "plain",
        "login",
        "basic",
        "bearer",
        "digest",
        "oauth",
        "oauth2",
        "oidc",
        "saml",
        "ldap",
        "jwt",
        "md5",
        "sha256",
        "sha512",
        "scram-sha-256",
        "cram-md5",
        "cram_md5",
        "trust",
        "peer",
        "ident",
        "env",
        "file",
        "memory",
        "redis",
        "vault",
        "aws",
        "strict",
        "lax",
    ];
    let is_number = value.len() < 6 && value.parse::<f64>().is_ok();
    is_number || WORDS.contains(&value.to_ascii_lowercase().as_str())
}

/// A path to a file, made of words.
fn is_path(value: &str) -> bool {
    let rest = value.trim_start_matches(['~', '.']);
    rest.starts_with('/') && is_words(rest)
}

/// Letters and others than letters, no blank, and not only words joined by separators.
fn is_strong(value: &str, shortest: usize) -> bool {
    let is_text = !value.contains(char::is_whitespace) && value.len() >= shortest;
    let has_letter = value.chars().any(char::is_alphabetic);
    let has_other = value.chars().any(|c| !c.is_alphabetic());
    let is_call =
        value.ends_with(')') || value.ends_with(");") || value.contains("::") || value.contains("->");
    is_text && has_letter && has_other && !is_call && !is_words(value)
}

/// Words, or words and numbers, joined by separators: `my-company-assets-2024`.
fn is_words(value: &str) -> bool {
    let is_part = |part: &str| {
        let is_word = part.chars().all(|c| c.is_ascii_alphabetic());
        let rest = part.get(1..).unwrap_or_default();
        let is_cased =
            rest.chars().all(|c| c.is_ascii_lowercase()) || part.chars().all(|c| c.is_ascii_uppercase());
        is_word && (is_cased || part.len() <= 3 || is_camel(part)) && part.len() <= 20
            || part.len() <= 8 && part.chars().all(|c| c.is_ascii_digit())
    };
    value.split(['-', '_', '.', '/', ':', ',', '+', '=', '@', '[', ']', '"', '\'']).all(is_part)
}

/// `someMethodName`: capitals are rare.
fn is_camel(part: &str) -> bool {
    let capitals = part.chars().filter(char::is_ascii_uppercase).count();
    capitals * 4 <= part.len()
}

/// Whether a value looks like the output of a random generator.
pub(super) fn is_random(value: &str) -> bool {
    let is_token_text = |c: char| c.is_ascii_alphanumeric() || "+/=_-.~".contains(c);
    let has = |class: fn(&char) -> bool| value.chars().any(|c| class(&c));
    let is_mixed = has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
    let is_hex = value.chars().all(|c| c.is_ascii_hexdigit());
    // Hashes of git and MD5, and identifiers, have these lengths.
    let is_hash = is_hex && matches!(value.len(), 32 | 40);
    if value.len() < RANDOM_LEN
        || !value.chars().all(is_token_text)
        || !is_mixed
        || is_hash
        || value.starts_with(['/', '.'])
        || matches(&IDENTIFIER, value)
        || is_words(value)
    {
        return false;
    }
    entropy(value) >= if is_hex { RANDOM_HEX_BITS } else { RANDOM_BITS }
}

/// Shannon entropy, in bits per character.
fn entropy(value: &str) -> f64 {
    let mut counts: HashMap<char, u32> = HashMap::new();
    value.chars().for_each(|c| *counts.entry(c).or_default() += 1);
    let total = value.chars().count() as f64;
    counts.values().map(|&count| f64::from(count) / total).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in [&TELLING, &TELLING_INSIDE, &HARMLESS, &REFERENCE, &IDENTIFIER] {
            assert!(pattern.is_some());
        }
    }
}
