//! A new server's folder: its record, its key, its configuration, how it begins.
//!
//! Must never touch a folder that has a server. What is made is complete before the server first
//! runs, so that a crash in between leaves nothing that could be taken for a server.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use grapevine_model::{Door, OriginId, ServerInfo, ServerName};
use grapevine_rpc::tls::Identity;

use crate::config::Config;
use crate::folder::{
    Beginning, CONFIG_FILE, DataFolder, ServerRecord, create_private, write_private,
};
use crate::out::Failure;
use crate::running::server_info;

/// Where a new server's doors are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// How the machine is called by others; none for its own idea of that.
    pub(crate) hostname: Option<String>,
    /// The address that the doors bind to.
    pub(crate) bind: String,
    /// Each door's port; the standard ones where this is empty.
    pub(crate) ports: Vec<(Door, u16)>,
    /// The front certificate and its key, in the data folder, where they are not made at the start.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// Ports for who may not open the standard ones: those plus 2,000, as is the custom.
const UNPRIVILEGED_PORTS: [(Door, u16); 12] = [
    (Door::Rpc, 7101),
    (Door::Http, 7102),
    (Door::Smtp, 2025),
    (Door::Submission, 2587),
    (Door::Submissions, 2465),
    (Door::Pop3, 2110),
    (Door::Pop3s, 2995),
    (Door::Imap, 2143),
    (Door::Imaps, 2993),
    (Door::Ldap, 2389),
    (Door::Ldaps, 2636),
    // Its own port is open to everybody.
    (Door::Sieve, 4190),
];

impl Places {
    /// Doors for everybody: on the standard ports where this user may open them.
    pub(crate) fn public(hostname: Option<String>) -> Self {
        let root = nix::unistd::geteuid().is_root();
        Self {
            hostname,
            bind: "0.0.0.0".to_owned(),
            ports: if root {
                Vec::new()
            } else {
                UNPRIVILEGED_PORTS.to_vec()
            },
            certificate: None,
        }
    }

    /// Doors that follow one another from a port on.
    pub(crate) fn from_base(hostname: Option<String>, bind: String, base_port: u16) -> Self {
        let ports = (base_port..).take(Door::ALL.len());
        Self {
            hostname,
            bind,
            ports: Door::ALL.into_iter().zip(ports).collect(),
            certificate: None,
        }
    }

    /// The configuration's text.
    fn text(&self) -> String {
        let mut text = String::from(
            "# A Grapevine server. Every key is optional; `grapevine serve --check` reads the file and stops.\n\
             # SIGHUP has log, limits.reserve_mib and the certificate read again.\n\n",
        );
        // Writing to a string does not fail.
        match &self.hostname {
            Some(hostname) => {
                let _ = writeln!(text, "hostname = {}", quoted(hostname));
            }
            None => text.push_str("# hostname = \"mail.example.org\"   # how others reach this machine; its own name by default\n"),
        }
        text.push_str("# alone = \"accept\"                # or \"refuse\": what to do with mail when no second disk can be reached\n");
        if !self.ports.is_empty() {
            text.push_str("\n[listen]   # \"off\" closes a door\n");
        }
        for (door, port) in &self.ports {
            // What is said there can be read on the way.
            let host = if *door == Door::Http {
                "127.0.0.1"
            } else {
                &self.bind
            };
            let at = quoted(&format!("{host}:{port}"));
            let _ = writeln!(text, "{} = {at}", door.as_str());
        }
        if let Some((chain, key)) = &self.certificate {
            let path = |path: &Path| quoted(&path.display().to_string());
            let _ = writeln!(
                text,
                "\n[tls]   # for mail programs; servers know each other by keys of their own\ncertificate = {}\nkey = {}",
                path(chain),
                path(key)
            );
        }
        text
    }
}

/// A server that is being made.
pub(crate) struct NewServer {
    folder: DataFolder,
    record: ServerRecord,
    identity: Identity,
    /// Its configuration.
    pub(crate) config: Config,
}

impl NewServer {
    /// Makes the folder with a configuration and a key; the server does not exist before `begin`.
    ///
    /// # Errors
    /// There is a server in it; it can't be written.
    pub(crate) fn prepare(name: ServerName, dir: &Path, places: &Places) -> Result<Self, Failure> {
        let folder = DataFolder::at(dir);
        folder.check_free().map_err(Failure::new)?;
        let at = |error: std::io::Error| Failure::new(format_args!("{}: {error}", dir.display()));
        create_private(dir).map_err(at)?;
        let file = dir.join(CONFIG_FILE);
        // Whoever wrote one beforehand meant it.
        if !file.exists() {
            write_private(&file, places.text().as_bytes()).map_err(at)?;
        }
        let config = Config::load(&file).map_err(Failure::new)?;
        let identity = Identity::open(dir).map_err(Failure::new)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Failure::new)?;
        let origin = OriginId::server(u64::from_be_bytes(random));
        Ok(Self {
            folder,
            record: ServerRecord { name, origin },
            identity,
            config,
        })
    }

    /// How it will be recorded.
    pub(crate) fn info(&self) -> ServerInfo {
        server_info(&self.config, self.record.clone(), &self.identity)
    }

    /// Makes it a server that begins so.
    ///
    /// # Errors
    /// The folder can't be written.
    pub(crate) fn begin(&self, beginning: &Beginning) -> Result<(), Failure> {
        // The record comes last: with it, the folder has a server.
        self.folder
            .set_beginning(beginning)
            .and_then(|()| self.folder.create(&self.record))
            .map_err(Failure::new)
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_written_configuration_is_read_as_it_was_meant() {
        let temp = tempfile::tempdir().unwrap();
        let mut places = Places::from_base(Some("localhost".into()), "127.0.0.1".into(), 7101);
        places.certificate = Some(("front.pem".into(), "a \"b\".key".into()));
        let name: ServerName = "s1".parse().unwrap();
        let server = NewServer::prepare(name.clone(), temp.path(), &places).unwrap();
        assert_eq!(server.config.hostname, "localhost");
        assert_eq!(server.config.listen[&Door::Pop3s], "127.0.0.1:7107");
        let tls = server.config.tls.clone().unwrap();
        assert_eq!(tls.key, temp.path().join("a \"b\".key"));
        assert_eq!(server.info().doors[&Door::Rpc], "127.0.0.1:7101");
        server
            .begin(&Beginning::Found { owners: Vec::new() })
            .unwrap();
        assert!(NewServer::prepare(name, temp.path(), &places).is_err());
    }
}
