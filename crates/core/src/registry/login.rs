//! Who is who: passwords, app passwords, tickets, and whether an old proof still holds.
//!
//! Must never tell by words or by work done whether a name exists, whether it is locked, or which half
//! was wrong: all of these spend one slow check and get one answer. A proof hangs on the stamp of the
//! credentials it was made with, so it dies with them wherever their change has arrived.

use grapevine_model::{
    APP_PASSWORD_PREFIX, AppPassword, AppPasswordView, Authenticated, EntryKind, ErrorKind, Field,
    Hlc, LoginNews, LoginOutcome, MAX_LABEL_BYTES, Name, PeerMessage, Refusal, RegistryName, Reply,
    Request, RequestId, Secret, ServerName, Source, SpaceId, Speaker, Stamp, Ticket,
};

use crate::codec;
use crate::effect::Effect;
use crate::registry::database::{Entry, element, single};
use crate::registry::directory::{Held, Memo};
use crate::registry::lockout::Verdict;
use crate::registry::request::{Job, Outcome, ReplyTo, Stop};
use crate::registry::scram::{ScramKeys, ScramOrder};
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// A holder's word about somebody is believed so long by a server that can't look itself.
const VOUCHED_MS: u64 = 5_000;
/// Such words kept at most; beyond this a holder is simply asked each time.
const MOST_VOUCHED: usize = 10_000;
/// However often a ticket is renewed, the password must have been given within this: 30 days.
const TICKET_CHAIN_MS: u64 = 30 * 24 * 3_600_000;
/// A ticket that says it was issued later than this from now was made by a clock out of order.
const TICKET_AHEAD_MS: u64 = 10 * 60_000;
/// The hash made anew of the same password is stamped right after the old one, and a changed
/// password at least so far after: so that a change, wherever it was made, always wins.
const CHANGE_AFTER: u64 = 1_024;
/// App passwords of one individual: each device of a person has one.
const MOST_APP_PASSWORDS: usize = 32;

/// A password that is being checked.
#[derive(Debug)]
pub(crate) struct Verifying {
    to: ReplyTo,
    /// As it was given.
    name: Name,
    source: Source,
    /// Whether it counts against name and source.
    counted: Counted,
    /// A mark of the password, to know it again if it is wrong.
    mark: u64,
    /// Who it would be.
    who: Option<Authenticated>,
    /// What else is made of the password.
    scram: Option<ScramOrder>,
}

/// Whether an attempt stands in the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Yes,
    No,
}

/// What an app password may be used for: mail in and out, and reading the directory.
///
/// # Errors
/// Everything else, with the reason.
pub fn app_password_may(request: &Request) -> Result<(), Refusal> {
    match request {
        Request::Authenticate { .. }
        | Request::RegistryList
        | Request::RegistryShow { .. }
        | Request::Show { .. }
        | Request::Check { .. }
        | Request::CheckMany { .. }
        | Request::Entries { .. }
        | Request::MemberOf { .. }
        | Request::EntryOfNumber { .. }
        | Request::Find { .. }
        | Request::Watch { .. }
        | Request::Members { .. }
        | Request::CheckRecipient { .. }
        | Request::MaySendAs { .. }
        | Request::Servers
        | Request::Trace { .. }
        | Request::InboxList { .. }
        | Request::InboxDelete { .. }
        | Request::Mailbox { .. } => Ok(()),
        // A filter can send all mail on for ever: that is for the password, as forwarding is.
        Request::Sieve { ask, .. } if !ask.is_change() => Ok(()),
        Request::Sieve { .. }
        | Request::Vouch { .. }
        | Request::RegistrySeen { .. }
        | Request::ScramBegin { .. }
        | Request::ScramFinish { .. }
        | Request::TicketCreate { .. }
        | Request::AppPasswordCreate { .. }
        | Request::AppPasswords { .. }
        | Request::RegistryCreate { .. }
        | Request::RegistryDelete { .. }
        | Request::HolderAdd { .. }
        | Request::HolderRemove { .. }
        | Request::IndividualCreate { .. }
        | Request::GroupCreate { .. }
        | Request::Delete { .. }
        | Request::Change { .. }
        | Request::TokenCreate { .. }
        | Request::Join { .. }
        | Request::Retire { .. }
        | Request::RotateKey { .. }
        | Request::RegistryPolicy { .. }
        | Request::Import { .. }
        | Request::Compare { .. }
        | Request::Held { .. }
        | Request::Conflicts { .. }
        | Request::Aside { .. }
        | Request::Dangling { .. }
        | Request::DanglingRemove { .. }
        | Request::Queue(_)
        | Request::Status => Err(Refusal::not_allowed(
            "an app password is for mail and for reading the directory: log in with the password for this",
        )),
    }
}

impl Server {
    pub(crate) fn authenticate(
        &mut self,
        to: &ReplyTo,
        name: &Name,
        password: &Secret,
        source: Source,
    ) -> Outcome {
        if password.0.starts_with(APP_PASSWORD_PREFIX) {
            return self.authenticate_app(name, password).into();
        }
        let found = self.entry(name).and_then(|entry| {
            let hash = String::from_utf8(entry.single(Field::Password)?.to_vec()).ok()?;
            let who = Authenticated {
                name: entry.name()?,
                incarnation: entry.incarnation,
                credentials: credentials_of(&entry)?,
                app_password: None,
            };
            Some((who, Secret(hash)))
        });
        self.verify(to, name, found, password.clone(), source)
    }

    /// Has a password checked, at the same cost whatever is known of the name.
    pub(crate) fn verify(
        &mut self,
        to: &ReplyTo,
        name: &Name,
        found: Option<(Authenticated, Secret)>,
        password: Secret,
        source: Source,
    ) -> Outcome {
        let ticket = self.next_id();
        let mark = self.lockout.mark(name, &password);
        let verdict = self.lockout.attempt(name, source, mark, self.now.mono_ms);
        let (found, counted) = match verdict {
            Verdict::Open => (found, Counted::Yes),
            Verdict::OpenAgain => (found, Counted::No),
            // Locked: as much work, and no.
            Verdict::Shut => (None, Counted::No),
        };
        let (who, hash) = match found {
            Some((who, hash)) => (Some(who), Some(hash)),
            None => (None, None),
        };
        let scram = who.as_ref().and_then(|who| self.scram_order(who));
        let verifying = Verifying {
            to: to.clone(),
            name: name.clone(),
            source,
            counted,
            mark,
            who,
            scram,
        };
        self.verifying.insert(ticket, verifying);
        self.ledger.emit(Effect::Verify {
            ticket,
            hash,
            password,
            scram,
        });
        Outcome::Later
    }

    /// A password was checked.
    pub(crate) fn verified(
        &mut self,
        ticket: u64,
        right: bool,
        rehashed: Option<Secret>,
        scram: Option<ScramKeys>,
    ) -> Result<(), Damaged> {
        let Some(verifying) = self.verifying.remove(&ticket) else {
            return Ok(());
        };
        let now_ms = self.now.mono_ms;
        let (name, source) = (&verifying.name, verifying.source);
        if verifying.counted == Counted::Yes {
            self.lockout.checked(name, source, verifying.mark);
        }
        // The registry may have been handed over meanwhile: then nobody here knows whether it is still so.
        let registry = name.registry();
        if right && verifying.who.is_some() && self.database(registry).is_none() {
            let why = format!("{registry} is not here any more; try again");
            if verifying.counted == Counted::Yes {
                self.lockout.uncount(name, source, now_ms);
            }
            self.reply(verifying.to, Err(Refusal::unavailable(why)));
            return Ok(());
        }
        // It may have been changed while it was being checked.
        let who = verifying
            .who
            .filter(|who| right && self.still_so(who).is_some());
        let Some(who) = who else {
            if verifying.counted == Counted::Yes {
                self.lockout.wrong(name, source, verifying.mark);
                self.tell_login(verifying.name, source, LoginOutcome::Wrong);
            }
            self.reply(verifying.to, Err(wrong()));
            return Ok(());
        };
        if verifying.counted == Counted::Yes {
            self.lockout.uncount(name, source, now_ms);
        }
        if self.lockout.right(name, source, now_ms) {
            self.tell_login(verifying.name, source, LoginOutcome::Right);
        }
        if let Some(hash) = rehashed {
            self.write_rehashed(&who, hash)?;
        }
        self.keep_verifier(&who, verifying.scram, scram)?;
        self.reply(verifying.to, Ok(Reply::Authenticated(who)));
        Ok(())
    }

    /// Tells the others, softly: what is lost costs an attacker's count one, and nobody's mail.
    pub(super) fn tell_login(&mut self, name: Name, source: Source, outcome: LoginOutcome) {
        let peers = self.peers.keys().filter(|peer| self.is_up(peer));
        let peers: Vec<ServerName> = peers.cloned().collect();
        for peer in peers {
            let news = LoginNews {
                name: name.clone(),
                source,
                outcome,
            };
            self.send(&peer, PeerMessage::Logins(vec![news]));
        }
    }

    /// What other servers have seen.
    pub(crate) fn take_logins(&mut self, logins: Vec<LoginNews>) {
        for news in logins {
            self.lockout.told(&news, self.now.mono_ms);
        }
    }

    /// The same password under today's cost, in the place of its old hash; a password that was
    /// changed anywhere in the meantime wins.
    fn write_rehashed(&mut self, who: &Authenticated, hash: Secret) -> Result<(), Damaged> {
        let space = SpaceId::Registry(who.name.registry().clone());
        let key = single(who.incarnation, Field::Password);
        let database = self.database(who.name.registry());
        let Some(old) = database.and_then(|db| db.cell(&key)).map(|c| c.stamp) else {
            return Ok(());
        };
        if self.disk_nearly_full {
            return Ok(());
        }
        let mut change = Change::put(key, hash.0.as_bytes().to_vec());
        change.stamp = Some(Stamp {
            time: old.time.next(),
            origin: self.clock.origin(),
        });
        self.write(&space, vec![change])?;
        Ok(())
    }

    /// The cells of a password that a person has changed.
    pub(crate) fn password_changes(
        &mut self,
        incarnation: grapevine_model::Incarnation,
        registry: &RegistryName,
        hash: &Secret,
    ) -> Vec<Change> {
        let key = single(incarnation, Field::Password);
        let database = self.database(registry);
        if let Some(old) = database.and_then(|db| db.cell(&key)).map(|c| c.stamp.time) {
            let _room = self.tick(Hlc(old.0.saturating_add(CHANGE_AFTER)));
        }
        let verifier = single(incarnation, Field::ScramVerifier);
        let database = self.database(registry);
        let cell = database.and_then(|db| db.cell(&verifier));
        let old = cell.is_some_and(|cell| cell.value.is_some());
        let mut changes = vec![
            Change::put(key, hash.0.as_bytes().to_vec()),
            Change::put(single(incarnation, Field::Credentials), Vec::new()),
        ];
        // Worth nothing any more, and not to be found on a disk.
        changes.extend(old.then(|| Change::delete(verifier)));
        changes
    }

    // App passwords.

    /// An app password is random, so a fast hash does; its form tells what it is, so that a wrong
    /// one is never tried against the password's slow hash.
    fn authenticate_app(&self, name: &Name, password: &Secret) -> Result<Reply, Refusal> {
        let given = blake3::hash(password.0.as_bytes());
        let found = self.entry(name).and_then(|entry| {
            let id = app_id(&password.0)?;
            let cell = entry.cell(Field::AppPassword, id.as_bytes())?;
            let app: AppPassword = codec::decode(cell.value.as_ref()?).ok()?;
            // `blake3::Hash` compares in constant time.
            let right = given == blake3::Hash::from_bytes(app.digest);
            (right && alive(&app, self.now.wall_ms)).then_some(())?;
            Some(Authenticated {
                name: entry.name()?,
                incarnation: entry.incarnation,
                credentials: cell.stamp,
                app_password: Some(app.id),
            })
        });
        found.map(Reply::Authenticated).ok_or_else(wrong)
    }

    /// The cells of one more app password; those that have expired go.
    pub(crate) fn app_password_changes(
        &self,
        entry: &Entry<'_>,
        app: &AppPassword,
    ) -> Result<Vec<Change>, Refusal> {
        if app.id.is_empty() || app.label.is_empty() || app.label.chars().any(char::is_control) {
            return Err(Refusal::invalid(
                "an app password has a label: one line that says what it is for",
            ));
        }
        if app.label.len() > MAX_LABEL_BYTES {
            return Err(Refusal::invalid(format!(
                "the label of an app password has at most {MAX_LABEL_BYTES} octets"
            )));
        }
        let expired = |value: &[u8]| {
            codec::decode::<AppPassword>(value).is_ok_and(|app| !alive(&app, self.now.wall_ms))
        };
        let present: Vec<(&[u8], &[u8])> = entry.list(Field::AppPassword, None).collect();
        let mut changes: Vec<Change> = present
            .iter()
            .filter(|(_, value)| expired(value))
            .map(|(id, _)| Change::delete(element(entry.incarnation, Field::AppPassword, *id)))
            .collect();
        if present.len() - changes.len() >= MOST_APP_PASSWORDS {
            return Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("at most {MOST_APP_PASSWORDS} app passwords: remove one"),
            ));
        }
        changes.push(Change::put(
            element(entry.incarnation, Field::AppPassword, app.id.as_bytes()),
            codec::encode(app),
        ));
        Ok(changes)
    }

    /// The app passwords of an individual, for itself and its registrars.
    pub(crate) fn app_passwords(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
    ) -> Result<Result<Reply, Refusal>, Stop> {
        if speaker.is_nobody() {
            return Ok(Err(Refusal::new(
                ErrorKind::NotAuthenticated,
                "log in first",
            )));
        }
        let Some(entry) = self
            .entry(name)
            .filter(|e| e.kind() == EntryKind::Individual)
        else {
            return Ok(Err(Refusal::not_found(name)));
        };
        if !self.is_self(speaker, entry.incarnation)
            && !self.is_registrar(memo, speaker, name.registry())?
        {
            return Ok(Err(Refusal::not_allowed(format!(
                "only {name} and the registrars of {} may see these",
                name.registry()
            ))));
        }
        let list = entry
            .list(Field::AppPassword, None)
            .filter_map(|(_, value)| codec::decode::<AppPassword>(value).ok())
            .map(|app| AppPasswordView {
                id: app.id,
                label: app.label,
                created_ms: app.created_ms,
                expires_ms: app.expires_ms,
            });
        Ok(Ok(Reply::AppPasswords(list.collect())))
    }

    // Proofs made before.

    /// Whether a proof still holds, by a registry held here; the name as it is spelled now.
    fn still_so(&self, who: &Authenticated) -> Option<Authenticated> {
        let database = self.database(who.name.registry())?;
        let entry = database.entry(who.incarnation)?;
        if !database.has_its_name(&entry) || entry.kind() != EntryKind::Individual {
            return None;
        }
        let stamp = match &who.app_password {
            None => credentials_of(&entry)?,
            Some(id) => {
                let cell = entry.cell(Field::AppPassword, id.as_bytes())?;
                let app: AppPassword = codec::decode(cell.value.as_ref()?).ok()?;
                alive(&app, self.now.wall_ms).then_some(cell.stamp)?
            }
        };
        (stamp == who.credentials).then_some(())?;
        Some(Authenticated {
            name: entry.name()?,
            ..who.clone()
        })
    }

    /// Answers a server's question whether a proof still holds.
    pub(crate) fn vouch(&self, speaker: &Speaker, who: &Authenticated) -> Result<Reply, Refusal> {
        match speaker {
            Speaker::Server(_) | Speaker::Operator => {}
            Speaker::Anonymous | Speaker::Neighbour | Speaker::Individual { .. } => {
                return Err(Refusal::not_allowed("only servers vouch for each other"));
            }
        }
        self.still_so(who)
            .map(Reply::Authenticated)
            .ok_or_else(ended)
    }

    /// A holder's word that is still fresh, for a server that does not hold the registry.
    pub(crate) fn vouched(&self, speaker: &Speaker, request: &Request) -> Option<Reply> {
        let (Request::Vouch { who }, Speaker::Server(_) | Speaker::Operator) = (request, speaker)
        else {
            return None;
        };
        let (until_ms, said) = self.vouched.get(who)?;
        (*until_ms > self.now.mono_ms).then(|| Reply::Authenticated(said.clone()))
    }

    /// Remembers a holder's word, and forgets old ones.
    pub(crate) fn remember_vouched(&mut self, request: &Request, result: &Result<Reply, Refusal>) {
        let (Request::Vouch { who }, Ok(Reply::Authenticated(said))) = (request, result) else {
            return;
        };
        let now_ms = self.now.mono_ms;
        if self.vouched.len() >= MOST_VOUCHED {
            self.vouched.retain(|_, (until_ms, _)| *until_ms > now_ms);
        }
        if self.vouched.len() < MOST_VOUCHED {
            let until_ms = now_ms.saturating_add(VOUCHED_MS);
            self.vouched.insert(who.clone(), (until_ms, said.clone()));
        }
    }

    // Tickets.

    /// Composes a ticket for whoever has just proved to be this individual.
    pub(crate) fn issue(
        &mut self,
        id: RequestId,
        who: Authenticated,
        proved_ms: Option<u64>,
        life_ms: Option<u64>,
    ) {
        let now_ms = self.now.wall_ms;
        let proved_ms = proved_ms.unwrap_or(now_ms);
        let most_ms = self.config.times.ticket_ms;
        let chain_end_ms = proved_ms.saturating_add(TICKET_CHAIN_MS);
        let refusal = if who.app_password.is_some() {
            Refusal::not_allowed("an app password gives no ticket: log in with the password")
        } else if self.retired {
            Refusal::unavailable("this server has left its Grapevine; use another one")
        } else if chain_end_ms <= now_ms {
            Refusal::new(
                ErrorKind::NotAuthenticated,
                "this ticket was renewed for 30 days: log in with the password again",
            )
        } else {
            match self.grapevine() {
                Some(grapevine) => {
                    let life_ms = life_ms.unwrap_or(most_ms).min(most_ms);
                    self.ledger.emit(Effect::Sign {
                        id,
                        ticket: Ticket {
                            grapevine,
                            issuer: self.config.server.clone(),
                            who,
                            proved_ms,
                            issued_ms: now_ms,
                            expires_ms: now_ms.saturating_add(life_ms).min(chain_end_ms),
                        },
                    });
                    return;
                }
                None => Refusal::unavailable(
                    "this server has not yet fetched the registration database",
                ),
            }
        };
        self.reply(ReplyTo::Client(id), Err(refusal));
    }

    /// Checks a ticket whose signature is its issuer's.
    pub(crate) fn take_ticket(&mut self, id: RequestId, ticket: Ticket) -> Result<(), Damaged> {
        let now_ms = self.now.wall_ms;
        let refused = |why: &str| Some(Refusal::new(ErrorKind::NotAuthenticated, why));
        let refusal = match self.grapevine() {
            None => Some(Refusal::unavailable(
                "this server has not yet fetched the registration database",
            )),
            Some(ours) if ours != ticket.grapevine => {
                refused("this ticket is of another Grapevine: log in at this one")
            }
            Some(_) if ticket.expires_ms <= now_ms => {
                refused("this ticket has expired: log in again")
            }
            Some(_)
                if ticket.issued_ms > now_ms.saturating_add(TICKET_AHEAD_MS)
                    || ticket.expires_ms > ticket.proved_ms.saturating_add(TICKET_CHAIN_MS) =>
            {
                refused("this ticket's times can't be right: log in again")
            }
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            self.reply(ReplyTo::Client(id), Err(refusal));
            return Ok(());
        }
        let job = Job::Request {
            to: ReplyTo::Client(id),
            speaker: Speaker::Server(self.config.server.clone()),
            request: Request::Vouch { who: ticket.who },
        };
        self.run(job, Memo::new())
    }

    /// Which Grapevine this is.
    fn grapevine(&self) -> Option<grapevine_model::Incarnation> {
        match self.held(&RegistryName::gv()) {
            Held::Here => Some(self.entry(&RegistryName::gv().group())?.incarnation),
            Held::Elsewhere | Held::Unknown => None,
        }
    }
}

/// What a client can't ask, because a server makes it: shown so at frame level.
pub(crate) fn only_by_servers(request: &Request) -> Refusal {
    Refusal::invalid(match request {
        Request::TicketCreate { .. } => "a ticket is for an individual: say who calls",
        _ => "this is for the server that the client talks to",
    })
}

/// The stamp that proofs by password hang on: the last time a person changed it.
pub(super) fn credentials_of(entry: &Entry<'_>) -> Option<Stamp> {
    let changed = entry
        .cell(Field::Credentials, &[])
        .filter(|cell| cell.value.is_some());
    let password = entry
        .cell(Field::Password, &[])
        .filter(|cell| cell.value.is_some())?;
    Some(changed.map_or(password.stamp, |cell| cell.stamp))
}

fn alive(app: &AppPassword, now_ms: u64) -> bool {
    app.expires_ms.is_none_or(|until_ms| until_ms > now_ms)
}

/// The id in an app password: `gvap_ID_SECRET`.
fn app_id(password: &str) -> Option<&str> {
    let rest = password.strip_prefix(APP_PASSWORD_PREFIX)?;
    Some(rest.split_once('_')?.0)
}

/// The one answer to a wrong password, an unknown name, a locked one, and all that may not be told
/// from these.
pub(super) fn wrong() -> Refusal {
    Refusal::new(ErrorKind::NotAuthenticated, "wrong name or password")
}

fn ended() -> Refusal {
    Refusal::new(
        ErrorKind::NotAuthenticated,
        "this login has ended: the credentials were changed, or the name is no more; log in again",
    )
}
