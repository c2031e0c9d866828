//! The variables of the agent, `tokenseal-agent`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::reader::Reader;

/// Where the agent listens if nothing else is configured.
pub const DEFAULT_AGENT_SOCKET: &str = "/run/tokenseal/agent.sock";

/// How the agent is reached, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentSettings {
    /// `AGENT_LISTEN`.
    pub listen: AgentAddress,
    /// `AGENT_POLICY`: a TOML file that says which caller may do what.
    pub policy: Option<PathBuf>,
    /// `AGENT_TOKEN_FILE`: a file of lines `name:token`. Needed over TCP.
    pub token_file: Option<PathBuf>,
    /// `AGENT_SOCKET_GROUP`: the group that may connect to the socket, besides its owner.
    pub socket_group: Option<String>,
}

/// An address that the agent can listen on: of this machine alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentAddress {
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
    /// A loopback address and a port.
    Tcp(SocketAddr),
}

/// Why a text is no address of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentAddressError {
    /// It is neither a socket nor an address.
    #[error("must be unix:/absolute/path or 127.0.0.1:PORT")]
    Form,
    /// Other machines could reach it.
    #[error("must be a loopback address: the agent is for this machine alone")]
    NotLoopback,
}

impl FromStr for AgentAddress {
    type Err = AgentAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() && path.file_name().is_some() {
                Ok(Self::Unix(path))
            } else {
                Err(AgentAddressError::Form)
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| AgentAddressError::Form)?;
        if address.ip().is_loopback() { Ok(Self::Tcp(address)) } else { Err(AgentAddressError::NotLoopback) }
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> AgentSettings {
    let usual = || AgentAddress::Unix(DEFAULT_AGENT_SOCKET.into());
    let path = |name| reader.text(name).map(|text| PathBuf::from(text.trim()));
    let (policy, token_file) = (path("AGENT_POLICY"), path("AGENT_TOKEN_FILE"));
    let socket_group = reader.text("AGENT_SOCKET_GROUP").map(|group| group.trim().to_owned());
    AgentSettings {
        listen: reader.parsed("AGENT_LISTEN").unwrap_or_else(usual),
        policy,
        token_file,
        socket_group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_listens_on_this_machine_alone() {
        for (text, expected) in [
            ("unix:/run/a.sock", Ok(AgentAddress::Unix("/run/a.sock".into()))),
            ("unix:a.sock", Err(AgentAddressError::Form)),
            ("unix:/", Err(AgentAddressError::Form)),
            ("/run/a.sock", Err(AgentAddressError::Form)),
            ("localhost:80", Err(AgentAddressError::Form)),
            ("127.0.0.1", Err(AgentAddressError::Form)),
            ("0.0.0.0:80", Err(AgentAddressError::NotLoopback)),
            ("[::]:80", Err(AgentAddressError::NotLoopback)),
            ("10.0.0.1:80", Err(AgentAddressError::NotLoopback)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["127.0.0.1:80", "127.0.0.2:0", "[::1]:80"] {
            assert!(matches!(text.parse(), Ok(AgentAddress::Tcp(_))), "{text}");
        }
    }
}
