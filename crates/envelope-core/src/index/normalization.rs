//! Normalisations: which spellings of a value have the same index. Each has a name and a version, and never changes.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// How a value is normalised before its index is made.
///
/// Every normalisation takes every text; one that is not of the kind that the name suggests is normalised as far as its
/// rule goes. `NFKC` is Unicode's normalisation form KC. Lower case is that of each code point by itself (the mapping of
/// `SpecialCasing` without conditions, else of `UnicodeData`), so that every language can do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Normalization {
    /// The value as it is, byte by byte.
    #[default]
    None,
    /// NFKC, lower case, NFKC again, and without white space at either end.
    LowercaseTrim,
    /// As `lowercase-trim`; the part after the last `@` also without a dot at its end and in the ASCII form of
    /// internationalized domain names (UTS 46, not transitional), where it has one.
    Email,
    /// NFKC; then `+` and the ASCII digits of a number that begins with `+` or `00`, without `(0)`, else the digits alone.
    E164,
    /// NFKC, and of that the ASCII digits.
    Digits,
}

impl Normalization {
    /// Every normalisation.
    pub const ALL: [Self; 5] = [Self::None, Self::LowercaseTrim, Self::Email, Self::E164, Self::Digits];

    /// The name and the version, as they are part of every index.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none/1",
            Self::LowercaseTrim => "lowercase-trim/1",
            Self::Email => "email/1",
            Self::E164 => "e164/1",
            Self::Digits => "digits/1",
        }
    }

    /// The normalisation with this name and version.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|normalization| normalization.label() == label)
    }

    /// The normalised value.
    #[must_use]
    pub fn apply(self, text: &str) -> Zeroizing<String> {
        match self {
            Self::None => Zeroizing::new(text.to_owned()),
            Self::LowercaseTrim => lowercase_trim(text),
            Self::Email => email(text),
            Self::E164 => e164(text),
            Self::Digits => Zeroizing::new(nfkc(text).chars().filter(char::is_ascii_digit).collect()),
        }
    }
}

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

fn nfkc(text: &str) -> Zeroizing<String> {
    // The capacity suffices for every text that does not grow: a buffer that is enlarged leaves its old contents in memory.
    let mut normal = Zeroizing::new(String::with_capacity(text.len() * 2));
    normal.extend(text.nfkc());
    normal
}

fn lowercase_trim(text: &str) -> Zeroizing<String> {
    let composed = nfkc(text);
    let mut lower = Zeroizing::new(String::with_capacity(composed.len() * 2));
    lower.extend(composed.chars().flat_map(char::to_lowercase));
    let lower = nfkc(&lower);
    Zeroizing::new(lower.trim().to_owned())
}

fn email(text: &str) -> Zeroizing<String> {
    let lower = lowercase_trim(text);
    let Some((local, domain)) = lower.rsplit_once('@') else { return lower };
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    match idna::domain_to_ascii(domain) {
        Ok(ascii) if !ascii.is_empty() => Zeroizing::new(format!("{local}@{ascii}")),
        _ => Zeroizing::new(format!("{local}@{domain}")),
    }
}

fn e164(text: &str) -> Zeroizing<String> {
    let plain = nfkc(text);
    let number = plain.trim_start_matches(|c: char| c != '+' && !c.is_ascii_digit());
    let international = number.strip_prefix('+').or_else(|| number.strip_prefix("00"));
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    match international {
        // A text without any digit is no number.
        Some(rest) if rest.contains(|c: char| c.is_ascii_digit()) => {
            let rest = Zeroizing::new(rest.replacen("(0)", "", 1));
            Zeroizing::new(format!("+{}", *Zeroizing::new(digits(&rest))))
        }
        _ => Zeroizing::new(digits(&plain)),
    }
}
