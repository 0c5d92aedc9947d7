//! What to type into a mail program, and files that some programs read it from.
//!
//! Must never have a password in it.

use std::net::IpAddr;
use std::path::Path;

use grapevine_model::Name;
use serde::Deserialize;
use serde_json::{Value, json};

/// Where a running agent writes down its doors.
pub(super) const DOORS_FILE: &str = "doors.json";

/// The doors of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Sending.
    pub(crate) smtp: u16,
    /// Reading, with folders.
    pub(crate) imap: u16,
    /// Reading, one folder.
    pub(crate) pop3: u16,
}

impl Ports {
    /// What is usual, without root: the protocols' own plus 2,000 (2,500 for mail that is sent).
    pub(crate) const USUAL: Self = Self {
        smtp: 2525,
        imap: 2143,
        pop3: 2110,
    };

    /// Three in a row; 0 for any that are free.
    pub(crate) fn from_base(base: u16) -> Self {
        match base {
            0 => Self {
                smtp: 0,
                imap: 0,
                pop3: 0,
            },
            base => Self {
                smtp: base,
                imap: base.saturating_add(1),
                pop3: base.saturating_add(2),
            },
        }
    }

    /// Those of the agent that ran last with this folder.
    pub(crate) fn of_running(state: &Path) -> Option<(IpAddr, Self)> {
        #[derive(Deserialize)]
        struct Doors {
            smtp: std::net::SocketAddr,
            imap: std::net::SocketAddr,
            pop3: std::net::SocketAddr,
        }
        let doors: Doors =
            serde_json::from_slice(&std::fs::read(state.join(DOORS_FILE)).ok()?).ok()?;
        let ports = Self {
            smtp: doors.smtp.port(),
            imap: doors.imap.port(),
            pop3: doors.pop3.port(),
        };
        Some((doors.imap.ip(), ports))
    }
}

/// The settings, for programs.
pub(crate) fn told(name: &Name, listen: IpAddr, ports: Ports) -> Value {
    let door = |port: u16| json!({"host": listen, "port": port, "security": "none (this machine only)", "authentication": "normal password", "user": name});
    json!({
        "imap": door(ports.imap),
        "pop3": door(ports.pop3),
        "smtp": door(ports.smtp),
    })
}

/// Mozilla's format of such settings (config-v1.1.xml), which Thunderbird and others read.
pub(crate) fn autoconfig(name: &Name, listen: IpAddr, ports: Ports) -> String {
    let registry = escaped(name.registry().as_str());
    let user = escaped(&name.to_string());
    let host = listen.to_string();
    let servers = [
        (MailDoor::LocalImap, ports.imap),
        (MailDoor::LocalPop3, ports.pop3),
        (MailDoor::LocalSmtp, ports.smtp),
    ];
    let servers: String = servers
        .iter()
        .map(|(kind, port)| kind.xml(&host, &port.to_string()))
        .collect();
    // The programs put the name itself there.
    let servers = servers.replace("%EMAILADDRESS%", &user);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{registry}\">\n    <domain>{registry}</domain>\n    <displayName>Grapevine, by the agent of this machine</displayName>\n    <displayShortName>Grapevine</displayShortName>\n{servers}  </emailProvider>\n</clientConfig>\n"
    )
}

/// A door as Mozilla's format says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailDoor {
    /// Of a server, with TLS from the first byte.
    Imaps,
    /// See [`Self::Imaps`].
    Pop3s,
    /// See [`Self::Imaps`].
    Submissions,
    /// Of the agent, on the same machine.
    LocalImap,
    /// See [`Self::LocalImap`].
    LocalPop3,
    /// See [`Self::LocalImap`].
    LocalSmtp,
}

impl MailDoor {
    /// Its element.
    pub(crate) fn xml(self, host: &str, port: &str) -> String {
        let (element, kind, socket) = match self {
            Self::Imaps => ("incomingServer", "imap", "SSL"),
            Self::Pop3s => ("incomingServer", "pop3", "SSL"),
            Self::Submissions => ("outgoingServer", "smtp", "SSL"),
            Self::LocalImap => ("incomingServer", "imap", "plain"),
            Self::LocalPop3 => ("incomingServer", "pop3", "plain"),
            Self::LocalSmtp => ("outgoingServer", "smtp", "plain"),
        };
        let (host, port) = (escaped(host), escaped(port));
        format!(
            "    <{element} type=\"{kind}\">\n      <hostname>{host}</hostname>\n      <port>{port}</port>\n      <socketType>{socket}</socketType>\n      <authentication>password-cleartext</authentication>\n      <username>%EMAILADDRESS%</username>\n    </{element}>\n"
        )
    }
}

/// As XML's text.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_can_not_break_out_of_the_file() {
        assert_eq!(escaped("a<b>&\"c'"), "a&lt;b&gt;&amp;&quot;c&apos;");
        let name: Name = "birrell@pa.example".parse().unwrap();
        let text = autoconfig(&name, [127, 0, 0, 1].into(), Ports::USUAL);
        assert!(text.contains("<username>birrell@pa.example</username>"));
        assert!(text.contains("<port>2143</port>") && text.contains("<port>2525</port>"));
        assert_eq!(text.matches("<hostname>127.0.0.1</hostname>").count(), 3);
    }

    #[test]
    fn ports_in_a_row_or_any() {
        assert_eq!(Ports::from_base(0).imap, 0);
        let ports = Ports::from_base(3000);
        assert_eq!((ports.smtp, ports.imap, ports.pop3), (3000, 3001, 3002));
    }
}
