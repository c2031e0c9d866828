//! PostgreSQL: the second user is a role with the rights of the first, which it takes on when it logs in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::random;
use hmac::{Hmac, KeyInit as _, Mac as _};
use pbkdf2::pbkdf2_hmac_array;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use zeroize::Zeroizing;

use super::credentials::{Login, Tls};
use super::database::{self, SET, failed};
use super::error::RotationError;
use super::postgres_settings;

/// Rounds of PBKDF2: the server's own default (`scram_iterations`).
const ITERATIONS: u32 = 4_096;
const SALT_LEN: usize = 16;

/// Logs in and asks for an answer.
pub(super) async fn log_in(login: &Login) -> Result<bool, RotationError> {
    let Some(mut connection) = connect(login).await? else {
        return Ok(false);
    };
    let answer = sqlx::query("SELECT 1").execute(&mut connection).await;
    answer.map_err(|error| failed("answer a query of the new user")(&error))?;
    let _ = connection.close().await;
    Ok(true)
}

/// One transaction: a rotation that is killed has changed nothing, or everything.
pub(super) async fn provide(administrator: &Login, pending: &Login) -> Result<(), RotationError> {
    let mut connection = connect(administrator).await?.ok_or(RotationError::AdministratorRefused)?;
    let mut transaction = connection.begin().await.map_err(|error| failed(SET)(&error))?;
    let (user, base) = (pending.user.as_str(), pending.base());
    if !exists(&mut transaction, base).await? {
        return Err(RotationError::NoUser { user: base.to_owned() });
    }
    let verb = if exists(&mut transaction, user).await? { "ALTER" } else { "CREATE" };
    // The server gets only the verifier that it stores, and not the password: statements can be in its log.
    let verifier = verifier(pending.password.expose_secret().as_bytes(), &random::bytes());
    let mut statements = vec![(SET, format!("{verb} ROLE {} LOGIN PASSWORD '{}'", quoted(user), &*verifier))];
    if user != base {
        statements.push((SET, format!("GRANT {} TO {}", quoted(base), quoted(user))));
        // Objects that it creates belong to the first user, and both have the same rights from the first
        // statement on.
        let settings = postgres_settings::copy(&mut transaction, base, user).await?;
        statements.extend(settings.into_iter().map(|statement| (postgres_settings::COPY, statement)));
    }
    for (action, statement) in statements {
        let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await;
        done.map_err(|error| failed(action)(&error))?;
    }
    transaction.commit().await.map_err(|error| failed(SET)(&error))?;
    let _ = connection.close().await;
    Ok(())
}

async fn connect(login: &Login) -> Result<Option<PgConnection>, RotationError> {
    let tls = match login.tls {
        Tls::Preferred => PgSslMode::Prefer,
        Tls::Verified => PgSslMode::VerifyFull,
        Tls::Off => PgSslMode::Disable,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&login.host)
        .port(login.port)
        .username(&login.user)
        .password(login.password.expose_secret())
        .database(login.database.as_deref().unwrap_or("postgres"))
        .ssl_mode(tls);
    database::connect(options).await
}

async fn exists(connection: &mut PgConnection, user: &str) -> Result<bool, RotationError> {
    let query = sqlx::query("SELECT count(*) FROM pg_roles WHERE rolname = $1").bind(user.to_owned());
    let row = query.fetch_one(connection).await.map_err(|error| failed("look up a user")(&error))?;
    Ok(row.get::<i64, _>(0) > 0)
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The form in which PostgreSQL stores a password of ASCII letters and digits:
/// `SCRAM-SHA-256$<rounds>:<salt>$<stored>:<server>` (RFC 5802, section 3; RFC 7677; `scram-common.c` of
/// PostgreSQL).
fn verifier(password: &[u8], salt: &[u8; SALT_LEN]) -> Zeroizing<String> {
    let salted = Zeroizing::new(pbkdf2_hmac_array::<Sha256, 32>(password, salt, ITERATIONS));
    let client = Zeroizing::new(mac(&*salted, b"Client Key"));
    let (stored, server) = (Sha256::digest(*client), mac(&*salted, b"Server Key"));
    let (salt, stored, server) = (STANDARD.encode(salt), STANDARD.encode(stored), STANDARD.encode(server));
    Zeroizing::new(format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}"))
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length will do");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3: its proofs follow from these two keys.
    #[test]
    fn a_verifier_is_that_of_the_rfc() {
        let salt: [u8; SALT_LEN] = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let made = verifier(b"pencil", &salt);
        let (head, keys) = made.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");
        let (_, server) = keys.split_once(':').unwrap();
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = mac(&STANDARD.decode(server).unwrap(), message.as_bytes());
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }
}
