//! Restoring a backup.

use std::collections::{HashSet, VecDeque};
use std::error::Error as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use envelope_core::DataKey;
use futures_util::StreamExt;
use futures_util::stream;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::record::Records;
use super::{BackupError, Unlabelled};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::sealed_stream::{IsStopped, StreamReader, go_on, regular};
use crate::secret::{Secret, Stage};
use crate::source::{NewSecret, SecretSource};

/// Secrets compared together.
const PAGE: usize = 200;

/// The changes that restoring a backup would make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Secrets that the target does not have.
    pub added: Vec<SecretName>,
    /// Secrets that have another value in the target.
    pub changed: Vec<SecretName>,
    /// Secrets that are the same.
    pub unchanged: u64,
    /// Secrets whose time is over since the backup. They are restored, and not served until they get a new value.
    pub expired: Vec<SecretName>,
    /// Secrets whose expiry or rotation policy the target cannot keep.
    pub without_schedule: u64,
    /// Secrets that cannot be restored, or were not. The others are.
    pub failed: Vec<NotRestored>,
    /// Secrets whose current value is restored, and whose previous one the target does not take.
    pub without_previous: Vec<NotRestored>,
}

/// A secret that was not restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotRestored {
    /// Its name.
    pub name: SecretName,
    /// The kind of failure, as [`SourceError::class`].
    pub class: &'static str,
    /// The reason.
    pub reason: String,
}

impl Plan {
    /// Records a failure in place of the planned action for the secret.
    fn fail(&mut self, name: &SecretName, error: &SourceError) {
        self.drop_actions(|planned| planned == name);
        self.failed.push(NotRestored::new(name, error));
    }

    /// Takes what was planned for these secrets out.
    fn drop_actions(&mut self, is_dropped: impl Fn(&SecretName) -> bool) {
        for list in [&mut self.added, &mut self.changed, &mut self.expired] {
            list.retain(|planned| !is_dropped(planned));
        }
        self.without_previous.retain(|planned| !is_dropped(&planned.name));
    }
}

impl NotRestored {
    fn new(name: &SecretName, error: &SourceError) -> Self {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let reason = causes.fold(error.to_string(), |reason, cause| format!("{reason}: {cause}"));
        Self { name: name.clone(), class: error.class(), reason }
    }
}

/// The changes that restoring a backup made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The intended changes.
    pub plan: Plan,
    /// Versions stored.
    pub versions: u64,
    /// Whether it was stopped between two secrets. The plan then holds only those that were dealt with.
    pub interrupted: bool,
    /// The class of the outage that ended it after some secrets were stored. The plan then holds only those that were dealt with.
    pub outage: Option<&'static str>,
}

pub(super) async fn plan(
    path: &Path,
    key: Arc<DataKey>,
    unlabelled: Unlabelled,
    target: &dyn SecretSource,
    is_stopped: IsStopped<'_>,
) -> Result<Plan, BackupError> {
    let mut differences = Differences::new(path, key, unlabelled, target);
    loop {
        go_on(is_stopped)?;
        if differences.next().await?.is_none() {
            break;
        }
    }
    Ok(differences.plan)
}

pub(super) async fn restore(
    path: &Path,
    key: Arc<DataKey>,
    unlabelled: Unlabelled,
    target: &dyn SecretSource,
    is_stopped: IsStopped<'_>,
) -> Result<Restored, BackupError> {
    authenticate(path, Arc::clone(&key), unlabelled, is_stopped).await?;
    let mut differences = Differences::new(path, key, unlabelled, target);
    if !target.is_transactional() {
        return one_by_one(differences, is_stopped).await;
    }
    let mut failure = None;
    let secrets = stream::unfold(
        (&mut differences, &mut failure, false),
        |(differences, failure, failed)| async move {
            if failed {
                return None;
            }
            let next = match go_on(is_stopped) {
                Ok(()) => differences.next().await,
                Err(stopped) => Err(stopped.into()),
            };
            match next {
                Ok(secret) => secret.map(|secret| (Ok(secret), (differences, failure, false))),
                Err(error) => {
                    // It was stopped, or the file has changed since it was authenticated: the target gets an error and takes
                    // nothing.
                    *failure = Some(error);
                    let stop = SourceError::Storage { operation: "read the backup again", cause: None };
                    Some((Err(stop), (differences, failure, true)))
                }
            }
        },
    );
    let stored = target.put_all(secrets.boxed()).await;
    match (failure, stored) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(versions)) => Ok(Restored { plan: differences.plan, versions, ..Restored::default() }),
    }
}

/// Stores each secret that can be stored. An outage ends it: a repeated restore continues where this one
/// ended.
async fn one_by_one(
    mut differences: Differences<'_>,
    is_stopped: IsStopped<'_>,
) -> Result<Restored, BackupError> {
    let mut versions = 0;
    let mut last: Option<SecretName> = None;
    loop {
        let secret = match differences.next().await {
            Ok(Some(secret)) => secret,
            Ok(None) => break,
            Err(BackupError::Source(error)) if versions > 0 && error.is_outage() => {
                differences.forget(None);
                return Ok(differences.ended_by(&error, versions));
            }
            Err(error) => return Err(error),
        };
        // Between two secrets only: after its previous version alone, a secret would serve that one.
        if last.as_ref() != Some(&secret.name) && is_stopped() {
            differences.forget(Some(&secret));
            if versions == 0 && differences.plan.failed.is_empty() {
                return Err(BackupError::Stopped);
            }
            let plan = differences.plan;
            return Ok(Restored { plan, versions, interrupted: true, ..Restored::default() });
        }
        last = Some(secret.name.clone());
        match differences.target.put(&secret).await {
            Ok(_) => versions += 1,
            Err(error) if error.is_outage() && versions == 0 => return Err(error.into()),
            Err(error) if error.is_outage() => {
                differences.forget(Some(&secret));
                differences.plan.fail(&secret.name, &error);
                return Ok(differences.ended_by(&error, versions));
            }
            // The current version comes next, and is what is served.
            Err(error) if differences.ready.front().is_some_and(|next| next.name == secret.name) => {
                differences.plan.without_previous.push(NotRestored::new(&secret.name, &error));
            }
            Err(error) => differences.plan.fail(&secret.name, &error),
        }
    }
    Ok(Restored { plan: differences.plan, versions, ..Restored::default() })
}

/// Reads the whole file and keeps nothing.
async fn authenticate(
    path: &Path,
    key: Arc<DataKey>,
    unlabelled: Unlabelled,
    is_stopped: IsStopped<'_>,
) -> Result<(), BackupError> {
    let mut records = reading(path, key, unlabelled);
    while let Some(record) = records.recv().await {
        record?;
        go_on(is_stopped)?;
    }
    Ok(go_on(is_stopped)?)
}

/// The records of a backup, as another thread reads them; it ends when the receiver is dropped.
fn reading(
    path: &Path,
    key: Arc<DataKey>,
    unlabelled: Unlabelled,
) -> mpsc::Receiver<Result<NewSecret, BackupError>> {
    let (send, read) = mpsc::channel(16);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_records(&path, &key, unlabelled, &send));
    read
}

fn open(
    path: &Path,
    key: &DataKey,
    unlabelled: Unlabelled,
) -> Result<Records<StreamReader<BufReader<File>>>, BackupError> {
    Records::new(StreamReader::new(BufReader::new(regular(path)?), key, unlabelled.opens())?)
}

/// The versions in a backup that the target does not have, in the order to store them in.
struct Differences<'a> {
    target: &'a dyn SecretSource,
    read: mpsc::Receiver<Result<NewSecret, BackupError>>,
    page: Vec<NewSecret>,
    ready: VecDeque<NewSecret>,
    /// Those of the page that lose their expiry or rotation policy.
    without_schedule: HashSet<SecretName>,
    is_done: bool,
    plan: Plan,
}

impl<'a> Differences<'a> {
    fn new(path: &Path, key: Arc<DataKey>, unlabelled: Unlabelled, target: &'a dyn SecretSource) -> Self {
        Self {
            target,
            read: reading(path, key, unlabelled),
            page: Vec::new(),
            ready: VecDeque::new(),
            without_schedule: HashSet::new(),
            is_done: false,
            plan: Plan::default(),
        }
    }

    async fn next(&mut self) -> Result<Option<NewSecret>, BackupError> {
        while self.ready.is_empty() && !self.is_done {
            match self.read.recv().await {
                Some(record) => self.page.push(record?),
                None => self.is_done = true,
            }
            let is_whole = self.page.last().is_some_and(|secret| secret.stage == Stage::Current);
            // A secret's versions are next to each other, the current one last.
            if self.is_done || self.page.len() >= PAGE && is_whole {
                self.compare().await?;
            }
        }
        Ok(self.ready.pop_front())
    }

    fn ended_by(self, outage: &SourceError, versions: u64) -> Restored {
        Restored { plan: self.plan, versions, outage: Some(outage.class()), ..Restored::default() }
    }

    /// Takes a secret and those after it out of the plan: they are not stored.
    fn forget(&mut self, next: Option<&NewSecret>) {
        let left: HashSet<&SecretName> = self.ready.iter().chain(next).map(|secret| &secret.name).collect();
        self.plan.drop_actions(|name| left.contains(name));
        let kept = left.iter().filter(|name| self.without_schedule.contains(**name)).count();
        self.plan.without_schedule -= kept as u64;
    }

    async fn compare(&mut self) -> Result<(), BackupError> {
        let page = std::mem::take(&mut self.page);
        self.without_schedule.clear();
        let current = page.iter().filter(|secret| secret.stage == Stage::Current);
        let names: Vec<SecretName> = current.map(|secret| secret.name.clone()).collect();
        let mut there = self.target.get_many(&names).await?.into_iter();
        let mut versions = Vec::new();
        for mut secret in page {
            if !self.target.keeps_schedule() && (secret.expires.is_some() || secret.rotation.is_some()) {
                if secret.stage == Stage::Current && self.without_schedule.insert(secret.name.clone()) {
                    self.plan.without_schedule += 1;
                }
                (secret.expires, secret.lifetime, secret.rotation) = (None, None, None);
            }
            let is_current = secret.stage == Stage::Current;
            // Storing the versions one after the other puts each under its stage.
            secret.stage = Stage::Current;
            versions.push(secret);
            if is_current {
                let there =
                    there.next().unwrap_or_else(|| Err(SourceError::Timeout { operation: "compare" }));
                self.settle(std::mem::take(&mut versions), there)?;
            }
        }
        Ok(())
    }

    fn settle(
        &mut self,
        versions: Vec<NewSecret>,
        there: Result<Secret, SourceError>,
    ) -> Result<(), BackupError> {
        let Some(current) = versions.last() else {
            return Ok(());
        };
        // Over a value that is there only the current version is stored: that value becomes the previous one, and is not lost.
        let replaces = matches!(there, Ok(_) | Err(SourceError::Expired { .. }));
        match there {
            Ok(there) if there.holds(&current.value) => {
                self.plan.unchanged += 1;
                return Ok(());
            }
            Ok(_)
            | Err(
                SourceError::Expired { .. } | SourceError::NoSuchStage { .. } | SourceError::NotFound { .. },
            ) if let Err(unfit) = self.target.check(&current.name, &current.value) => {
                self.plan.fail(&current.name, &unfit);
                return Ok(());
            }
            Ok(_) | Err(SourceError::Expired { .. } | SourceError::NoSuchStage { .. }) => {
                self.plan.changed.push(current.name.clone());
            }
            Err(SourceError::NotFound { .. }) => self.plan.added.push(current.name.clone()),
            Err(error) if error.is_outage() => return Err(error.into()),
            Err(error) => {
                self.plan.fail(&current.name, &error);
                return Ok(());
            }
        }
        if current.expires.is_some_and(|at| at <= OffsetDateTime::now_utc()) {
            self.plan.expired.push(current.name.clone());
        }
        let passed_over = if replaces { versions.len() - 1 } else { 0 };
        for version in versions.into_iter().skip(passed_over) {
            match self.target.check(&version.name, &version.value) {
                Ok(()) => self.ready.push_back(version),
                Err(error) => self.plan.without_previous.push(NotRestored::new(&version.name, &error)),
            }
        }
        Ok(())
    }
}

fn read_records(
    path: &Path,
    key: &DataKey,
    unlabelled: Unlabelled,
    send: &mpsc::Sender<Result<NewSecret, BackupError>>,
) {
    let all = open(path, key, unlabelled).and_then(|mut records| {
        while let Some(record) = records.next()? {
            if send.blocking_send(Ok(record)).is_err() {
                break;
            }
        }
        Ok(())
    });
    if let Err(error) = all {
        let _ = send.blocking_send(Err(error));
    }
}
