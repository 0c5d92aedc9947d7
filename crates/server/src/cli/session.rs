//! Who speaks and to which servers, from what was given and what is lying about.
//!
//! In this order: `--operator`; `--server` or GRAPEVINE_SERVERS; `--dir`; the saved
//! login; `./grapevine-data/cluster.json`; a data folder that this is run in; the
//! servers used last. A password comes from a file, from the saved login, from the
//! file that cluster.json names, or from the terminal; never from the command line.

use std::path::{Path, PathBuf};

use grapevine_model::{ErrorKind, Name, Refusal, Reply, Request, Secret, Written};
use grapevine_user::{
    Answered, ConnectError, Fingerprint, FirstContact, GrapevineUser, Login, Notice, Pin, Seed,
    Seeds, ServerKey, write_private,
};
use serde::{Deserialize, Serialize};

use super::Globals;
use super::cluster_file::{CLUSTER_FILE, ClusterFile, DEFAULT_FOLDER};
use super::output::span;
use super::tokens::{After, TokenFile};
use crate::ask;
use crate::clock::wall_ms;
use crate::out::{Failure, complain};

/// The admin socket in a data folder.
const ADMIN_SOCKET: &str = "admin.sock";
/// The servers known, and the login saved, in the person's configuration folder.
const SERVERS_FILE: &str = "servers.json";
const LOGIN_FILE: &str = "login.json";
const TOKENS_FILE: &str = "seen.json";
const IMPORTS_FOLDER: &str = "imports";

/// Where things are remembered between commands.
#[derive(Debug, Clone)]
pub(super) struct ConfigFolder(Option<PathBuf>);

/// A login as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedLogin {
    /// Who.
    pub(crate) name: Name,
    /// A ticket: the file is its owner's alone.
    pub(crate) ticket: Secret,
    /// When it was written, milliseconds since 1970.
    pub(super) saved_ms: u64,
    /// Until when the ticket serves, milliseconds since 1970.
    pub(super) expires_ms: u64,
    /// Where to begin.
    pub(super) servers: Vec<String>,
}

impl SavedLogin {
    /// Writes it, for its owner's eyes only.
    pub(super) fn write(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).map_err(Failure::new)?;
        write_private(file, &text)
            .map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))
    }

    /// Whether it is time to renew it: more than half of its life is over.
    fn is_old(&self, now_ms: u64) -> bool {
        let life_ms = self.expires_ms.saturating_sub(self.saved_ms);
        now_ms.saturating_sub(self.saved_ms) > life_ms / 2
    }
}

impl ConfigFolder {
    /// `$GRAPEVINE_CONFIG`, or `grapevine` in the person's configuration folder.
    pub(super) fn of_person() -> Self {
        let from = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self(
            from("GRAPEVINE_CONFIG")
                .or_else(|| from("XDG_CONFIG_HOME").map(|home| home.join("grapevine")))
                .or_else(|| from("HOME").map(|home| home.join(".config/grapevine"))),
        )
    }

    #[cfg(test)]
    pub(super) fn at(path: &Path) -> Self {
        Self(Some(path.to_owned()))
    }

    /// The file of the servers known.
    pub(super) fn servers_file(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join(SERVERS_FILE))
    }

    /// The file of the saved login.
    pub(super) fn login_file(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join(LOGIN_FILE))
    }

    /// A file or folder in it.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join(name))
    }

    /// A file of what an import has done.
    pub(super) fn import_file(&self, name: &str) -> Option<PathBuf> {
        (self.0.as_ref()).map(|folder| folder.join(IMPORTS_FOLDER).join(name))
    }

    /// The file of what was seen done.
    fn tokens_file(&self) -> TokenFile {
        TokenFile::at(self.0.as_ref().map(|folder| folder.join(TOKENS_FILE)))
    }

    fn saved_login(&self) -> Option<SavedLogin> {
        let bytes = std::fs::read(self.login_file()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Whom a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Anybody may ask.
    Anybody,
    /// Somebody must speak.
    Somebody,
}

/// Where the servers are to be found.
#[derive(Debug)]
enum Source {
    /// One server's admin socket.
    Operator(PathBuf),
    /// Addresses, and how much is known of their keys.
    Seeds(Seeds),
}

/// What was found out before anything is asked.
#[derive(Debug)]
struct Plan {
    source: Source,
    login: Option<Login>,
    /// Somebody was named, and no password was found.
    password_wanted: Option<Name>,
}

/// GrapevineUser, ready to be asked.
pub(super) struct Session {
    /// The package.
    pub(super) user: GrapevineUser,
    /// Whether JSON is wanted.
    pub(super) json: bool,
    /// Where what was seen done is kept; nowhere for an operator, who speaks to one server.
    tokens: Option<TokenFile>,
}

impl Session {
    /// Finds the servers and who speaks.
    pub(super) async fn open(globals: &Globals, need: Need) -> Result<Self, Failure> {
        let folder = ConfigFolder::of_person();
        let mut plan = plan(globals, &folder, Path::new("."))?;
        if let Some(name) = plan.password_wanted.take() {
            plan.login = Some(asked_for(name)?);
        }
        let operator = matches!(plan.source, Source::Operator(_));
        if need == Need::Somebody && plan.login.is_none() && !operator {
            return Err(Failure::usage(
                "who speaks? give --as NAME with --password-file FILE, or log in once with `grapevine login NAME`",
            ));
        }
        let user = match plan.source {
            Source::Operator(socket) => GrapevineUser::operator(&socket),
            Source::Seeds(seeds) => GrapevineUser::connect(seeds, plan.login)
                .await
                .map_err(not_connected)?,
        };
        tell(&user);
        let tokens = (!operator).then(|| folder.tokens_file());
        if globals.after.contains(&After::Nothing) {
            user.forget_seen();
        } else if let Some(tokens) = &tokens {
            user.remember_seen(tokens.read());
        }
        for after in &globals.after {
            if let After::Token(seen) = after {
                user.has_seen(std::slice::from_ref(seen));
            }
        }
        renew(&user, &folder).await;
        Ok(Self {
            user,
            json: globals.json,
            tokens,
        })
    }

    /// Finds the servers, speaks for nobody, and talks only to servers whose keys are known already: from cluster.json, or from an earlier command
    /// with the same configuration folder.
    pub(super) async fn open_to_known_servers(globals: &Globals) -> Result<Self, Failure> {
        let folder = ConfigFolder::of_person();
        let plan = plan(globals, &folder, Path::new("."))?;
        let user = match plan.source {
            Source::Operator(socket) => GrapevineUser::operator(&socket),
            Source::Seeds(seeds) => {
                let seeds = Seeds {
                    first_contact: FirstContact::Refuse,
                    ..seeds
                };
                GrapevineUser::connect(seeds, None)
                    .await
                    .map_err(not_connected)?
            }
        };
        Ok(Self {
            user,
            json: globals.json,
            // It only asks, for programs that let people in.
            tokens: None,
        })
    }

    /// The individual that speaks.
    pub(super) fn speaker(&self) -> Result<Name, Failure> {
        self.user.login().map(|login| login.name).ok_or_else(|| {
            Failure::usage("an operator has no mailbox and no name: give --as NAME or name one")
        })
    }

    /// Asks for a change.
    pub(super) async fn change(&self, request: Request) -> Result<Written, Failure> {
        match self.user.call(request).await? {
            Reply::Written(written) => {
                if let Some(tokens) = &self.tokens {
                    tokens.keep(&written.seen);
                }
                Ok(written)
            }
            _ => Err(odd()),
        }
    }

    /// Keeps what was done by calls that did not go through [`Session::change`], for commands that follow.
    pub(super) fn keep_what_was_done(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.keep(&self.user.seen());
        }
    }

    /// Asks a question, and says so when the answer may be old.
    pub(super) async fn ask(&self, request: Request) -> Result<Answered, Failure> {
        let answered = self.user.call_as_of(request).await?;
        if let Some(as_of) = &answered.as_of
            && let Some(since_ms) = as_of.cut_off_since_ms
        {
            complain(format_args!(
                "note: {} has been cut off from the other holders for {}: what they have done since is not in this answer",
                as_of.server,
                span(as_of.at_ms.saturating_sub(since_ms))
            ));
        }
        Ok(answered)
    }
}

/// Renews a saved ticket that is in use and half over. What fails is tried by the next command.
async fn renew(user: &GrapevineUser, folder: &ConfigFolder) {
    let (Some(login), Some(saved), Some(file)) =
        (user.login(), folder.saved_login(), folder.login_file())
    else {
        return;
    };
    if login.password != saved.ticket || !saved.is_old(wall_ms()) {
        return;
    }
    if let Ok(Reply::Ticket { ticket, expires_ms }) =
        user.call(Request::TicketCreate { life_ms: None }).await
    {
        let renewed = SavedLogin {
            ticket,
            expires_ms,
            saved_ms: wall_ms(),
            ..saved
        };
        if let Err(failure) = renewed.write(&file) {
            complain(format_args!(
                "note: the login was not renewed: {}",
                failure.why
            ));
        }
    }
}

/// Renews the person's saved login for whoever speaks with it for long.
pub(crate) async fn renew_saved_login(user: &GrapevineUser) {
    renew(user, &ConfigFolder::of_person()).await;
}

/// The person's saved login.
pub(crate) fn saved_login() -> Option<SavedLogin> {
    ConfigFolder::of_person().saved_login()
}

/// Where the agent begins to look for servers. What it learns of them it remembers in its own folder, where a cluster.json has told it.
pub(super) fn agent_seeds(globals: &Globals, state: &Path) -> Result<Seeds, Failure> {
    let plan = plan(globals, &ConfigFolder::of_person(), Path::new("."))?;
    match plan.source {
        Source::Seeds(seeds) => Ok(Seeds {
            state_file: seeds.state_file.or_else(|| Some(state.join(SERVERS_FILE))),
            ..seeds
        }),
        Source::Operator(_) => Err(Failure::usage(
            "the agent asks all servers, not the one of a data folder: give --server HOST:PORT",
        )),
    }
}

/// A server's answer that is none to what was asked.
pub(super) fn odd() -> Failure {
    Refusal::new(
        ErrorKind::Internal,
        "the server gave an answer to something else",
    )
    .into()
}

/// What the person should know.
pub(crate) fn tell(user: &GrapevineUser) {
    for notice in user.notices() {
        match notice {
            Notice::FirstContact {
                address,
                server,
                fingerprint,
            } => complain(format_args!(
                "note: first contact with server {server} at {address}; its key, remembered from now on, has the fingerprint {fingerprint}"
            )),
            Notice::NotRemembered(why) => {
                complain(format_args!("note: the servers are not remembered: {why}"));
            }
        }
    }
}

/// A connection that did not come about.
pub(crate) fn not_connected(error: ConnectError) -> Failure {
    match error {
        ConnectError::NoServers => Failure::usage(
            "no server is known: start with `grapevine up`, or give --server HOST:PORT",
        ),
        ConnectError::NoAnswer(_) => Failure::unavailable(error),
        ConnectError::NotTrusted(_) => Failure::new(format_args!(
            "{error}; if the server was made anew, log in again with `grapevine login --server HOST:PORT --pin FINGERPRINT`"
        )),
    }
}

/// Seeds from addresses given by hand.
pub(super) fn seeds(servers: &[String], pin: Option<Fingerprint>, folder: &ConfigFolder) -> Seeds {
    Seeds {
        servers: servers
            .iter()
            .map(|address| Seed {
                address: address.clone(),
                pin: pin.map(Pin::Fingerprint),
            })
            .collect(),
        state_file: folder.servers_file(),
        first_contact: FirstContact::Trust,
    }
}

fn asked_for(name: Name) -> Result<Login, Failure> {
    if !ask::can_ask() {
        return Err(Failure::usage(format_args!(
            "no password for {name}: give --password-file FILE"
        )));
    }
    let password =
        rpassword::prompt_password(format!("Password of {name}: ")).map_err(Failure::new)?;
    Ok(Login {
        name,
        password: Secret(password),
    })
}

fn plan(globals: &Globals, folder: &ConfigFolder, here: &Path) -> Result<Plan, Failure> {
    if let Some(data) = &globals.operator {
        return Ok(as_operator(data));
    }
    let password = globals
        .password_file
        .as_deref()
        .map(ask::password_file)
        .transpose()?;
    let saved = folder.saved_login();
    let saved_fits = saved.as_ref().is_some_and(|saved| {
        globals
            .speaker
            .as_ref()
            .is_none_or(|name| *name == saved.name)
    });
    if !globals.servers.is_empty() {
        let source = Source::Seeds(seeds(&globals.servers, None, folder));
        let saved = saved.filter(|_| saved_fits);
        return Ok(speaking(globals, password, saved.map(Into::into), source));
    }
    if let Some(dir) = &globals.dir {
        return from_folder(globals, password, dir)?.ok_or_else(|| {
            Failure::usage(format_args!(
                "{}: neither the folder of `grapevine up` (no {CLUSTER_FILE}) nor that of a running server (no {ADMIN_SOCKET})",
                dir.display()
            ))
        });
    }
    if let Some(saved) = saved.clone().filter(|_| saved_fits) {
        let source = Source::Seeds(seeds(&saved.servers, None, folder));
        return Ok(speaking(globals, password, Some(saved.into()), source));
    }
    for dir in [here.join(DEFAULT_FOLDER), here.to_owned()] {
        if let Some(plan) = from_folder(globals, password.clone(), &dir)? {
            return Ok(plan);
        }
    }
    let servers = saved.map(|saved| saved.servers).unwrap_or_default();
    let source = Source::Seeds(seeds(&servers, None, folder));
    Ok(speaking(globals, password, None, source))
}

/// From a folder with cluster.json, or a server's data folder.
fn from_folder(
    globals: &Globals,
    password: Option<Secret>,
    dir: &Path,
) -> Result<Option<Plan>, Failure> {
    let path = dir.join(CLUSTER_FILE);
    if !path.exists() {
        let socket = dir.join(ADMIN_SOCKET).exists();
        return Ok((socket && globals.speaker.is_none()).then(|| as_operator(dir)));
    }
    let cluster = ClusterFile::read(&path)
        .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
    let listed = cluster
        .individuals
        .iter()
        .find(|individual| Some(&individual.name) == globals.speaker.as_ref());
    let login = match (listed, &password) {
        (Some(individual), None) => Some(Login {
            name: individual.name.clone(),
            password: ask::password_file(&resolved(&individual.password_file, dir))?,
        }),
        _ => None,
    };
    let servers = cluster.servers.iter().flat_map(|server| {
        let address = server.doors.get(&grapevine_model::Door::Rpc).cloned();
        let keys = server.keys().cloned().map(ServerKey::new);
        keys.filter_map(move |key| {
            Some(Seed {
                address: address.clone()?,
                pin: Some(Pin::Key(key)),
            })
        })
    });
    let source = Source::Seeds(Seeds {
        servers: servers.collect(),
        // The file says all that is to be known, and says it anew each time.
        state_file: None,
        first_contact: FirstContact::Refuse,
    });
    Ok(Some(speaking(globals, password, login, source)))
}

/// A path in cluster.json: as it stands, or beside the file if the folder was moved.
fn resolved(path: &Path, dir: &Path) -> PathBuf {
    if path.exists() {
        return path.to_owned();
    }
    match (path.parent().and_then(Path::file_name), path.file_name()) {
        (Some(folder), Some(file)) => dir.join(folder).join(file),
        _ => path.to_owned(),
    }
}

fn as_operator(data: &Path) -> Plan {
    Plan {
        source: Source::Operator(data.join(ADMIN_SOCKET)),
        login: None,
        password_wanted: None,
    }
}

/// Joins who was named with the password that was found: what was given counts before what was
/// saved.
fn speaking(
    globals: &Globals,
    password: Option<Secret>,
    found: Option<Login>,
    source: Source,
) -> Plan {
    let name = globals
        .speaker
        .clone()
        .or_else(|| found.as_ref().map(|login| login.name.clone()));
    let password = password.or_else(|| {
        found
            .filter(|login| Some(&login.name) == name.as_ref())
            .map(|login| login.password)
    });
    match (name, password) {
        (Some(name), Some(password)) => Plan {
            source,
            login: Some(Login { name, password }),
            password_wanted: None,
        },
        (password_wanted, _) => Plan {
            source,
            login: None,
            password_wanted,
        },
    }
}

impl From<SavedLogin> for Login {
    fn from(saved: SavedLogin) -> Self {
        Self {
            name: saved.name,
            password: saved.ticket,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::cluster_file::{ClusterIndividual, ClusterServer};
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn config(&self) -> ConfigFolder {
            ConfigFolder::at(&self.folder.path().join("config"))
        }

        fn plan(&self, globals: &Globals) -> Plan {
            plan(globals, &self.config(), self.folder.path()).unwrap()
        }

        fn with_cluster(&self) {
            let dir = self.folder.path().join(DEFAULT_FOLDER);
            std::fs::create_dir_all(dir.join("passwords")).unwrap();
            std::fs::write(dir.join("passwords/registrar"), "from the cluster\n").unwrap();
            let file = ClusterFile {
                servers: vec![ClusterServer {
                    name: "s1".parse().unwrap(),
                    pid: 1,
                    data: "moved/s1".into(),
                    config: "moved/s1/grapevine.toml".into(),
                    public_key: vec![1, 2, 3],
                    more_keys: Vec::new(),
                    doors: [(grapevine_model::Door::Rpc, "127.0.0.1:7101".to_owned())].into(),
                }],
                individuals: vec![ClusterIndividual {
                    name: "registrar@pa.example".parse().unwrap(),
                    password_file: "moved/passwords/registrar".into(),
                    registrar: true,
                }],
                ca: "moved/ca.pem".into(),
            };
            file.write(&dir.join(CLUSTER_FILE)).unwrap();
        }

        fn with_saved_login(&self) {
            let saved = SavedLogin {
                name: "birrell@pa.example".parse().unwrap(),
                ticket: Secret("saved".into()),
                saved_ms: 1,
                expires_ms: 2,
                servers: vec!["saved:1".into()],
            };
            let path = self.config().login_file().unwrap();
            let json = serde_json::to_vec(&saved).unwrap();
            grapevine_user::write_private(&path, &json).unwrap();
        }
    }

    fn who(name: &str) -> Globals {
        Globals {
            speaker: Some(name.parse().unwrap()),
            ..Globals::default()
        }
    }

    fn addresses(plan: &Plan) -> Vec<String> {
        match &plan.source {
            Source::Seeds(seeds) => {
                let seeds = seeds.servers.iter();
                seeds.map(|seed| seed.address.clone()).collect()
            }
            Source::Operator(socket) => panic!("{}", socket.display()),
        }
    }

    fn password(plan: &Plan) -> &str {
        &plan.login.as_ref().unwrap().password.0
    }

    #[test]
    fn servers_are_taken_from_what_is_given_then_saved_then_lying_about() {
        let place = Place::new();
        assert!(addresses(&place.plan(&Globals::default())).is_empty());
        place.with_cluster();
        assert_eq!(
            addresses(&place.plan(&Globals::default())),
            ["127.0.0.1:7101"]
        );
        place.with_saved_login();
        let saved = place.plan(&Globals::default());
        assert_eq!(addresses(&saved), ["saved:1"]);
        assert_eq!(password(&saved), "saved");
        let given = Globals {
            servers: vec!["given:1".into()],
            ..Globals::default()
        };
        let given = place.plan(&given);
        assert_eq!(addresses(&given), ["given:1"]);
        assert_eq!(password(&given), "saved");
    }

    #[test]
    fn an_individual_of_cluster_json_needs_no_password_file_even_after_the_folder_has_moved() {
        let place = Place::new();
        place.with_cluster();
        place.with_saved_login();
        let registrar = place.plan(&who("Registrar@pa.example"));
        assert_eq!(addresses(&registrar), ["127.0.0.1:7101"]);
        assert_eq!(password(&registrar), "from the cluster");
        let stranger = place.plan(&who("needham@pa.example"));
        assert!(stranger.login.is_none());
        assert!(stranger.password_wanted.is_some());
    }

    #[test]
    fn a_password_file_counts_before_all_else() {
        let place = Place::new();
        place.with_cluster();
        let file = place.folder.path().join("mine");
        std::fs::write(&file, "mine\r\n").unwrap();
        let globals = Globals {
            password_file: Some(file),
            ..who("registrar@pa.example")
        };
        assert_eq!(password(&place.plan(&globals)), "mine");
    }

    #[test]
    fn a_folder_without_either_file_is_a_usage_error_and_a_data_folder_speaks_as_operator() {
        let place = Place::new();
        let dir = place.folder.path().join("s1");
        std::fs::create_dir(&dir).unwrap();
        let globals = Globals {
            dir: Some(dir.clone()),
            ..Globals::default()
        };
        let refused = plan(&globals, &place.config(), place.folder.path()).unwrap_err();
        assert_eq!(refused.exit, crate::out::Exit::Usage);
        std::fs::write(dir.join(ADMIN_SOCKET), "").unwrap();
        assert!(matches!(place.plan(&globals).source, Source::Operator(_)));
    }
}
