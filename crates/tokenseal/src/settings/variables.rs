//! The names of all variables.

/// A variable, for `doctor` and the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Whether its value must never be shown. Such a variable is also read from the file that `<NAME>_FILE` names.
    pub secret: bool,
}

impl Variable {
    const fn plain(name: &'static str) -> Self {
        Self { name, secret: false }
    }

    const fn secret(name: &'static str) -> Self {
        Self { name, secret: true }
    }

    /// The variable that names a file with the value; only secret variables have one.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| file_variable(self.name))
    }
}

/// Every variable that is read, in the order of the documentation.
pub const VARIABLES: &[Variable] = &[
    Variable::secret("DATABASE_URL"),
    Variable::plain("DATABASE_LOCK_TIMEOUT"),
    Variable::plain("DATABASE_STATEMENT_TIMEOUT"),
    Variable::plain("TOKEN_PROFILE"),
    Variable::plain("KMS_KEY_ID"),
    Variable::plain("TOKEN_ENCRYPTION_KEY_ID"),
    Variable::plain("USE_KMS"),
    Variable::plain("KMS_ALLOWED_KEYS"),
    Variable::secret("ENCRYPTION_KEY"),
    Variable::secret("TOKEN_ENCRYPTION_KEY"),
    Variable::plain("ENCRYPTION_KEY_VERSION"),
    Variable::secret("DEV_ENCRYPTION_KEY"),
    Variable::secret("KMS_MASTER_KEY"),
    Variable::plain("ENCRYPTION_CONTEXT"),
    Variable::plain("DEK_CACHE_TTL"),
    Variable::plain("DEK_CACHE_MAX"),
    Variable::plain("DATA_KEY_REUSE"),
    Variable::plain("ENVELOPE_FORMAT"),
    Variable::plain("BINDING"),
    Variable::plain("PLAINTEXT_POLICY"),
    Variable::plain("READ_FLOOR"),
    Variable::plain("KMS_FALLBACK"),
    Variable::plain("ENVIRONMENT"),
    Variable::plain("APP_ENV"),
    Variable::plain("NODE_ENV"),
    Variable::plain("EMF_METRICS"),
    Variable::plain("EMF_DIMENSIONS"),
    Variable::plain("LOG_ACCOUNT_IDS"),
    Variable::plain("AUDIT_ACTOR"),
    Variable::plain("AUDIT_LOG"),
    Variable::plain("SECRETS_SOURCE"),
    Variable::plain("SECRETS_PREFIX"),
    Variable::plain("AGENT_LISTEN"),
    Variable::plain("AGENT_POLICY"),
    Variable::plain("AGENT_TOKEN_FILE"),
    Variable::plain("AGENT_SOCKET_GROUP"),
    Variable::plain("VAULT_ADDR"),
    Variable::secret("VAULT_TOKEN"),
    Variable::plain("VAULT_ROLE_ID"),
    Variable::secret("VAULT_SECRET_ID"),
    Variable::plain("VAULT_K8S_ROLE"),
    Variable::plain("VAULT_NAMESPACE"),
    Variable::plain("VAULT_CACERT"),
    Variable::plain("AWS_REGION"),
    Variable::plain("AWS_ENDPOINT_URL"),
    Variable::plain("AWS_ENDPOINT_URL_KMS"),
    Variable::plain("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
];

/// The variables that the process's environment sets: `NAME=value`, or the name alone where the value is a secret.
#[must_use]
pub fn set_variables() -> Vec<String> {
    let is_set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut set = Vec::new();
    for variable in VARIABLES {
        let value = is_set(variable.name).filter(|value| !value.to_string_lossy().trim().is_empty());
        match value {
            Some(_) if variable.secret => set.push(variable.name.to_owned()),
            Some(value) => set.push(format!("{}={}", variable.name, value.to_string_lossy())),
            None => {}
        }
        set.extend(variable.file_name().filter(|name| is_set(name).is_some()));
    }
    set
}

pub(super) fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}
