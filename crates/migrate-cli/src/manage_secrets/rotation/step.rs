//! The four steps. Each does its remaining work, so that it may be repeated after it was killed at any
//! moment.

use secrets_cache::source::secrets_manager::{NewVersion, SecretsManager, Standing};
use secrets_cache::{SecretName, SecretSource as _, SecretValue, Stage};

use super::credentials::{self, Login};
use super::database;
use super::error::RotationError;
use super::event::{Event, Step};

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// It was taken before.
    Already,
}

/// A rotation of one secret.
pub(super) struct Rotation<'a> {
    manager: &'a SecretsManager,
    version: &'a NewVersion,
    /// The administrator's secret, where the secret itself names none.
    administrator: Option<&'a SecretName>,
}

/// Takes the step of an event.
pub(super) async fn take(
    event: &Event,
    manager: &SecretsManager,
    administrator: Option<&SecretName>,
) -> Result<Outcome, RotationError> {
    let rotation = Rotation { manager, version: &event.version, administrator };
    match (event.step, manager.standing(&event.version).await?) {
        // The service repeats steps of a rotation that is finished.
        (_, Standing::Current) => Ok(Outcome::Already),
        (Step::CreateSecret, Standing::Absent | Standing::Pending) => rotation.create().await,
        (Step::SetSecret, Standing::Pending) => rotation.set().await,
        (Step::TestSecret, Standing::Pending) => rotation.test().await,
        (Step::FinishSecret, Standing::Pending) => rotation.finish().await,
        _ => Err(RotationError::NotPending),
    }
}

impl Rotation<'_> {
    /// The other user, with a new password, becomes the pending version.
    async fn create(&self) -> Result<Outcome, RotationError> {
        if self.manager.pending_value(self.version).await?.is_some() {
            return Ok(Outcome::Already);
        }
        let new = credentials::next(&self.version.secret, &self.current().await?)?;
        self.manager.put_pending(self.version, &new).await?;
        Ok(Outcome::Done)
    }

    /// Sets the password of the pending user in the database. The current user, which programs log in with,
    /// stays as it is.
    async fn set(&self) -> Result<Outcome, RotationError> {
        let (current, pending) = self.both().await?;
        // A login alone does not prove that the password is set.
        if database::logs_in(&pending).await? && !database::lets_in_with_any_password(&pending).await? {
            return Ok(Outcome::Already);
        }
        let administrator = self.administrator(&current).await?;
        database::provide(&administrator, &pending).await?;
        Ok(Outcome::Done)
    }

    /// The pending password, and no other, logs in.
    async fn test(&self) -> Result<Outcome, RotationError> {
        let (_, pending) = self.both().await?;
        // First, because a server that counts failed logins forgets them with the next one that succeeds.
        if database::lets_in_with_any_password(&pending).await? {
            return Err(RotationError::AnyPassword);
        }
        match database::logs_in(&pending).await? {
            true => Ok(Outcome::Done),
            false => Err(RotationError::Refused),
        }
    }

    /// Tried once more: a version that does not log in never becomes the current one.
    async fn finish(&self) -> Result<Outcome, RotationError> {
        self.test().await?;
        self.manager.make_current(self.version).await?;
        Ok(Outcome::Done)
    }

    async fn current(&self) -> Result<SecretValue, RotationError> {
        Ok(self.manager.get(&self.version.secret, &Stage::Current).await?.value)
    }

    /// The current and the pending credentials, which are of two users of one server.
    async fn both(&self) -> Result<(Login, Login), RotationError> {
        let pending = self.manager.pending_value(self.version).await?.ok_or(RotationError::NoValue)?;
        let (current, pending) = (Login::of(&self.current().await?)?, Login::of(&pending)?);
        match pending.is_on_server_of(&current) && pending.user == current.other_user()? {
            true => Ok((current, pending)),
            false => Err(RotationError::NotTheOther),
        }
    }

    async fn administrator(&self, current: &Login) -> Result<Login, RotationError> {
        let named = match (self.administrator, &current.administrator) {
            (Some(name), _) => name.clone(),
            (None, Some(arn)) => {
                SecretName::new(arn).map_err(|_| RotationError::Secret("masterarn is not a name"))?
            }
            (None, None) => return Err(RotationError::NoAdministrator),
        };
        let value = self.manager.get(&named, &Stage::Current).await?.value;
        Login::administrator_of(&value, current)
    }
}
