//! Where the agent listens: a socket of systemd's, a Unix socket that it makes itself, or a loopback port.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::unistd::Group;
use tokenseal::settings::{AgentAddress, AgentSettings, SettingsError};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::caller::Peer;

/// The mode of a socket for its owner alone, and of one that a group shares.
const OWN: u32 = 0o600;
const SHARED: u32 = 0o660;

/// A socket that listens. The file of one that was made here is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    _made: Option<MadeSocket>,
}

#[derive(Debug)]
enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection of either kind.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(tokio::net::TcpStream),
}

/// The identity of a socket's file when it was made: another file that took its place is left alone.
#[derive(Debug)]
struct MadeSocket {
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    /// Takes the socket that systemd passes (`LISTEN_FDS`), else makes the one that the settings name.
    ///
    /// # Errors
    /// [`SettingsError`] naming the variable, where nothing can listen.
    pub async fn open(settings: &AgentSettings) -> Result<Self, SettingsError> {
        if let Some(passed) = Self::passed()? {
            return Ok(passed);
        }
        match &settings.listen {
            AgentAddress::Unix(path) => Self::unix(path, settings.socket_group.as_deref()).await,
            AgentAddress::Tcp(address) => Self::tcp(*address).await,
            other => Err(wrong(format_args!("is {other}, which this build cannot listen on"))),
        }
    }

    /// Listens on a Unix socket, which appears at its path with its mode and group in place.
    ///
    /// # Errors
    /// [`SettingsError`] where another agent listens there, where the path is another kind of file, or where
    /// the directory does not allow a socket.
    pub async fn unix(path: &Path, group: Option<&str>) -> Result<Self, SettingsError> {
        let group = group.map(group_id).transpose()?;
        check_free(path).await?;
        make(path, group).map_err(|error| {
            SettingsError::of(
                "AGENT_LISTEN",
                format_args!("cannot be listened on ({})", error.kind()),
                "the directory of the socket must exist and be writable by the agent (RuntimeDirectory=tokenseal), the \
                 whole path must be shorter than 100 bytes, and the agent must be in AGENT_SOCKET_GROUP",
            )
        })
    }

    /// Checks what can be checked without listening.
    ///
    /// # Errors
    /// [`SettingsError`] where `AGENT_SOCKET_GROUP` names no group of this machine.
    pub fn check(settings: &AgentSettings) -> Result<(), SettingsError> {
        match &settings.listen {
            AgentAddress::Unix(_) => settings.socket_group.as_deref().map(group_id).transpose().map(|_| ()),
            _ => Ok(()),
        }
    }

    async fn tcp(address: SocketAddr) -> Result<Self, SettingsError> {
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.map_err(|error| wrong(format_args!("cannot be listened on ({})", error.kind())))?;
        Ok(Self { kind: Kind::Tcp(listener), _made: None })
    }

    /// The first socket that systemd passes. More than one is a mistake: the agent could not distinguish
    /// their callers.
    fn passed() -> Result<Option<Self>, SettingsError> {
        let mut passed = ListenFd::from_env();
        let refused =
            |problem| SettingsError::of("LISTEN_FDS", problem, "pass one stream socket: see infra/systemd");
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            _ => return Err(refused("passes several sockets")),
        }
        let kind = if let Ok(Some(unix)) = passed.take_unix_listener(0) {
            unix.set_nonblocking(true).and_then(|()| UnixListener::from_std(unix)).map(Kind::Unix)
        } else if let Ok(Some(tcp)) = passed.take_tcp_listener(0) {
            if !tcp.local_addr().is_ok_and(|address| address.ip().is_loopback()) {
                return Err(refused("passes a socket that other machines can reach"));
            }
            tcp.set_nonblocking(true).and_then(|()| TcpListener::from_std(tcp)).map(Kind::Tcp)
        } else {
            return Err(refused("passes something other than a stream socket"));
        };
        let kind = kind.map_err(|_| refused("passes a socket that cannot be used"))?;
        Ok(Some(Self { kind, _made: None }))
    }

    /// Whether callers connect over TCP, which does not say who they are.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp(_))
    }

    /// The loopback address, where it is one.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// The next connection, and who is at its other end.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.kind {
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let found = stream.peer_cred()?;
                let peer = Peer::Unix { uid: found.uid(), gid: found.gid(), pid: found.pid() };
                Ok((Stream::Unix(stream), peer))
            }
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer is one short write, which must not wait for others.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Tcp))
            }
        }
    }
}

impl Drop for MadeSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// In a directory that no one else can enter, so that the socket never exists with wider permissions than its
/// own.
fn make(path: &Path, group: Option<u32>) -> io::Result<Listener> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("/"));
    let private = tempfile::Builder::new()
        .prefix(".a")
        .rand_bytes(6)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(directory)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(if group.is_some() { SHARED } else { OWN }))?;
    if group.is_some() {
        chown(&made, None, group)?;
    }
    let found = fs::symlink_metadata(&made)?;
    fs::rename(&made, path)?;
    let made = MadeSocket { path: path.to_owned(), identity: (found.dev(), found.ino()) };
    Ok(Listener { kind: Kind::Unix(listener), _made: Some(made) })
}

/// The socket of an agent that was killed is replaced; one on which something listens is not, and no other file is.
async fn check_free(path: &Path) -> Result<(), SettingsError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(wrong("names a file that is not a socket")),
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            Err(wrong("is in use: another process listens on it"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn group_id(name: &str) -> Result<u32, SettingsError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid.as_raw()).ok_or_else(|| {
        SettingsError::of("AGENT_SOCKET_GROUP", "names no group of this machine", "use its name or number")
    })
}

fn wrong(problem: impl std::fmt::Display) -> SettingsError {
    SettingsError::of("AGENT_LISTEN", problem, "docs/agent.md says where the agent listens")
}
