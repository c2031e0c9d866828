//! The plan of an import for each setting, decided before anything is changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use envelope_core::DataKey;
use secrecy::ExposeSecret as _;
use secrets_cache::source::dotenv::{DotenvEntry, DotenvFile, Doubt, Unreadable};
use secrets_cache::source::{ListRequest, Replaces, list_all};
use secrets_cache::typed::is_json_object;
use secrets_cache::{NewSecret, SecretName, SecretValue, SourceError, Stage};
use zeroize::Zeroizing;

use super::report::{Listed, Report};
use super::{Args, Failure, Opened, Options, Settings};

/// Shortest name that can be base64 by its looks alone.
const LONG: usize = 16;

/// The settings to move, and those that are there already.
pub(super) struct Plan {
    pub(super) moves: Vec<Move>,
    /// Where each setting is in `moves`.
    names: HashMap<SecretName, usize>,
}

/// A setting whose value will be in the source.
pub(super) struct Move {
    /// Its name in the file.
    pub(super) name: SecretName,
    /// Its name in the source: the same, or another spelling of it that is there already.
    pub(super) target: SecretName,
    pub(super) value: SecretValue,
    state: State,
}

#[derive(Clone, PartialEq, Eq)]
enum State {
    Missing,
    /// The source has another value, under this version.
    Differs(String),
    Same,
}

impl Move {
    pub(super) fn is_change(&self) -> bool {
        self.state != State::Same
    }

    /// The change, which only succeeds while the source is as it was when the plan was made.
    pub(super) fn secret(&self) -> NewSecret {
        let replaces = match &self.state {
            State::Missing => Replaces::Nothing,
            State::Differs(version) => Replaces::Version(version.clone()),
            State::Same => Replaces::Anything,
        };
        NewSecret::new(self.target.clone(), self.value.duplicate()).replacing(replaces)
    }
}

impl Plan {
    /// Whether the value of this line is in the source after the run. Another line of the same name can have another value.
    pub(super) fn is_moved(&self, entry: &DotenvEntry) -> bool {
        let value = || SecretValue::text(entry.value.clone());
        self.names.get(&entry.name).is_some_and(|&at| self.moves[at].value.same_as(&value()))
    }
}

/// Decides about every setting; a dry run goes no further.
pub(super) async fn make(
    args: &Args,
    settings: &Settings,
    opened: &Opened,
    options: &Options,
    file: &DotenvFile,
) -> Result<(Plan, Report), Failure> {
    refuse_unknown_names(args, file)?;
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    // A line whose name is not known may be a part of any setting.
    let is_asked_for = |line: &&Unreadable| line.name.as_ref().is_none_or(|name| args.is_chosen(name));
    let unreadable = file.unreadable.iter().filter(is_asked_for);
    report.doubtful = unreadable.map(|line| Listed::new(line.name.as_ref(), line.line, line.doubt)).collect();
    let chosen = choose(args, settings, options, file, &mut report);
    let targets = targets(opened, &chosen, &mut report).await?;
    let mut wanted = Vec::new();
    for entry in chosen {
        let value = SecretValue::text(entry.value.clone());
        let target = targets.get(&entry.name).cloned().unwrap_or_else(|| entry.name.clone());
        match opened.source.check(&target, &value) {
            Ok(()) => wanted.push(Move { name: entry.name.clone(), target, value, state: State::Same }),
            Err(error) => report.refuse(&entry.name, &error),
        }
    }
    let moves = compare(args, opened, wanted, &mut report).await?;
    let names = moves.iter().enumerate().map(|(at, entry)| (entry.name.clone(), at)).collect();
    Ok((Plan { moves, names }, report))
}

fn refuse_unknown_names(args: &Args, file: &DotenvFile) -> Result<(), Failure> {
    let doubtful = file.unreadable.iter().filter_map(|line| line.name.as_ref());
    let known: HashSet<&SecretName> = file.entries.iter().map(|entry| &entry.name).chain(doubtful).collect();
    let unknown = args.names.iter().chain(&args.except).find(|name| !known.contains(name));
    match unknown {
        Some(name) => Err(Failure::usage(
            format!("{} has no setting {name}", args.origin()),
            "check the names after --names or --except",
        )),
        None => Ok(()),
    }
}

/// The settings to move: the last of each name, with an unambiguous value.
fn choose<'a>(
    args: &Args,
    settings: &Settings,
    options: &Options,
    file: &'a DotenvFile,
    report: &mut Report,
) -> Vec<&'a DotenvEntry> {
    let last: HashMap<&SecretName, &DotenvEntry> =
        file.entries.iter().map(|entry| (&entry.name, entry)).collect();
    let mut chosen = Vec::new();
    for entry in &file.entries {
        if !args.is_chosen(&entry.name) {
            continue;
        }
        if let Some(reason) = kept(entry, settings, options) {
            report.kept.push(Listed::new(shown(entry), entry.line, reason));
            continue;
        }
        report.total += usize::from(!entry.is_empty() && last[&entry.name].line == entry.line);
        if let Some(doubt) = entry.doubt {
            report.doubtful.push(Listed::new(shown(entry), entry.line, doubt));
        } else if last[&entry.name].line != entry.line {
            warn_of_repetition(entry, last[&entry.name], report);
        } else if entry.is_empty() {
            report.empty.push(shown_if_empty(entry, file));
        } else {
            chosen.push(entry);
        }
    }
    report.doubtful.sort_by_key(|listed| listed.line);
    chosen
}

/// Why a setting always stays in the file, regardless of the options.
fn kept(entry: &DotenvEntry, settings: &Settings, options: &Options) -> Option<String> {
    if entry.is_empty() {
        return None;
    }
    if options.source.is_opened_by(entry.name.as_str()) {
        return Some(format!("it opens {}, so it must not be kept there only", options.source));
    }
    let is_master = |master: &DataKey| holds_key(entry.value.expose_secret(), master);
    let is_local = options.source.is_opened_by("KMS_MASTER_KEY");
    (is_local && settings.master_key.as_ref().is_some_and(is_master))
        .then(|| format!("it is the master key that opens {}", options.source))
}

/// The name of a setting, unless it may be a part of a value.
fn shown(entry: &DotenvEntry) -> Option<&SecretName> {
    Some(&entry.name).filter(|_| !entry.doubt.is_some_and(Doubt::hides_name))
}

/// The name of a setting without a value, or its line where the name may be the end of base64 text.
fn shown_if_empty(entry: &DotenvEntry, file: &DotenvFile) -> String {
    let name = entry.name.as_str();
    let follows_text = file.unreadable.iter().any(|line| line.line + 1 == entry.line);
    let has = |class: fn(&u8) -> bool| name.bytes().any(|byte| class(&byte));
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    let is_one_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match is_one_word && (follows_text || name.len() >= LONG && is_mixed) {
        true => format!("line {}", entry.line),
        false => name.to_owned(),
    }
}

/// Whether a key is anywhere in a text, in one of the usual notations: base64 of either alphabet, with or without padding,
/// or hexadecimal.
fn holds_key(text: &str, key: &DataKey) -> bool {
    let bytes = key.expose_secret();
    let hex = |format: fn(&u8) -> String| Zeroizing::new(bytes.iter().map(format).collect::<String>());
    let notations = [
        Zeroizing::new(STANDARD_NO_PAD.encode(bytes)),
        Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)),
        hex(|byte| format!("{byte:02x}")),
        hex(|byte| format!("{byte:02X}")),
    ];
    // In JSON a slash can be written `\/`, and a value of several lines can break a key.
    let text = Zeroizing::new(text.replace(['\\', '\n', '\r'], ""));
    notations.iter().any(|notation| text.contains(notation.as_str()))
}

fn warn_of_repetition(entry: &DotenvEntry, last: &DotenvEntry, report: &mut Report) {
    let (name, line) = (&entry.name, entry.line);
    report
        .warnings
        .push(format!("{name} (line {line}): given again on line {}, and that value counts", last.line));
    let is_same = SecretValue::text(entry.value.clone()).same_as(&SecretValue::text(last.value.clone()));
    // Without its last line, the file would hold the value that did not count, and nothing else would.
    report.hides_another |= !is_same && !entry.is_empty();
}

/// The names that settings have in the source: another spelling that is there already is the same secret.
async fn targets(
    opened: &Opened,
    chosen: &[&DotenvEntry],
    report: &mut Report,
) -> Result<HashMap<SecretName, SecretName>, Failure> {
    let there = match list_all(&*opened.source, &ListRequest::default()).await {
        Ok(there) => there.into_iter().map(|secret| secret.name).collect(),
        Err(SourceError::Denied { .. } | SourceError::Unsupported { .. }) => {
            report.warnings.push(
                "secrets cannot be listed: other spellings of the names, such as a-b for A_B, are not looked for".into(),
            );
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let spelling = |name: &SecretName| name.variable().to_ascii_uppercase();
    let exact: HashSet<&SecretName> = there.iter().collect();
    let mut known: BTreeMap<String, Vec<SecretName>> = BTreeMap::new();
    for name in &there {
        known.entry(spelling(name)).or_default().push(name.clone());
    }
    let mut variables: HashMap<String, HashSet<&SecretName>> = HashMap::new();
    for entry in chosen {
        variables.entry(spelling(&entry.name)).or_default().insert(&entry.name);
    }
    // One secret is one of several variables: the one that programs get it as.
    let is_of = |there: &SecretName, name: &SecretName| {
        let is_alone = variables.get(&spelling(name)).is_none_or(|alike| alike.len() == 1);
        there.is_spelling_of(name) && (is_alone || there.variable() == name.variable())
    };
    let mut targets = HashMap::new();
    for entry in chosen {
        let alike = known.entry(spelling(&entry.name)).or_default();
        let target = match exact.contains(&entry.name) {
            true => entry.name.clone(),
            // Of names that differ only in case, such as http_proxy and HTTP_PROXY, each is a setting of its own.
            false => {
                let there = alike.iter().find(|there| is_of(there, &entry.name)).cloned();
                there.unwrap_or_else(|| {
                    alike.push(entry.name.clone());
                    entry.name.clone()
                })
            }
        };
        if target != entry.name {
            report.matched.insert(entry.name.to_string(), target.to_string());
        }
        targets.insert(entry.name.clone(), target);
    }
    Ok(targets)
}

/// A secret whose time is over: its value is not served, and its version still is the one to replace.
async fn expired(opened: &Opened, target: &SecretName) -> Result<State, Failure> {
    let known = opened.source.describe(target).await?;
    let version = known.version(&Stage::Current).map(|current| current.version.clone());
    Ok(version.map_or(State::Missing, State::Differs))
}

/// Compares with the values in the source.
async fn compare(
    args: &Args,
    opened: &Opened,
    wanted: Vec<Move>,
    report: &mut Report,
) -> Result<Vec<Move>, Failure> {
    let names: Vec<SecretName> = wanted.iter().map(|entry| entry.target.clone()).collect();
    let there = opened.source.get_many(&names).await?;
    let mut moves: Vec<Move> = Vec::with_capacity(wanted.len());
    let mut first: HashMap<SecretName, usize> = HashMap::new();
    for (mut entry, there) in wanted.into_iter().zip(there) {
        let name = entry.name.to_string();
        if let Some(&other) = first.get(&entry.target) {
            // Two spellings of one secret in the file: the second moves nothing, and must not disagree.
            match moves[other].value.same_as(&entry.value) {
                true => moves.push(entry),
                false => report.keep_apart(
                    name,
                    format!(
                        "is another spelling of {} with another value: rename one of them",
                        moves[other].name
                    ),
                ),
            }
            continue;
        }
        entry.state = match there {
            Ok(secret) if secret.holds(&entry.value) => State::Same,
            Ok(secret) if is_json_object(&secret.value) && !is_json_object(&entry.value) => {
                // Other programs read its fields.
                let reason = "is a JSON secret in the source, and the value in the file is not: import does not replace it, \
                              also not with --overwrite; use `rotate --whole`";
                report.keep_apart(name, reason.into());
                continue;
            }
            Ok(_) if !args.overwrite => {
                report.conflicts.push(name);
                continue;
            }
            Ok(secret) => State::Differs(secret.version),
            Err(SourceError::Expired { .. }) if args.overwrite => expired(opened, &entry.target).await?,
            Err(SourceError::NotFound { .. } | SourceError::NoSuchStage { .. }) => State::Missing,
            Err(error) => {
                report.refuse(&entry.name, &error);
                continue;
            }
        };
        match entry.state {
            State::Missing => report.created.push(name),
            State::Differs(_) => report.updated.push(name),
            State::Same => report.unchanged.push(name),
        }
        first.insert(entry.target.clone(), moves.len());
        moves.push(entry);
    }
    report.strip_is_blocked_by_repetition = args.strip && report.hides_another;
    Ok(moves)
}
