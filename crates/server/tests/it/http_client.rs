//! As little of an HTTP client as the tests need: one request a connection, HTTP/1.1, by hand, so that
//! what is sent is exactly what stands here; and curl, which nobody here wrote.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::grapevine::Grapevine;
use crate::network::connect;

const LIMIT: Duration = Duration::from_secs(30);

/// A client of one server's http door.
pub(crate) struct Client {
    pub(crate) at: String,
    namespace: Option<String>,
    authorization: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Client {
    /// Nobody in particular, at a server.
    pub(crate) fn stranger(grapevine: &Grapevine, server: usize) -> Self {
        Self::at(grapevine.doors(server)["http"].clone(), None)
    }

    /// The same at an address, of a network namespace if one is given.
    pub(crate) fn at(at: String, namespace: Option<String>) -> Self {
        Self {
            at,
            namespace,
            authorization: None,
        }
    }

    /// One of those that `up` makes.
    pub(crate) fn of(grapevine: &Grapevine, server: usize, simple: &str) -> Self {
        let name = format!("{simple}@pa.example");
        Self::stranger(grapevine, server).with(&name, &grapevine.password(simple))
    }

    pub(crate) fn with(self, name: &str, password: &str) -> Self {
        let coded = STANDARD.encode(format!("{name}:{password}"));
        Self {
            authorization: Some(format!("Basic {coded}")),
            ..self
        }
    }

    pub(crate) fn with_ticket(self, ticket: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {ticket}")),
            ..self
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        connect(self.namespace.as_deref(), &self.at)
    }

    /// None where nobody listens.
    pub(crate) fn try_get(&self, path: &str) -> Option<Answer> {
        self.connect().is_ok().then(|| self.get(path))
    }

    /// Sends a request and hands over what comes, from the header's first byte.
    pub(crate) fn open(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> BufReader<TcpStream> {
        let mut stream = self.connect().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = format!("{verb} {path} HTTP/1.1\r\nHost: {}\r\n", self.at);
        if let Some(authorization) = &self.authorization {
            text += &format!("Authorization: {authorization}\r\n");
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            text += &format!("Content-Length: {}\r\n", body.len());
            if !headers.iter().any(|(name, _)| *name == "Content-Type") {
                text += "Content-Type: application/json\r\n";
            }
        }
        text += "Connection: close\r\n\r\n";
        text += body.unwrap_or("");
        // A server may refuse before it has read all.
        let _ = stream.write_all(text.as_bytes());
        BufReader::new(stream)
    }

    pub(crate) fn ask(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut stream = self.open(verb, path, headers, body);
        let (status, headers) = read_head(&mut stream);
        let mut body = Vec::new();
        match headers
            .get("content-length")
            .map(|len| len.parse().unwrap())
        {
            Some(len) => {
                body.resize(len, 0);
                stream.read_exact(&mut body).unwrap();
            }
            None => {
                stream.read_to_end(&mut body).unwrap();
            }
        }
        Answer {
            status,
            headers,
            body,
        }
    }

    /// How an answer begins, that may have no end.
    pub(crate) fn status(&self, verb: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        read_head(&mut self.open(verb, path, headers, None)).0
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None)
    }

    pub(crate) fn put(&self, path: &str, body: Option<&str>) -> Answer {
        self.ask("PUT", path, &[], body)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[], Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], None)
    }

    /// Opens a watch.
    pub(crate) fn watch(&self, path: &str, last: Option<&str>) -> Events {
        let last: Vec<_> = last.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        let mut stream = self.open("GET", path, &last, None);
        let (status, headers) = read_head(&mut stream);
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["transfer-encoding"], "chunked");
        Events { stream }
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> (u16, BTreeMap<String, String>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no status: {line:?}"))
        .parse()
        .unwrap();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return (status, headers);
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
}

/// Server-sent events.
pub(crate) struct Events {
    stream: BufReader<TcpStream>,
}

/// One of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Events {
    /// The next event; none when the server is gone.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => data.clone_into(&mut event.data),
                Some(_) => {}
                // The lengths of chunks stand between the events.
                None if line.is_empty() && event != Event::default() => return Some(event),
                None => {}
            }
        }
    }

    /// Events up to the next token, and the token.
    pub(crate) fn batch(&mut self) -> Option<(Vec<Value>, String)> {
        let mut events = Vec::new();
        loop {
            let event = self.next()?;
            match event.kind.as_str() {
                "token" => return Some((events, event.id)),
                "" => events.push(serde_json::from_str(&event.data).unwrap()),
                other => events.push(serde_json::json!({ other: event.data })),
            }
        }
    }
}

/// curl, if it is here.
pub(crate) fn curl(args: &[&str]) -> Option<Output> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30"])
        .args(args)
        .output();
    output.ok()
}
