//! Open files: each connection is one, and the database, the key service and the logs need some too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything but connections.
const OWN: usize = 256;

/// Raises the limit of open files of this process as far as this number of connections needs it and the
/// system allows it.
pub(crate) fn raise_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = u64::try_from(connections + OWN).unwrap_or(u64::MAX);
    let wanted = maximum.map_or(needed, |maximum| maximum.min(needed));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
}

/// The number of connections that are possible of the requested one, so that the agent itself never lacks
/// files.
pub(crate) fn connections(most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    let fit = limit.map_or(most, |limit| fit(limit, most));
    if fit < most {
        tracing::warn!(connections = fit, "the limit of open files (RLIMIT_NOFILE) allows fewer connections");
    }
    fit
}

fn fit(limit: usize, most: usize) -> usize {
    limit.saturating_sub(OWN).max(limit / 2).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_keeps_files_for_itself_whatever_the_limit() {
        for (limit, expected) in [(20_000, 1024), (1280, 1024), (1024, 768), (300, 150), (10, 5), (0, 1)] {
            assert_eq!(fit(limit, 1024), expected, "{limit}");
        }
    }
}
