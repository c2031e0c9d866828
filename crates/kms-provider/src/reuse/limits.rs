//! How many messages, how many bytes and for how long a data key may serve.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Most messages of one data key: a million.
///
/// A key of its own for every message, derived with 32 random bytes, would stay safe for 2³² of them (the AWS Encryption
/// SDK's limit, `framework/caching-cmm.md`). The bound is lower because a thief of one data key opens all
/// of its messages, and because there is nothing to gain above it: a million messages for one call cost nothing.
pub const MAX_MESSAGES: u64 = 1_000_000;

/// Most bytes of plaintext of one data key: 64 GiB, what AES-GCM may seal under one key and nonce (NIST SP 800-38D,
/// section 5.2.1.1). With a key of its own for every message it is far below the safe limit, and far beyond
/// any table of tokens: it is there to refuse typing errors.
pub const MAX_BYTES: u64 = 64 << 30;

/// Longest age of a data key: a day. A key that is held cannot be taken back: disabling or rotating the key service's
/// key, or losing the right to use it, has no effect on values that are sealed until then.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits of one data key, read from `messages=1000,age=5m,bytes=64MiB` or `off`.
///
/// `messages` has to be there; `age` is five minutes and `bytes` 64 MiB unless they say otherwise. An age is a whole
/// number of `s`, `m` or `h`; bytes are a whole number, of `KiB`, `MiB` or `GiB` with such a suffix. One message
/// is the same as `off`.
///
/// ```
/// use kms_provider::ReuseLimits;
///
/// let limits: ReuseLimits = "messages=1000,age=5m,bytes=64MiB".parse()?;
/// assert_eq!((limits.messages(), limits.age().as_secs(), limits.bytes()), (1_000, 300, 64 << 20));
/// assert!("off".parse::<ReuseLimits>()?.is_off());
/// # Ok::<(), kms_provider::reuse::ReuseLimitsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReuseLimits {
    messages: u64,
    age: Duration,
    bytes: u64,
}

impl ReuseLimits {
    /// A data key for every message.
    pub const OFF: Self = Self { messages: 1, age: Duration::from_secs(300), bytes: 64 << 20 };

    /// Sets all three limits.
    ///
    /// # Errors
    /// [`ReuseLimitsError`] for a zero, an age below a second, and anything over [`MAX_MESSAGES`], [`MAX_AGE`] or
    /// [`MAX_BYTES`].
    pub fn new(messages: u64, age: Duration, bytes: u64) -> Result<Self, ReuseLimitsError> {
        use ReuseLimitsError::OutOfRange;
        if !(1..=MAX_MESSAGES).contains(&messages) {
            return Err(OutOfRange { part: "messages", range: "1 to 1000000" });
        }
        if !(Duration::from_secs(1)..=MAX_AGE).contains(&age) {
            return Err(OutOfRange { part: "age", range: "1s to 24h" });
        }
        if !(1..=MAX_BYTES).contains(&bytes) {
            return Err(OutOfRange { part: "bytes", range: "1 to 64GiB" });
        }
        Ok(Self { messages, age, bytes })
    }

    /// Most messages that a data key serves.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How long it serves, from when the key service gave it.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Most bytes of plaintext that it seals.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether no data key is ever reused.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.messages == 1
    }
}

impl Default for ReuseLimits {
    fn default() -> Self {
        Self::OFF
    }
}

impl FromStr for ReuseLimits {
    type Err = ReuseLimitsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "off" {
            return Ok(Self::OFF);
        }
        let (mut messages, mut age, mut bytes) = (None, None, None);
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or(ReuseLimitsError::NotAList)?;
            let value = value.trim();
            match name.trim() {
                "messages" => set(&mut messages, "messages", whole(value))?,
                "age" => set(&mut age, "age", seconds(value))?,
                "bytes" => set(&mut bytes, "bytes", size(value))?,
                _ => return Err(ReuseLimitsError::UnknownPart),
            }
        }
        Self::new(
            messages.ok_or(ReuseLimitsError::NoMessages)?,
            age.map_or(Self::OFF.age, Duration::from_secs),
            bytes.unwrap_or(Self::OFF.bytes),
        )
    }
}

impl fmt::Display for ReuseLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() {
            return f.write_str("off");
        }
        let (messages, age, bytes) = (self.messages, self.age.as_secs(), self.bytes);
        write!(f, "messages={messages},age={age}s,bytes={bytes}")
    }
}

/// Why limits were refused. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReuseLimitsError {
    /// Neither `off` nor names with values.
    #[error("not `off` and not a list like messages=1000,age=5m,bytes=64MiB")]
    NotAList,
    /// A name other than `messages`, `age` and `bytes`.
    #[error("a name other than messages, age and bytes")]
    UnknownPart,
    /// A name is given twice.
    #[error("{part} is given twice")]
    Repeated {
        /// The name.
        part: &'static str,
    },
    /// A value that is no whole number with a unit that belongs there.
    #[error(
        "{part} is not a whole number with its unit: messages=1000, age=5m (s, m, h; whole seconds), bytes=64MiB (KiB, MiB, GiB)"
    )]
    NotANumber {
        /// The name.
        part: &'static str,
    },
    /// A value outside its bounds.
    #[error("{part} is not within {range}")]
    OutOfRange {
        /// The name.
        part: &'static str,
        /// The allowed range.
        range: &'static str,
    },
    /// The number of messages is missing.
    #[error("messages is missing")]
    NoMessages,
}

fn set(slot: &mut Option<u64>, part: &'static str, value: Option<u64>) -> Result<(), ReuseLimitsError> {
    let value = value.ok_or(ReuseLimitsError::NotANumber { part })?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ReuseLimitsError::Repeated { part }),
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn whole(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Whole seconds: a limit is written and read back in them.
fn seconds(text: &str) -> Option<u64> {
    let age = envelope_core::duration::parse(text)?;
    (age.subsec_nanos() == 0).then_some(age.as_secs())
}

fn size(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    with_unit(text, &units)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut units = units.iter();
    let (number, factor) = units.find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    whole(number)?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ReuseLimits, ReuseLimitsError> {
        text.parse()
    }

    #[test]
    fn limits_are_read_in_any_order_and_written_so_that_they_read_back() {
        let whole = ReuseLimits::new(1_000, Duration::from_secs(300), 64 << 20);
        for text in
            ["messages=1000,age=5m,bytes=64MiB", " bytes=67108864 , messages=1000,age=300s", "messages=1000"]
        {
            assert_eq!(parse(text), whole, "{text}");
        }
        for text in ["off", "messages=7,age=24h,bytes=64GiB", "messages=1000000,bytes=1KiB"] {
            let limits = parse(text);
            assert_eq!(limits.map(|limits| parse(&limits.to_string())), Ok(limits), "{text}");
        }
        assert_eq!(parse("messages=1").map(|limits| limits.is_off()), Ok(true));
    }

    #[test]
    fn a_text_that_is_no_limit_is_refused_with_the_reason() {
        use ReuseLimitsError::*;
        for (text, error) in [
            ("", NotAList),
            ("on", NotAList),
            ("messages=10,", NotAList),
            ("age=5m", NoMessages),
            ("messages=10,messages=10", Repeated { part: "messages" }),
            ("message=10", UnknownPart),
            ("messages=+10", NotANumber { part: "messages" }),
            ("messages=", NotANumber { part: "messages" }),
            ("messages=10,age=1500ms", NotANumber { part: "age" }),
            ("messages=10,age=5x", NotANumber { part: "age" }),
            ("messages=10,bytes=64MB", NotANumber { part: "bytes" }),
            ("messages=10,bytes=99999999999999GiB", NotANumber { part: "bytes" }),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        for text in [
            "messages=0",
            "messages=1000001",
            "messages=10,age=0s",
            "messages=10,age=25h",
            "messages=10,age=5d",
            "messages=10,bytes=0",
            "messages=10,bytes=65GiB",
        ] {
            assert!(matches!(parse(text), Err(OutOfRange { .. })), "{text}");
        }
    }

    #[test]
    fn each_limit_is_taken_up_to_its_bound_and_no_further() {
        let day = Duration::from_secs(86_400);
        assert_eq!((MAX_MESSAGES, MAX_AGE, MAX_BYTES), (1_000_000, day, 68_719_476_736));
        for (limits, is_taken) in [
            ((1, day, 1), true),
            ((1_000_000, Duration::from_secs(1), 68_719_476_736), true),
            ((0, day, 1), false),
            ((1_000_001, day, 1), false),
            ((2, day + Duration::from_nanos(1), 1), false),
            ((2, Duration::from_millis(999), 1), false),
            ((2, day, 0), false),
            ((2, day, 68_719_476_737), false),
        ] {
            let (messages, age, bytes) = limits;
            let made = ReuseLimits::new(messages, age, bytes);
            assert_eq!(made.is_ok(), is_taken, "{limits:?}");
            if let Ok(made) = made {
                assert_eq!((made.messages(), made.age(), made.bytes()), limits);
                assert_eq!(made.is_off(), messages == 1);
            }
        }
        let default = (ReuseLimits::OFF.messages(), ReuseLimits::OFF.age(), ReuseLimits::OFF.bytes());
        assert_eq!(default, (1, Duration::from_secs(300), 67_108_864));
        for (text, bytes) in [("1KiB", 1_024), ("1MiB", 1_048_576), ("1GiB", 1_073_741_824), ("7", 7)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
    }
}
