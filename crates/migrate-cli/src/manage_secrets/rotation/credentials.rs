//! The credentials in a secret: JSON as Secrets Manager describes it for databases, and the user that alternates.

use secrecy::SecretString;
use secrets_cache::typed::{self, secret_string};
use secrets_cache::{SecretName, SecretRef, SecretValue, generate};
use serde::Deserialize;

use super::error::RotationError;

/// The end of the name of the second user.
const CLONE: &str = "_clone";
/// Letters and digits of a new password: 190 bits.
const PASSWORD_LEN: usize = 32;

/// A kind of database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    /// MariaDB and MySQL.
    MySql,
}

impl Engine {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "postgres" | "postgresql" | "aurora-postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" | "aurora-mysql" => Some(Self::MySql),
            _ => None,
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
        }
    }

    /// The longest user name, in bytes: `NAMEDATALEN` - 1 in PostgreSQL; 32 characters in MySQL, more in MariaDB.
    fn longest_user(self) -> usize {
        match self {
            Self::Postgres => 63,
            Self::MySql => 32,
        }
    }
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// Where the server offers it.
    Preferred,
    /// With a certificate that is checked.
    Verified,
    Off,
}

/// The user and password that a program logs in with.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) engine: Engine,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: SecretString,
    pub(super) database: Option<String>,
    pub(super) tls: Tls,
    /// The secret of a user who may create others.
    pub(super) administrator: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    engine: Option<String>,
    host: Option<String>,
    port: Option<Port>,
    username: String,
    #[serde(deserialize_with = "secret_string")]
    password: SecretString,
    dbname: Option<String>,
    masterarn: Option<String>,
    ssl: Option<Switch>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Switch {
    Bool(bool),
    Text(String),
}

impl Login {
    /// Reads the credentials of an application.
    pub(super) fn of(value: &SecretValue) -> Result<Self, RotationError> {
        let document = parse(value)?;
        let engine = document.engine.as_deref().ok_or(RotationError::Secret("there is no engine"))?;
        let engine = Engine::parse(engine)
            .ok_or(RotationError::Secret("engine must be one of postgres, mariadb, mysql"))?;
        let host = document.host.clone().ok_or(RotationError::Secret("there is no host"))?;
        Self::with(document, engine, host, engine.port())
    }

    /// Reads the credentials of the administrator of an application's server. Fields that they leave out are those of the
    /// application.
    pub(super) fn administrator_of(value: &SecretValue, application: &Self) -> Result<Self, RotationError> {
        let document = parse(value)?;
        let engine = document.engine.as_deref().map_or(Some(application.engine), Engine::parse);
        let host = document.host.clone().unwrap_or_else(|| application.host.clone());
        let mut login = Self::with(document, application.engine, host, application.port)?;
        login.database = login.database.or_else(|| application.database.clone());
        // Otherwise one secret could have the administrator of another server set passwords there.
        match engine == Some(application.engine) && login.is_on_server_of(application) {
            true => Ok(login),
            false => Err(RotationError::OtherServer),
        }
    }

    /// The same with a random password.
    pub(super) fn with_another_password(&self) -> Self {
        Self {
            engine: self.engine,
            host: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            password: generate::alphanumeric(PASSWORD_LEN),
            database: self.database.clone(),
            tls: self.tls,
            administrator: None,
        }
    }

    pub(super) fn is_on_server_of(&self, other: &Self) -> bool {
        (self.engine, &self.host, self.port) == (other.engine, &other.host, other.port)
    }

    fn with(document: Document, engine: Engine, host: String, port: u16) -> Result<Self, RotationError> {
        let port = match document.port {
            None => port,
            Some(Port::Number(port)) => port,
            Some(Port::Text(port)) => {
                port.parse().map_err(|_| RotationError::Secret("port is not a number"))?
            }
        };
        let tls = match document.ssl {
            None => Tls::Preferred,
            Some(Switch::Bool(true)) => Tls::Verified,
            Some(Switch::Bool(false)) => Tls::Off,
            Some(Switch::Text(text)) if text == "true" => Tls::Verified,
            Some(Switch::Text(text)) if text == "false" => Tls::Off,
            Some(Switch::Text(_)) => return Err(RotationError::Secret("ssl is neither true nor false")),
        };
        Ok(Self {
            engine,
            host,
            port,
            user: document.username,
            password: document.password,
            database: document.dbname,
            tls,
            administrator: document.masterarn,
        })
    }

    /// The user that the application was made with; the other one has its rights.
    pub(super) fn base(&self) -> &str {
        self.user.strip_suffix(CLONE).unwrap_or(&self.user)
    }

    /// The user of the next version: the one that is not in use.
    pub(super) fn other_user(&self) -> Result<String, RotationError> {
        let other = match self.user.strip_suffix(CLONE) {
            Some(base) => base.to_owned(),
            None => format!("{}{CLONE}", self.user),
        };
        // Names go into statements that take no parameters.
        let is_plain = |c: char| c.is_alphanumeric() || "_-.$".contains(c);
        if other.is_empty() || !other.chars().all(is_plain) {
            return Err(RotationError::UserName(
                "it has other characters than letters, digits, `_`, `-`, `.` and `$`",
            ));
        }
        match other.len() > self.engine.longest_user() {
            true => Err(RotationError::UserName("with `_clone`, it is too long for this database")),
            false => Ok(other),
        }
    }
}

/// The value of the next version: the other user with a new password, and everything else to the byte.
pub(super) fn next(name: &SecretName, current: &SecretValue) -> Result<SecretValue, RotationError> {
    let user = Login::of(current)?.other_user()?;
    let field = |field: &str| -> Result<SecretRef, RotationError> {
        format!("{name}#{field}").parse().map_err(|_| RotationError::Event)
    };
    let value = typed::with_field(current, &field("username")?, &SecretString::from(user))?;
    let password = generate::alphanumeric(PASSWORD_LEN);
    Ok(typed::with_field(&value, &field("password")?, &password)?)
}

fn parse(value: &SecretValue) -> Result<Document, RotationError> {
    let text = value.expose_text().ok_or(RotationError::Secret("it is binary"))?;
    // The parser's message quotes the value: it is not passed on.
    serde_json::from_str(text).map_err(|_| RotationError::Secret("it is not JSON with username and password"))
}
