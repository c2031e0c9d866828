//! New random secrets.

use rand::RngExt;
use rand::distr::Alphanumeric;
use secrecy::SecretString;

/// Makes a secret of letters and digits, each worth 5.95 bits: 32 of them are beyond guessing.
#[must_use]
pub fn alphanumeric(length: usize) -> SecretString {
    // Filled to its exact capacity, so that growing leaves no shorter copy.
    let mut text = String::with_capacity(length);
    text.extend(
        rand::rand_core::UnwrapErr(rand::rngs::SysRng).sample_iter(Alphanumeric).take(length).map(char::from),
    );
    SecretString::from(text)
}
