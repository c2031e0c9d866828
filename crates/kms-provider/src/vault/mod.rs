//! Transit of OpenBao and Vault.

mod ciphertext;
mod error;
mod keys;
mod provider;

use envelope_core::KeyError;
use vault_client::{VaultClient, VaultOptions};

use self::keys::Keys;
use crate::answers::LastKeys;
use crate::uri::TransitKey;

/// Transit of OpenBao or Vault as a key service: data keys are made and wrapped by one configured key.
///
/// # What the key must be
///
/// A symmetric key made with `derived=true`. Only then does the server bind a wrapped data key to the encryption context;
/// with any other key it silently ignores the context. So the key is checked before its first use and every
/// five minutes, and one that is not derived is refused.
///
/// The encryption context goes to the server as `context`: base64 of its canonical form, at most 8,192 bytes. A wrapped
/// data key is the server's own text, `vault:v<version>:<base64>`, and its key id is `vault:<mount>/<key>:v<version>`.
///
/// # Which keys open
///
/// The key that the wrapped data key claims, if it is the configured key or one of the allowed ones; any other claim is
/// refused without a call. Without a claim, the configured key is tried first, then each other allowed one. The version
/// in a claim is not used, because the wrapped data key itself carries it.
///
/// A wrong context, a wrong key and damage are one answer of the server, and one error here.
///
/// # Checks of an answer
///
/// Transit's answers name a key in one place only: the description of a key, which is read before the key's first use and
/// every five minutes. Its name must be the one that was asked for. A wrapped data key names a version and no key: the key
/// that is stored next to it is the one in the path of the request, and TLS is what ties the answer to the
/// request. The rest of an answer is compared before anything is stored: the version next to the wrapped data
/// key is the one in it, a rewrap does not go back to an older version, a data key has 32 bytes, its wrapped
/// form has room for it, and it is none of the last [`WINDOW`](crate::answers::WINDOW) ones.
///
/// # Capabilities
///
/// | path | capability | for |
/// | --- | --- | --- |
/// | `<mount>/keys/<key>` | `read` | every use |
/// | `<mount>/datakey/plaintext/<key>` | `update` | [`generate`] |
/// | `<mount>/decrypt/<key>` | `update` | [`unwrap`] |
/// | `<mount>/rewrap/<key>` | `update` | [`rewrap`] of the key's own older versions |
/// | `<mount>/encrypt/<key>` | `update`, never `create` | [`rewrap`] from another allowed key |
///
/// Data keys are never made by `encrypt`, which creates a key when the name is mistyped.
///
/// # Secrets
///
/// The answer that carries a plaintext key is wiped when the key has been taken out of it. The copies of the HTTP and
/// TLS layers are freed without being wiped.
///
/// [`generate`]: envelope_core::KeyProvider::generate
/// [`unwrap`]: envelope_core::KeyProvider::unwrap
/// [`rewrap`]: envelope_core::KeyProvider::rewrap
pub struct Vault {
    client: VaultClient,
    keys: Keys,
    last: LastKeys,
}

impl Vault {
    /// Prepares a client for a server. Nothing is sent until the first call.
    ///
    /// # Errors
    /// [`ErrorClass::Misconfigured`](envelope_core::ErrorClass::Misconfigured) if the address or the file of certificate
    /// authorities cannot be used.
    pub fn connect(
        options: VaultOptions,
        key: TransitKey,
        allowed: impl IntoIterator<Item = TransitKey>,
    ) -> Result<Self, KeyError> {
        Ok(Self::new(VaultClient::new(options).map_err(error::no_client)?, key, allowed))
    }

    /// Uses `key` for new data keys; data keys that were wrapped under `allowed` keys open too.
    #[must_use]
    pub fn new(client: VaultClient, key: TransitKey, allowed: impl IntoIterator<Item = TransitKey>) -> Self {
        Self { client, keys: Keys::new(key, allowed), last: LastKeys::default() }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("keys", &self.keys).finish_non_exhaustive()
    }
}
