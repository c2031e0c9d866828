//! Who makes a request: the peer of a socket, the holder of a token, or both.

use std::fmt;
use std::sync::Arc;

/// The other end of a connection, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this machine (unix(7), `SO_PEERCRED`): its credentials when it connected.
    Unix {
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
        /// The process, where the kernel says it.
        pid: Option<i32>,
    },
    /// A loopback address, which identifies no one.
    Tcp,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    /// The name of the token that was presented.
    pub(crate) token: Option<Arc<str>>,
}

impl Caller {
    pub(crate) fn uid(&self) -> Option<u32> {
        match self.peer {
            Peer::Unix { uid, .. } => Some(uid),
            Peer::Tcp => None,
        }
    }

    pub(crate) fn gid(&self) -> Option<u32> {
        match self.peer {
            Peer::Unix { gid, .. } => Some(gid),
            Peer::Tcp => None,
        }
    }
}

/// As audit events name it: `uid=1000 gid=1000 pid=4242 token=billing`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer.fmt(f)?;
        match &self.token {
            Some(name) => write!(f, " token={name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, gid, pid: Some(pid) } => write!(f, "uid={uid} gid={gid} pid={pid}"),
            Self::Unix { uid, gid, pid: None } => write!(f, "uid={uid} gid={gid}"),
            Self::Tcp => f.write_str("tcp"),
        }
    }
}
