//! GrapevineUser itself: from one address to all servers, and which to ask next.
//!
//! It must never send a password to a server whose key was not expected, and never
//! take "no answer" for "no". The rest of the promises is in the files beside it:
//! `call` (requests), `submit` (messages in), `inbox` (messages out).

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use grapevine_model::{Name, Refusal, Reply, Request, Secret, Seen, ServerInfo, ServerName};

use crate::link::{Attempt, Link};
use crate::patience::Patience;
use crate::remembered::{KnownGrapevine, KnownServer, Remembered};
use crate::roster::{Ranked, Roster};
use crate::seen::SeenBefore;
use crate::trust::{Expected, Fingerprint, ServerKey};

/// Servers that are asked at once while finding: enough for the nearest to be among them, few
/// enough that a thousand users who start together do not call every server.
const FIND_AT_ONCE: usize = 8;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub name: Name,
    /// Password, app password or ticket; goes out inside TLS only, to a server with an expected key.
    pub password: Secret,
}

/// A server to begin with.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Its door for GrapevineUser, `host:port`.
    pub address: String,
    /// Its key, if it is known.
    pub pin: Option<Pin>,
}

/// What is known of a seed's key.
#[derive(Debug, Clone)]
pub enum Pin {
    /// All of it.
    Key(ServerKey),
    /// Its fingerprint.
    Fingerprint(Fingerprint),
}

/// What to do at an address whose key nobody has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstContact {
    /// Nothing: a pin is needed.
    Refuse,
    /// Take its key, remember it, and say so ([`Notice::FirstContact`]).
    Trust,
}

/// Whoever goes on for long asks this often who the servers are and where: a new key is announced for longer.
const REFRESH: Duration = Duration::from_secs(600);
/// And again after a server failed, but not more often than this.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// So many are asked: one of them may be the one that has changed.
const REFRESH_FROM: usize = 3;

/// Where to begin.
#[derive(Debug, Clone)]
pub struct Seeds {
    /// One server suffices; with none, those of the Grapevine used last.
    pub servers: Vec<Seed>,
    /// Where servers are remembered (`servers.json`); none for not at all.
    pub state_file: Option<PathBuf>,
    /// Unknown keys.
    pub first_contact: FirstContact,
}

/// Something that the person should be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A server's key was taken on trust.
    FirstContact {
        /// Where.
        address: String,
        /// Which server it says it is.
        server: ServerName,
        /// To compare with what `grapevine status --keys` says on a machine that is trusted.
        fingerprint: Fingerprint,
    },
    /// The servers could not be remembered.
    NotRemembered(String),
}

/// Why no server was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address was given and none is remembered.
    #[error("no server is known: give one's address")]
    NoServers,
    /// Nobody answered.
    #[error("no server answers: {0}")]
    NoAnswer(String),
    /// Nobody could prove a key that is trusted.
    #[error("no server could be trusted: {0}")]
    NotTrusted(String),
}

/// The package on the workstation. Cheap to clone; all clones share what is known of the servers.
#[derive(Clone)]
pub struct GrapevineUser {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    roster: Arc<Mutex<Roster>>,
    links: Arc<Mutex<Links>>,
    /// When the servers were last asked who they are, or that was begun.
    refreshed: Arc<Mutex<Instant>>,
    login: Mutex<Option<Login>>,
    seen: Mutex<SeenBefore>,
    infos: Arc<Mutex<Vec<ServerInfo>>>,
    pub(crate) patience: Patience,
    state_file: Option<PathBuf>,
    notices: Arc<Mutex<Vec<Notice>>>,
    /// The operator's own door: then nothing else is asked in his name.
    socket: Option<Link>,
}

/// Connections, by address and the keys that are expected there.
type Links = BTreeMap<(String, Vec<ServerKey>), Link>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody to ask next.
#[derive(Clone)]
pub(crate) struct Next {
    pub(crate) name: String,
    pub(crate) link: Link,
    /// None for the operator's socket.
    key: Option<ServerKey>,
}

/// A candidate while servers are being found.
struct Candidate {
    address: String,
    expected: Expected,
}

/// What a candidate answered.
struct FoundServers {
    address: String,
    key: ServerKey,
    infos: Vec<ServerInfo>,
    took: Duration,
    on_trust: bool,
}

impl GrapevineUser {
    /// Finds the servers: asks those that are known, all at once, and takes the first answer of a
    /// server with an expected key.
    pub async fn connect(seeds: Seeds, login: Option<Login>) -> Result<Self, ConnectError> {
        Self::connect_with(seeds, login, Patience::default()).await
    }

    /// The same with other time limits.
    pub async fn connect_with(
        seeds: Seeds,
        login: Option<Login>,
        patience: Patience,
    ) -> Result<Self, ConnectError> {
        let remembered = seeds
            .state_file
            .as_deref()
            .map(Remembered::read)
            .unwrap_or_default();
        let (known, candidates) = candidates(&seeds, &remembered)?;
        let found = find(candidates, patience).await?;
        let mut roster = Roster::from_known(&known);
        let mut notices = Vec::new();
        if !roster.replace(&found.infos) && known.servers.is_empty() {
            return Err(ConnectError::NoAnswer(format!(
                "{}: the servers that it names have no door for clients",
                found.address
            )));
        }
        roster.met_at(&found.key, &found.address);
        roster.well(&found.key, Some(found.took));
        if found.on_trust {
            let named = found
                .infos
                .iter()
                .find(|info| info.has_key(found.key.as_bytes()));
            let Some(info) = named else {
                return Err(ConnectError::NotTrusted(format!(
                    "the server at {} does not stand in its own list of servers",
                    found.address
                )));
            };
            notices.push(Notice::FirstContact {
                address: found.address,
                server: info.name.clone(),
                fingerprint: found.key.fingerprint(),
            });
        }
        let user = Self::new(roster, login, patience, None, seeds.state_file, notices);
        locked(&user.inner.seen).learn(&found.infos);
        *locked(&user.inner.infos) = found.infos;
        user.remember();
        user.measure_others(&found.key);
        Ok(user)
    }

    /// The same for a program that starts with the machine, perhaps before its network: if nobody answers now, with the
    /// servers that are remembered from before; they are asked as soon as there is something to ask.
    ///
    /// # Errors
    /// Nobody answers and none is remembered, or nobody could be trusted.
    pub async fn connect_or_recall(
        seeds: Seeds,
        login: Option<Login>,
        patience: Patience,
    ) -> Result<Self, ConnectError> {
        let no_answer = match Self::connect_with(seeds.clone(), login.clone(), patience).await {
            Err(error @ ConnectError::NoAnswer(_)) => error,
            connected_or_not => return connected_or_not,
        };
        let remembered = seeds
            .state_file
            .as_deref()
            .map(Remembered::read)
            .unwrap_or_default();
        let known = match seeds.servers.is_empty() {
            true => remembered.latest(),
            false => (seeds.servers.iter()).find_map(|seed| remembered.at_address(&seed.address)),
        };
        let Some(known) = known.filter(|known| !known.servers.is_empty()) else {
            return Err(no_answer);
        };
        let roster = Roster::from_known(known);
        Ok(Self::new(
            roster,
            login,
            patience,
            None,
            seeds.state_file,
            Vec::new(),
        ))
    }

    /// The same servers for somebody else: what is known of them, and the connections, are shared. It has seen nothing yet.
    pub fn with_login(&self, login: Option<Login>) -> Self {
        let inner = &self.inner;
        let user = Self {
            inner: Arc::new(Inner {
                roster: Arc::clone(&inner.roster),
                links: Arc::clone(&inner.links),
                refreshed: Arc::clone(&inner.refreshed),
                login: Mutex::new(login),
                seen: Mutex::default(),
                infos: Arc::clone(&inner.infos),
                patience: inner.patience,
                state_file: inner.state_file.clone(),
                notices: Arc::clone(&inner.notices),
                socket: inner.socket.clone(),
            }),
        };
        locked(&user.inner.seen).learn(&locked(&user.inner.infos));
        user
    }

    /// Through the admin socket in a data folder: its operator speaks, to that server alone.
    /// Connects when something is asked.
    pub fn operator(socket: &Path) -> Self {
        let (roster, patience) = (Roster::default(), Patience::default());
        let link = Link::to_socket(socket);
        Self::new(roster, None, patience, Some(link), None, Vec::new())
    }

    fn new(
        roster: Roster,
        login: Option<Login>,
        patience: Patience,
        socket: Option<Link>,
        state_file: Option<PathBuf>,
        notices: Vec<Notice>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                roster: Arc::new(Mutex::new(roster)),
                links: Arc::default(),
                refreshed: Arc::new(Mutex::new(Instant::now())),
                login: Mutex::new(login),
                seen: Mutex::default(),
                infos: Arc::default(),
                patience,
                state_file,
                notices: Arc::new(Mutex::new(notices)),
                socket,
            }),
        }
    }

    /// What the person should be told; each is given once.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut locked(&self.inner.notices))
    }

    /// The servers, in the order in which they would be asked now.
    pub fn servers(&self) -> Vec<KnownServer> {
        let ordered = locked(&self.inner.roster).in_order();
        let known = locked(&self.inner.roster).to_known();
        ordered
            .iter()
            .filter_map(|server| {
                let same = |known: &&KnownServer| known.key == server.key;
                known.servers.iter().find(same).cloned()
            })
            .collect()
    }

    /// Tokens of what this user has seen done: sent along with every request, and to be kept between
    /// runs by whoever wants an answer as new then.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.inner.seen).tokens(crate::submit::wall_ms())
    }

    /// From now on with tokens from an earlier run; those of another Grapevine are not sent.
    pub fn remember_seen(&self, seen: impl IntoIterator<Item = Seen>) {
        let mut before = locked(&self.inner.seen);
        before.remember(seen);
        before.learn(&locked(&self.inner.infos));
    }

    /// From now on with these tokens, wherever they are from.
    pub fn has_seen(&self, seen: &[Seen]) {
        locked(&self.inner.seen).note(seen);
    }

    /// From now on as if it had seen nothing: answers may be older.
    pub fn forget_seen(&self) {
        locked(&self.inner.seen).forget();
    }

    /// Who speaks.
    pub fn login(&self) -> Option<Login> {
        locked(&self.inner.login).clone()
    }

    /// From now on with this password.
    pub(crate) fn set_password(&self, name: &Name, password: &Secret) {
        if let Some(login) = &mut *locked(&self.inner.login)
            && login.name == *name
        {
            login.password = password.clone();
        }
    }

    /// The operator's own door, if this is its user.
    pub(crate) fn socket(&self) -> Option<&Link> {
        self.inner.socket.as_ref()
    }

    /// Whom to ask, one after the other.
    pub(crate) fn tries(&self) -> Tries<'_> {
        self.look_again();
        Tries {
            user: self,
            round: 0,
            queue: VecDeque::new(),
        }
    }

    /// All servers, once each.
    pub(crate) fn everyone(&self) -> Vec<(ServerName, Result<Next, String>)> {
        let servers = locked(&self.inner.roster).in_order();
        servers
            .iter()
            .map(|server| (server.name.clone(), self.next_for(server)))
            .collect()
    }

    /// The servers are these: somebody trusted says so.
    pub(crate) fn learn(&self, infos: &[ServerInfo]) {
        locked(&self.inner.seen).learn(infos);
        if locked(&self.inner.roster).replace(infos) {
            self.remember();
        }
    }

    /// It answered.
    pub(crate) fn well(&self, next: &Next, latency: Option<Duration>) {
        if let Some(key) = &next.key {
            locked(&self.inner.roster).well(key, latency);
        }
    }

    /// It did not. It may have moved, or changed its key: the others know.
    pub(crate) fn failed(&self, next: &Next, why: &str) {
        self.note_failure(next, why);
        self.refresh();
    }

    fn note_failure(&self, next: &Next, why: &str) {
        tracing::debug!(server = next.name, why, "a server failed");
        if let Some(key) = &next.key {
            locked(&self.inner.roster).failed(key, Instant::now());
        }
    }

    fn next_for(&self, server: &Ranked) -> Result<Next, String> {
        let mut links = locked(&self.inner.links);
        let keys: Vec<ServerKey> = server.keys().cloned().collect();
        let at = (server.address.clone(), keys.clone());
        let link = match links.get(&at) {
            Some(link) => link.clone(),
            None => {
                let expected = Expected::Keys(keys);
                let link = Link::to_server(&server.address, expected, self.inner.patience.find)?;
                // Those of keys that it no longer has.
                links.retain(|(address, _), _| *address != server.address);
                links.insert(at, link.clone());
                link
            }
        };
        Ok(Next {
            name: server.name.to_string(),
            link,
            key: Some(server.key.clone()),
        })
    }

    /// Writes down the servers, in the place of what was known of them.
    fn remember(&self) {
        let Some(path) = &self.inner.state_file else {
            return;
        };
        let mut remembered = Remembered::read(path);
        let before = remembered.clone();
        remembered.remember(locked(&self.inner.roster).to_known());
        if remembered != before
            && let Err(error) = remembered.write(path)
        {
            let notice = Notice::NotRemembered(format!("{}: {error}", path.display()));
            locked(&self.inner.notices).push(notice);
        }
    }

    /// Asks the other servers in the background, so that the nearest is known and the next one is
    /// connected when it is needed.
    fn measure_others(&self, but: &ServerKey) {
        let servers = locked(&self.inner.roster).in_order();
        let others = servers.into_iter().filter(|server| !server.has(but));
        self.probe(others.take(FIND_AT_ONCE).collect());
    }

    /// Asks servers that failed a while ago, in the background: nobody waits for them.
    fn look_again(&self) {
        let due = locked(&self.inner.roster).due(Instant::now());
        self.probe(due);
        if locked(&self.inner.refreshed).elapsed() >= REFRESH {
            self.refresh();
        }
    }

    /// Asks in the background who the servers are and which keys they have, before a key goes that is
    /// known here.
    fn refresh(&self) {
        {
            let mut refreshed = locked(&self.inner.refreshed);
            // Of many failures at once, one asks.
            if refreshed.elapsed() < REFRESH_PAUSE {
                return;
            }
            *refreshed = Instant::now();
        }
        let servers = locked(&self.inner.roster).in_order();
        self.probe(servers.into_iter().take(REFRESH_FROM).collect());
    }

    fn probe(&self, servers: Vec<Ranked>) {
        for server in servers {
            let user = self.clone();
            tokio::spawn(async move {
                let Ok(next) = user.next_for(&server) else {
                    return;
                };
                let begun = Instant::now();
                let limit = user.inner.patience.find;
                match next.link.call(None, &Request::Servers, limit).await {
                    Attempt::Done(Reply::Servers(infos)) => {
                        user.well(&next, Some(begun.elapsed()));
                        user.learn(&infos);
                    }
                    Attempt::Done(_) | Attempt::Refused(_) => user.well(&next, None),
                    Attempt::NotSent(why) | Attempt::Lost(why) => user.note_failure(&next, &why),
                }
            });
        }
    }
}

/// Servers to try, nearest first; all of them once more after a pause, some times.
pub(crate) struct Tries<'a> {
    user: &'a GrapevineUser,
    round: u32,
    queue: VecDeque<Ranked>,
}

impl Tries<'_> {
    /// The next one.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        let patience = self.user.inner.patience;
        if let Some(link) = self.user.socket() {
            // The operator's door leads to one server; elsewhere he is nobody.
            self.round += 1;
            return (self.round == 1).then(|| Next {
                name: "the server of this folder".to_owned(),
                link: link.clone(),
                key: None,
            });
        }
        loop {
            while let Some(server) = self.queue.pop_front() {
                match self.user.next_for(&server) {
                    Ok(next) => return Some(next),
                    Err(why) => tracing::debug!(server = %server.name, why, "passed over"),
                }
            }
            if self.round == patience.rounds {
                return None;
            }
            if self.round > 0 {
                tokio::time::sleep(patience.pause).await;
            }
            self.round += 1;
            self.queue = locked(&self.user.inner.roster).in_order().into();
        }
    }

    /// Whether each server has been tried once, and none is left of this round.
    pub(crate) fn round_is_over(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Whom to ask while finding, and what was known before.
fn candidates(
    seeds: &Seeds,
    remembered: &Remembered,
) -> Result<(KnownGrapevine, Vec<Candidate>), ConnectError> {
    let mut known: Option<&KnownGrapevine> = None;
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut strangers = Vec::new();
    for seed in &seeds.servers {
        let grapevine = remembered.at_address(&seed.address);
        let expected = match (&seed.pin, grapevine) {
            (Some(Pin::Key(key)), _) => Expected::Keys(vec![key.clone()]),
            (Some(Pin::Fingerprint(pin)), _) => Expected::Pin(*pin),
            (None, Some(grapevine)) => {
                let keys = grapevine.servers.iter().flat_map(KnownServer::keys);
                Expected::Keys(keys.cloned().collect())
            }
            (None, None) => match seeds.first_contact {
                FirstContact::Trust => Expected::Anything,
                FirstContact::Refuse => {
                    strangers.push(seed.address.clone());
                    continue;
                }
            },
        };
        if seed.pin.is_none() {
            known = known.or(grapevine);
        }
        candidates.push(Candidate {
            address: seed.address.clone(),
            expected,
        });
    }
    if seeds.servers.is_empty() {
        known = remembered.latest();
    }
    // Any server of the same Grapevine can tell, too, if those that were given are down.
    for server in known.iter().flat_map(|known| &known.servers) {
        if !candidates.iter().any(|seed| seed.address == server.address) {
            candidates.push(Candidate {
                address: server.address.clone(),
                expected: Expected::Keys(server.keys().cloned().collect()),
            });
        }
    }
    if candidates.is_empty() {
        return Err(match strangers.first() {
            Some(address) => ConnectError::NotTrusted(format!(
                "the key of {address} is not known: give its fingerprint"
            )),
            None => ConnectError::NoServers,
        });
    }
    Ok((known.cloned().unwrap_or_default(), candidates))
}

/// The first answer of an expected server; that of a stranger only when nobody else answers.
async fn find(
    candidates: Vec<Candidate>,
    patience: Patience,
) -> Result<FoundServers, ConnectError> {
    let mut waiting = candidates.into_iter();
    let mut asked = FuturesUnordered::new();
    asked.extend(
        waiting
            .by_ref()
            .take(FIND_AT_ONCE)
            .map(|candidate| ask(candidate, patience)),
    );
    let mut on_trust = None;
    let mut reasons = Vec::new();
    let mut untrusted = false;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(found) if found.on_trust => {
                on_trust.get_or_insert(found);
            }
            Ok(found) => return Ok(found),
            Err(failure) => {
                untrusted |= failure.other_key;
                reasons.push(failure.why);
            }
        }
        if let Some(candidate) = waiting.next() {
            asked.push(ask(candidate, patience));
        }
    }
    // A stranger is only met where nobody known was to be asked or has shown a wrong key.
    match on_trust {
        Some(found) if !untrusted => Ok(found),
        _ if untrusted => Err(ConnectError::NotTrusted(format!(
            "{}. Servers change their keys, and announce it for a week: if you were away for longer, compare the fingerprint with `grapevine status --keys` on a machine that is trusted, and give it once with --pin",
            reasons.join("; ")
        ))),
        _ => Err(ConnectError::NoAnswer(reasons.join("; "))),
    }
}

struct Failure {
    why: String,
    other_key: bool,
}

async fn ask(candidate: Candidate, patience: Patience) -> Result<FoundServers, Failure> {
    let Candidate { address, expected } = candidate;
    let on_trust = matches!(expected, Expected::Anything);
    let failure = |why: String, other_key| Failure {
        why: format!("{address}: {why}"),
        other_key,
    };
    let link =
        Link::to_server(&address, expected, patience.find).map_err(|why| failure(why, false))?;
    let begun = Instant::now();
    // Without saying who we are: the servers' list is for everybody.
    let attempt = link.call(None, &Request::Servers, patience.find).await;
    let shake = link.handshake();
    match attempt {
        Attempt::Done(Reply::Servers(infos)) if !infos.is_empty() => {
            let key = shake.and_then(|shake| shake.shown());
            let key = key.ok_or_else(|| failure("it proved no key".to_owned(), true))?;
            Ok(FoundServers {
                address: address.clone(),
                key,
                infos,
                took: begun.elapsed(),
                on_trust,
            })
        }
        Attempt::Done(_) => Err(failure("its answer is no list of servers".into(), false)),
        Attempt::Refused(Refusal { why, .. }) => Err(failure(why, false)),
        Attempt::NotSent(why) | Attempt::Lost(why) => {
            let other_key = shake.is_some_and(|shake| shake.refused().is_some());
            Err(failure(why, other_key))
        }
    }
}
