//! Why a step of a rotation was not taken. No text of a database is in it: it could quote a statement with a password.

use secrets_cache::SourceError;
use secrets_cache::typed::ReadError;

/// A failure of a step. The step may be repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("the event is not one of Secrets Manager's: Step, SecretId and ClientRequestToken")]
    Event,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the secret does not hold the credentials of a database: {0}")]
    Secret(&'static str),
    #[error("the version of this rotation is not pending")]
    NotPending,
    #[error("the pending version has no value: createSecret was not taken")]
    NoValue,
    #[error("the pending user is the current one, or of another database: a login would be lost")]
    NotTheOther,
    #[error("the administrator's credentials are missing: the secret has no masterarn")]
    NoAdministrator,
    #[error("the administrator's credentials are those of another database server")]
    OtherServer,
    #[error("the administrator cannot log in")]
    AdministratorRefused,
    #[error("the new credentials do not log in")]
    Refused,
    #[error("the server lets the user in with any password, so that the new one is not proved")]
    AnyPassword,
    #[error("the user name cannot be used: {0}")]
    UserName(&'static str),
    #[error("user {user:?} does not exist in the database")]
    NoUser { user: String },
    #[error("the database refused to {action} (SQLSTATE {code})")]
    Database { action: &'static str, code: String },
    #[error("the database did not answer: could not {action}")]
    Unreachable { action: &'static str },
    #[error("this build has no support for {0}")]
    Engine(&'static str),
    #[error("the runtime of the function does not answer as expected: could not {0}")]
    Runtime(&'static str),
}

impl From<ReadError> for RotationError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Source(error) => Self::Source(error),
            _ => Self::Secret("a field is missing or not text"),
        }
    }
}

impl RotationError {
    /// The label of this kind of failure in reports.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Source(error) => error.class(),
            Self::Secret(_) | Self::UserName(_) => "credentials",
            Self::NotPending | Self::NoValue | Self::NotTheOther => "order",
            Self::NoAdministrator | Self::OtherServer | Self::AdministratorRefused => "administrator",
            Self::Refused => "refused",
            Self::AnyPassword
            | Self::NoUser { .. }
            | Self::Database { .. }
            | Self::Unreachable { .. }
            | Self::Engine(_) => "database",
            Self::Runtime(_) => "runtime",
        }
    }

    /// The next step for the operator.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Event => "pipe in the event as Secrets Manager sends it",
            Self::Source(error) => error.hint().unwrap_or("see the cause"),
            Self::Secret(_) => {
                "store JSON with engine, host, username, password and masterarn; rotate other secrets with `rotate`"
            }
            Self::NotPending | Self::NoValue => "start the rotation again in Secrets Manager",
            Self::NotTheOther => {
                "the current version was changed meanwhile: cancel the rotation, and start it again"
            }
            Self::NoAdministrator => {
                "add masterarn to the secret: the ARN of the administrator's secret; or name it with --administrator"
            }
            Self::OtherServer => "the host of the administrator's secret must be that of this secret",
            Self::AdministratorRefused => "check the password in the administrator's secret",
            Self::Refused => "repeat setSecret; check pg_hba.conf, or the host of the user in MariaDB",
            Self::AnyPassword => {
                "demand passwords from this host: scram-sha-256 in place of trust in pg_hba.conf, a plugin that checks \
                 passwords in MariaDB and MySQL"
            }
            Self::UserName(_) => "choose a shorter name of letters, digits and `_`",
            Self::NoUser { .. } => "create the user, with the rights of the application",
            Self::Database { .. } => {
                "the administrator needs CREATEROLE, ADMIN OPTION on the user and the right to set its parameters in PostgreSQL, \
                 CREATE USER, GRANT OPTION and SELECT on mysql.user in MariaDB and MySQL"
            }
            Self::Unreachable { .. } => "check host, port, security groups and TLS",
            Self::Engine(_) => "use a build with the features `postgres` and `mysql`",
            Self::Runtime(_) => "run it as the entry point of a Lambda function",
        }
    }
}
