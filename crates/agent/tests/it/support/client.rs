//! HTTP/1.1 by hand, over a Unix socket or TCP.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address of an agent, and the headers of each request.
#[derive(Clone)]
pub(crate) struct Client {
    target: Target,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Clone)]
enum Target {
    Unix(PathBuf),
    Tcp(String),
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A connection that is kept open.
pub(crate) struct Kept {
    wire: BufReader<Box<dyn Wire>>,
    headers: Vec<(String, String)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn unix(path: &Path) -> Self {
        Self { target: Target::Unix(path.to_owned()), headers: usual("localhost") }
    }

    pub(crate) fn tcp(address: &str, token: Option<&str>) -> Self {
        let mut headers = usual(address);
        headers.extend(token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}"))));
        Self { target: Target::Tcp(address.to_owned()), headers }
    }

    /// The same, with another value for a header, or without it.
    pub(crate) fn header(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    pub(crate) fn connect(&self) -> Kept {
        let wire: Box<dyn Wire> = match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
        };
        Kept { wire: BufReader::new(wire), headers: self.headers.clone() }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.connect().post(path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.connect().request("GET", path, "")
    }
}

impl Kept {
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &body.to_string())
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.send(&self.head(method, path, body.len()));
        self.send(body);
        self.answer().expect("an answer")
    }

    /// The head of a request with a body of this length.
    pub(crate) fn head(&self, method: &str, path: &str, length: usize) -> String {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n")
    }

    pub(crate) fn send(&mut self, text: &str) {
        // An agent that has already answered may have closed its side.
        let _ = self.wire.get_mut().write_all(text.as_bytes());
    }

    /// The next answer; `None` where the connection ends without one.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        if self.wire.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.wire.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
        self.wire.read_exact(&mut body).ok()?;
        Some(Answer { status, headers, text: String::from_utf8(body).unwrap() })
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The document of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The class of an error with this status.
    #[track_caller]
    pub(crate) fn class(&self, status: u16) -> String {
        let document = self.expect(status);
        assert!(document["error"]["message"].is_string(), "{document}");
        document["error"]["class"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

fn usual(host: &str) -> Vec<(String, String)> {
    [("Host", host), ("X-Tokenseal", "1"), ("Content-Type", "application/json")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}
