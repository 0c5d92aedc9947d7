//! From a request to its reply: evaluated here, parked while a question is
//! asked, or passed to a server that holds what it is about.
//!
//! An evaluation changes nothing until it can end, so it is simply begun again
//! with the answers it lacked (docs/decisions, park and evaluate again).

use grapevine_model::{
    Answer, AsOf, Envelope, ErrorKind, Incarnation, Name, PeerMessage, Question, Refusal,
    RegistryName, Reply, Request, RequestId, Resolution, Seen, ServerName, SpaceId, Speaker,
    Submission, Usage,
};

use crate::effect::{Effect, Staged};
use crate::registry::directory::{Held, Memo, Need};
use crate::registry::login::only_by_servers;
use crate::registry::nature::{about, reads};
use crate::server::{Server, Timer};
use crate::tables::Damaged;

/// Requests that may wait for other servers' answers at one time; more are told to come back.
const MOST_PARKED: usize = 10_000;
/// A connection between servers does not outlive this in silence, nor what is on its way in it.
const DOUBLE_MS: u64 = 10 * 60_000;

/// Where a reply goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// To this server's own client.
    Client(RequestId),
    /// To the server that passed the request on.
    Peer(ServerName, u64),
    /// To a filter that runs here: what it sends, by its ticket and the number of the action.
    Filter(u64, u32),
}

/// Something that can't end before a question is answered.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Request {
        to: ReplyTo,
        speaker: Speaker,
        request: Request,
    },
    /// Of another server.
    Question {
        from: ServerName,
        id: u64,
        question: Question,
    },
    Submit {
        id: RequestId,
        submission: Submission,
        staged: Staged,
    },
    Steer {
        message: grapevine_model::MessageId,
        key: String,
    },
    FollowSites {
        inbox: Incarnation,
        owner: Name,
    },
    /// A retained message is offered to one of those it was for.
    Refill {
        message: grapevine_model::MessageId,
        name: Name,
    },
}

/// A job with the answers that it has.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) job: Job,
    pub(crate) memo: Memo,
}

/// A request passed on to another server.
#[derive(Debug)]
pub(crate) struct PassedOn {
    to: ReplyTo,
    speaker: Speaker,
    request: Request,
    seen: Vec<Seen>,
    nothing_at: Vec<ServerName>,
    server: ServerName,
    /// Servers that may still be asked.
    others: Vec<ServerName>,
}

/// How an evaluation ended.
pub(crate) enum Outcome {
    /// With this reply.
    Reply(Box<Result<Reply, Refusal>>),
    /// Somebody else replies later.
    Later,
    /// One of these servers has to do it.
    PassOn(Vec<ServerName>),
    /// The same, and here nothing was ever put into the mailbox in question: it may be so everywhere.
    PassOnEmpty(Vec<ServerName>),
}

impl From<Result<Reply, Refusal>> for Outcome {
    fn from(result: Result<Reply, Refusal>) -> Self {
        Self::Reply(Box::new(result))
    }
}

/// Ends an evaluation that may need an answer or find damage.
pub(crate) enum Stop {
    Need(Need),
    Damaged(Damaged),
}
impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}
impl From<Damaged> for Stop {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl Server {
    pub(crate) fn reply(&mut self, to: ReplyTo, result: Result<Reply, Refusal>) {
        self.reply_as_of(to, result, None);
    }

    pub(crate) fn reply_as_of(
        &mut self,
        to: ReplyTo,
        result: Result<Reply, Refusal>,
        as_of: Option<AsOf>,
    ) {
        match to {
            ReplyTo::Client(id) => self.ledger.emit(Effect::Reply { id, result, as_of }),
            ReplyTo::Peer(server, id) => {
                self.send(&server, PeerMessage::Forwarded { id, result, as_of });
            }
            ReplyTo::Filter(ticket, number) => self.out_is_answered(ticket, number, result),
        }
    }

    /// Runs a job, with what it knows so far.
    pub(crate) fn run(&mut self, job: Job, memo: Memo) -> Result<(), Damaged> {
        let need = match &job {
            Job::Request {
                to,
                speaker,
                request,
            } => match self.evaluate(&memo, to, speaker, request) {
                Ok(Outcome::Reply(result)) => {
                    let as_of = reads(request).and_then(|registry| self.as_of(&registry));
                    self.reply_as_of(to.clone(), *result, as_of);
                    None
                }
                Ok(Outcome::Later) => None,
                Ok(Outcome::PassOn(servers)) => {
                    let so_far = (memo.seen().to_vec(), memo.has_nothing().to_vec());
                    self.pass_on(
                        to.clone(),
                        speaker.clone(),
                        request.clone(),
                        so_far,
                        servers,
                    );
                    None
                }
                Ok(Outcome::PassOnEmpty(servers)) => {
                    let mut nothing_at = memo.has_nothing().to_vec();
                    nothing_at.push(self.config.server.clone());
                    let so_far = (memo.seen().to_vec(), nothing_at);
                    self.pass_on(
                        to.clone(),
                        speaker.clone(),
                        request.clone(),
                        so_far,
                        servers,
                    );
                    None
                }
                Err(Stop::Damaged(damaged)) => {
                    self.reply(
                        to.clone(),
                        Err(Refusal::new(ErrorKind::Internal, damaged.to_string())),
                    );
                    return Err(damaged);
                }
                Err(Stop::Need(need)) => Some(need),
            },
            Job::Question { from, id, question } => match self.answer_question(&memo, question) {
                Ok(answer) => {
                    self.send(from, PeerMessage::Answered { id: *id, answer });
                    None
                }
                Err(need) => Some(need),
            },
            Job::Submit {
                id,
                submission,
                staged,
            } => match self.try_submit(&memo, *id, submission, *staged) {
                Ok(()) => None,
                Err(Stop::Need(need)) => Some(need),
                Err(Stop::Damaged(damaged)) => return Err(damaged),
            },
            Job::FollowSites { inbox, owner } => match self.follow_sites_of(&memo, *inbox, owner) {
                Ok(()) => None,
                Err(Stop::Need(need)) => Some(need),
                Err(Stop::Damaged(damaged)) => return Err(damaged),
            },
            Job::Refill { message, name } => match self.refill_one(&memo, *message, name) {
                Ok(()) => None,
                Err(Stop::Need(need)) => Some(need),
                Err(Stop::Damaged(damaged)) => return Err(damaged),
            },
            Job::Steer { message, key } => match self.steer(&memo, *message, key) {
                Ok(()) => None,
                Err(Stop::Need(need)) => Some(need),
                Err(Stop::Damaged(damaged)) => return Err(damaged),
            },
        };
        match need {
            None => {}
            Some(Need::Ask(question)) if self.parked.len() < MOST_PARKED => {
                let (id, seen) = (self.next_id(), memo.seen().to_vec());
                self.parked.insert(id, Parked { job, memo });
                self.ask(id, *question, seen);
            }
            Some(Need::Ask(_)) => {
                self.cannot_tell(job, "too many requests wait for other servers".into())
            }
            Some(Need::News(registry)) => self.await_news(registry, job, memo),
            Some(Need::Unavailable(why)) => self.cannot_tell(job, why),
        }
        Ok(())
    }

    /// A question that a job waits for is answered, or can't be.
    pub(crate) fn resume(&mut self, parked: u64, question: Question, answer: Answer) {
        if let Some(mut parked) = self.parked.remove(&parked) {
            parked.memo.insert(question, answer);
            self.runnable.push_back((parked.job, parked.memo));
        }
    }

    fn cannot_tell(&mut self, job: Job, why: String) {
        match job {
            Job::Request { to, .. } => self.reply(
                to,
                Err(Refusal::unavailable(format!("{why}; try again later"))),
            ),
            Job::Question { from, id, .. } => {
                let answer = Answer::Unavailable;
                self.send(&from, PeerMessage::Answered { id, answer });
            }
            Job::Submit { id, staged, .. } => {
                self.ledger.emit(Effect::Discard {
                    staged: staged.token,
                });
                self.reply(
                    ReplyTo::Client(id),
                    Err(Refusal::unavailable(format!("{why}; try again later"))),
                );
            }
            Job::Steer { message, key } => self.recipient_waits(message, &key, why),
            // Asked again in its turn.
            Job::FollowSites { .. } => {}
            Job::Refill { message, name } => self.refill_waits(message, &name),
        }
    }

    fn evaluate(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        request: &Request,
    ) -> Result<Outcome, Stop> {
        if self.retired && !matches!(request, Request::Status | Request::Trace { .. }) {
            let why = "this server has left its Grapevine; use another one";
            return Ok(Err(Refusal::unavailable(why)).into());
        }
        if self.origins.displaced && !matches!(request, Request::Status | Request::Trace { .. }) {
            let why = "another server has been started under this server's name; use another one";
            return Ok(Err(Refusal::unavailable(why)).into());
        }
        if let Request::CheckRecipient { name } = request
            && self.routed_whole(name).is_some()
        {
            return Ok(Ok(Reply::Ok).into());
        }
        if let Some(registry) = about(request) {
            match self.held(registry) {
                Held::Here if !request.is_change() => {
                    if let Err(refusal) = self.may_read(registry) {
                        return Ok(Err(refusal).into());
                    }
                }
                // A server that has left the registry has it only to hand it over. What it wrote now would come late to
                // holders who wait for it no more before they forget a deletion.
                Held::Here
                    if writes_entries(request)
                        && !self.belongs_here(&SpaceId::Registry(registry.clone())) =>
                {
                    return Ok(self.pass_to_holders(to, registry));
                }
                Held::Here => {}
                Held::Elsewhere => {
                    return Ok(match self.vouched(speaker, request) {
                        Some(reply) => Ok(reply).into(),
                        None => self.pass_to_holders(to, registry),
                    });
                }
                Held::Unknown if self.database(&RegistryName::gv()).is_none() => {
                    return Ok(Err(Refusal::unavailable(
                        "this server has not yet fetched the registration database",
                    ))
                    .into());
                }
                Held::Unknown => {
                    return Ok(match request {
                        // No tell-tale: the same answer, after the same time, as for a wrong password.
                        Request::Authenticate {
                            name,
                            password,
                            source,
                        } => self.authenticate(to, name, password, *source),
                        Request::Vouch { who } => self.vouch(speaker, who).into(),
                        Request::ScramBegin { name } => self.scram_begin(speaker, name).into(),
                        Request::ScramFinish {
                            name,
                            source,
                            said,
                            proof,
                        } => self
                            .scram_finish(speaker, (name, *source), said, proof)
                            .into(),
                        Request::CheckRecipient { name } => {
                            self.may_go_outside(speaker, name).into()
                        }
                        _ => Err(Refusal::new(
                            ErrorKind::NotFound,
                            format!("no such registry: {registry}"),
                        ))
                        .into(),
                    });
                }
            }
        }
        if let Some(registry) = self.lacks(memo, request) {
            return Err(Stop::Need(Need::News(registry)));
        }
        match request {
            Request::Authenticate {
                name,
                password,
                source,
            } => Ok(self.authenticate(to, name, password, *source)),
            Request::Vouch { who } => Ok(self.vouch(speaker, who).into()),
            Request::ScramBegin { name } => Ok(self.scram_begin(speaker, name).into()),
            Request::ScramFinish {
                name,
                source,
                said,
                proof,
            } => Ok(self
                .scram_finish(speaker, (name, *source), said, proof)
                .into()),
            Request::TicketCreate { .. } | Request::AppPasswordCreate { .. } => {
                Ok(Err(only_by_servers(request)).into())
            }
            Request::AppPasswords { name } => Ok(self.app_passwords(memo, speaker, name)?.into()),
            Request::Show { name } => Ok(self.show(memo, speaker, name)?.into()),
            Request::RegistryList => {
                Ok(Ok(Reply::Registries(self.holdings.keys().cloned().collect())).into())
            }
            Request::RegistryShow { registry } => Ok(self.show_registry(registry).into()),
            Request::Compare { registry } => self.compare_on_demand(memo, to, speaker, registry),
            Request::RegistrySeen { registry, stamp } => {
                Ok(self.who_has_seen(to, registry, *stamp))
            }
            Request::Check { group, list, who } => {
                if self.entry(group).is_none() {
                    return Ok(Err(Refusal::not_found(group)).into());
                }
                let check = self.check(memo, group, *list, who)?;
                Ok(Ok(Reply::Check(check)).into())
            }
            Request::CheckMany { group, list, who } => self.check_many(memo, group, *list, who),
            Request::Members {
                group,
                list,
                after,
                limit,
            } => Ok(self
                .members(speaker, group, (*list, after.as_deref(), *limit))
                .into()),
            Request::Entries {
                registry,
                after,
                limit,
            } => Ok(self
                .entries_page(speaker, registry, after.as_deref(), *limit)
                .into()),
            Request::EntryOfNumber { registry, number } => {
                Ok(self.entry_of_number(speaker, registry, *number).into())
            }
            Request::Watch {
                target,
                since,
                wait_ms,
            } => self.watch(memo, to, speaker, (target, since, *wait_ms)),
            Request::MemberOf {
                name,
                list,
                depth,
                after,
                limit,
            } => Ok(self
                .member_of(
                    memo,
                    speaker,
                    name,
                    (*list, *depth),
                    (after.as_deref(), *limit),
                )?
                .into()),
            Request::Held { group } => Ok(self.held_posts(memo, speaker, group)?.into()),
            Request::Conflicts {
                registry,
                after,
                limit,
            } => Ok(self
                .conflicts(memo, speaker, registry, (after.as_deref(), *limit))?
                .into()),
            Request::Dangling {
                registry,
                after,
                limit,
            } => Ok(self
                .dangling(memo, speaker, registry, (after.as_deref(), *limit))?
                .into()),
            Request::Find { name, door, known } => {
                Ok(self.find(memo, name, door.as_ref(), *known)?.into())
            }
            Request::CheckRecipient { name } => {
                Ok(self.check_recipient(memo, speaker, name)?.into())
            }
            Request::MaySendAs { name } => Ok(self
                .may_send_as(memo, speaker, name)?
                .map(|()| Reply::Ok)
                .into()),
            Request::Servers => {
                Ok(Ok(Reply::Servers(self.servers.values().cloned().collect())).into())
            }
            Request::Status => Ok(Ok(Reply::Status(Box::new(self.status()))).into()),
            Request::Trace { message } => Ok(self.trace(memo, speaker, *message)?.into()),
            Request::Queue(ask) => self.queue(memo, speaker, ask),
            Request::InboxList { name } => self.inbox_list(memo, to, speaker, name),
            Request::InboxDelete { name, messages } => {
                self.inbox_delete(memo, to, speaker, name, messages)
            }
            Request::Mailbox { name, ask } => self.mailbox(memo, to, speaker, name, ask),
            Request::Sieve { name, ask } => self.sieve(memo, to, speaker, name, ask),
            Request::RotateKey { wait } => Ok(self.rotate_key(to, speaker, *wait)),
            Request::RegistryCreate { .. }
            | Request::RegistryDelete { .. }
            | Request::HolderAdd { .. }
            | Request::HolderRemove { .. }
            | Request::RegistryPolicy { .. }
            | Request::TokenCreate { .. }
            | Request::Join { .. }
            | Request::Retire { .. } => self.administer(memo, to, speaker, request),
            Request::IndividualCreate { .. }
            | Request::GroupCreate { .. }
            | Request::Delete { .. }
            | Request::Change { .. }
            | Request::Aside { .. }
            | Request::DanglingRemove { .. } => self.change(memo, to, speaker, request),
            Request::Import { registry, entries } => {
                self.import(memo, to, speaker, registry, entries)
            }
        }
    }

    /// Whether mail to an address that is not of this Grapevine is taken from somebody: from those
    /// who have said who they are, and from the networks that the operator has named.
    pub(crate) fn may_go_outside(&self, speaker: &Speaker, name: &Name) -> Result<Reply, Refusal> {
        match speaker {
            Speaker::Anonymous => Err(self.no_relay(speaker, name)),
            Speaker::Individual { .. }
            | Speaker::Operator
            | Speaker::Server(_)
            | Speaker::Neighbour => match self.routed(name) {
                Some(_) => Ok(Reply::Ok),
                None => Err(self.no_relay(speaker, name)),
            },
        }
    }

    /// The speaker asks for a name whose registry is not in `gv`.
    pub(crate) fn no_relay(&self, speaker: &Speaker, name: &Name) -> Refusal {
        match speaker {
            Speaker::Anonymous => Refusal::not_allowed(format!(
                "{name} is not of this Grapevine, and nothing is relayed for strangers"
            )),
            Speaker::Individual { .. }
            | Speaker::Operator
            | Speaker::Server(_)
            | Speaker::Neighbour => Refusal::new(
                ErrorKind::NotFound,
                format!(
                    "no registry {} in this Grapevine, and no route leads there",
                    name.registry()
                ),
            ),
        }
    }

    /// The holders of a registry that can be asked; a request is passed on once.
    fn pass_to_holders(&self, to: &ReplyTo, registry: &RegistryName) -> Outcome {
        if matches!(to, ReplyTo::Peer(..)) {
            return Err(Refusal::unavailable(format!(
                "this server does not hold {registry}"
            )))
            .into();
        }
        Outcome::PassOn(self.holders_to_ask(registry))
    }

    pub(crate) fn pass_on(
        &mut self,
        to: ReplyTo,
        speaker: Speaker,
        request: Request,
        (seen, nothing_at): (Vec<Seen>, Vec<ServerName>),
        servers: Vec<ServerName>,
    ) {
        let mut others: Vec<ServerName> = servers
            .into_iter()
            .filter(|server| *server != self.config.server && self.is_up(server))
            .collect();
        if others.is_empty() {
            let why = "no server that holds this can be reached now; try again later";
            self.reply(to, Err(Refusal::unavailable(why)));
            return;
        }
        let server = others.remove(0);
        let id = self.next_id();
        let message = PeerMessage::Forward {
            id,
            speaker: speaker.clone(),
            request: request.clone(),
            seen: seen.clone(),
            nothing_at: nothing_at.clone(),
        };
        self.passed_on.insert(
            id,
            PassedOn {
                to,
                speaker,
                request,
                seen,
                nothing_at,
                server: server.clone(),
                others,
            },
        );
        self.timer(
            self.config.times.ask_ms.saturating_mul(2),
            Timer::PassedOn(id),
        );
        self.send(&server, message);
    }

    /// Whether this very change was passed on to this server before: done again, perhaps seconds
    /// later, it would undo what came after it.
    pub(crate) fn doubled(&mut self, from: &ServerName, id: u64, request: &Request) -> bool {
        let now_ms = self.now.mono_ms;
        request.is_change() && self.taken_over.insert((from.clone(), id), now_ms).is_some()
    }

    /// Forgets the changes whose doubles can't be on their way any more.
    pub(crate) fn forget_taken_over(&mut self) {
        let now_ms = self.now.mono_ms;
        self.taken_over
            .retain(|_, came_ms| now_ms.saturating_sub(*came_ms) < DOUBLE_MS);
    }

    pub(crate) fn take_forwarded(
        &mut self,
        from: &ServerName,
        id: u64,
        result: Result<Reply, Refusal>,
        as_of: Option<AsOf>,
    ) {
        if self
            .passed_on
            .get(&id)
            .is_none_or(|passed| passed.server != *from)
        {
            return;
        }
        let Some(passed) = self.passed_on.remove(&id) else {
            return;
        };
        self.remember_vouched(&passed.request, &result);
        match &result {
            Err(refusal) if refusal.kind == ErrorKind::Unavailable && !passed.others.is_empty() => {
                let PassedOn {
                    to,
                    speaker,
                    request,
                    seen,
                    nothing_at,
                    others,
                    ..
                } = passed;
                self.pass_on(to, speaker, request, (seen, nothing_at), others);
            }
            _ => self.reply_as_of(passed.to, result, as_of),
        }
    }

    pub(crate) fn passed_on_is_late(&mut self, id: u64) {
        let Some(passed) = self.passed_on.remove(&id) else {
            return;
        };
        if passed.request.is_change() {
            let why = format!(
                "{} did not answer in time: the change may have been made",
                passed.server
            );
            self.reply(passed.to, Err(Refusal::new(ErrorKind::Unknown, why)));
        } else {
            let PassedOn {
                to,
                speaker,
                request,
                seen,
                nothing_at,
                others,
                ..
            } = passed;
            self.pass_on(to, speaker, request, (seen, nothing_at), others);
        }
    }

    pub(crate) fn pass_to_others_than(&mut self, server: &ServerName) {
        let late: Vec<u64> = self
            .passed_on
            .iter()
            .filter(|(_, p)| p.server == *server)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.passed_on_is_late(id);
        }
    }

    /// Would a message for this name be taken? Unknown is neither yes nor no.
    fn check_recipient(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
    ) -> Result<Result<Reply, Refusal>, Stop> {
        let plain = name.without_detail();
        Ok(match self.resolve(memo, &plain)? {
            Resolution::Individual { sites, forward, .. }
                if sites.is_empty() && forward.is_empty() =>
            {
                Err(Refusal::new(
                    ErrorKind::NotFound,
                    format!("{name} has no inbox"),
                ))
            }
            Resolution::Individual {
                name,
                incarnation,
                sites,
                forward,
                ..
            } => {
                // Known where it would be deposited only; elsewhere the deposit finds it out.
                let here = forward.is_empty() && sites.contains(&self.config.server);
                match self.lacks_room(incarnation, &name, Usage::of(1))? {
                    Some(full) if here => Ok(Reply::RecipientFull(full.policy)),
                    Some(_) | None => Ok(Reply::Ok),
                }
            }
            Resolution::Group { name: group, .. } => {
                self.may_post(memo, speaker, &group)?.map(|()| Reply::Ok)
            }
            Resolution::NoSuch => match plain.group_of_owners() {
                Some(group) if matches!(self.resolve(memo, &group)?, Resolution::Group { .. }) => {
                    Ok(Reply::Ok)
                }
                _ if self.held(name.registry()) == Held::Unknown => {
                    self.may_go_outside(speaker, name)
                }
                _ if self.routed(name).is_some() => Ok(Reply::Ok),
                _ => match self.catcher(memo, &plain)? {
                    // It has a name: this does not come back here.
                    Some(to) => self.check_recipient(memo, speaker, &to)?,
                    None => Err(Refusal::not_found(name)),
                },
            },
        })
    }

    /// The envelope of a submission, checked against the speaker.
    pub(crate) fn check_envelope(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        envelope: &Envelope,
    ) -> Result<Result<(), Refusal>, Stop> {
        if envelope.recipients.is_empty() {
            return Ok(Err(Refusal::invalid("a message needs a recipient")));
        }
        if envelope.recipients.len() > grapevine_model::MAX_RECIPIENTS {
            let why = format!(
                "at most {} recipients in one message",
                grapevine_model::MAX_RECIPIENTS
            );
            return Ok(Err(Refusal::new(ErrorKind::TooLarge, why)));
        }
        if envelope.recipients.iter().any(|r| r.meant.is_some()) {
            return Ok(Err(Refusal::invalid(
                "what a name meant in a list is for servers to say",
            )));
        }
        for recipient in &envelope.recipients {
            let name = recipient.name.without_detail();
            // Only what can be told here and now: the rest is judged where the group is expanded.
            if self.held(name.registry()) == Held::Here
                && let Resolution::Group { name: group, .. } = self.resolve_here(&name)
                && let Ok(Err(refusal)) = self.may_post(memo, speaker, &group)
            {
                return Ok(Err(refusal));
            }
        }
        match (speaker, &envelope.return_path) {
            (Speaker::Individual { .. }, Some(path)) => Ok(self.may_send_as(memo, speaker, path)?),
            (Speaker::Individual { .. }, None) => Ok(Err(Refusal::not_allowed(
                "only the mail system itself sends without a return path",
            ))),
            // From outside, by the receiving door, which has asked for each recipient.
            (Speaker::Anonymous, _) => {
                let stranger = envelope
                    .recipients
                    .iter()
                    .find(|r| self.held(r.name.registry()) == Held::Unknown);
                Ok(stranger.map_or(Ok(()), |r| Err(self.no_relay(speaker, &r.name))))
            }
            (Speaker::Operator | Speaker::Server(_) | Speaker::Neighbour, _) => Ok(Ok(())),
        }
    }
}

/// Whether a request writes cells of the registry that it is about.
fn writes_entries(request: &Request) -> bool {
    matches!(
        request,
        Request::IndividualCreate { .. }
            | Request::GroupCreate { .. }
            | Request::Delete { .. }
            | Request::Change { .. }
            | Request::Aside { .. }
            | Request::DanglingRemove { .. }
            | Request::Import { .. }
    )
}
