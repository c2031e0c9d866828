//! Purposes: the uses of a key, with a derived key for each, so that nothing made for one use opens in another.

use hkdf::Hkdf;
use sha2::Sha512;

use crate::key::DataKey;

/// Begins the derivation of every purpose's key.
const LABEL: &[u8] = b"tokenseal purpose v1\0";

/// Declares the purposes with their names, so that none can be missing in the list of all of them.
macro_rules! purposes {
    ($($(#[$doc:meta])+ $purpose:ident = $label:literal,)+) => {
        /// A use of a key of a ring, or of a master key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Purpose {
            $($(#[$doc])+ $purpose,)+
        }

        impl Purpose {
            /// Every purpose.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$purpose),+];

            /// The purpose's name in derivations and in values that name it: lower-case ASCII, unique, and never changed.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$purpose => $label,)+
                }
            }
        }
    };
}

purposes! {
    /// A token in a row of a table.
    Token = "token",
    /// A field of a record, sealed with [`field`](crate::field).
    Field = "field",
    /// A value of the local secret store.
    Secret = "secret",
    /// The local secret store's metadata of its values: stages, versions, expiry, tags.
    SecretMetadata = "secret-metadata",
    /// Wrapping data keys for tokens.
    DataKey = "data-key",
    /// Recognizing the key that wrapped a data key: a commitment to it, no secret.
    DataKeyCommitment = "data-key-commitment",
    /// A backup of secrets.
    Backup = "backup",
    /// A sealed file.
    SealedFile = "sealed-file",
    /// The chain of an audit trail. Reserved: a chain has a data key of its own from the key service.
    Audit = "audit",
    /// A blind index.
    Index = "index",
}

impl Purpose {
    /// The purpose with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.label() == label)
    }

    /// The key that serves this purpose and no other: HKDF-SHA-512 (RFC 5869) of `key`, without salt, with the info
    /// `tokenseal purpose v1`, a zero byte and the [label](Self::label).
    ///
    /// The labels differ, so the keys are independent: none says anything about another or about `key`.
    #[must_use]
    pub fn derive(self, key: &DataKey) -> DataKey {
        let hkdf = Hkdf::<Sha512>::new(None, key.expose_secret());
        DataKey::from_fn(|out| {
            #[expect(clippy::expect_used, reason = "HKDF-SHA-512 gives up to 16,320 bytes")]
            hkdf.expand_multi_info(&[LABEL, self.label().as_bytes()], out)
                .expect("32 bytes are within its limit");
        })
    }
}
