//! One client: it plays GrapevineUser for one person.
//!
//! It does one thing at a time, waits no longer than its patience, and tries a submission again
//! under the same id at another server. What it is told goes to the oracle, and nothing else does.

use grapevine_model::{
    Check, EntryChange, Envelope, EnvelopeRecipient, GroupList, Hlc, InboxListing, Member,
    MessageId, Name, OriginId, Reply, Request, ReturnContent, Secret, Speaker, Stamp, Submission,
    Written,
};

use crate::clock::EPOCH_MS;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::effects::hash;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};
use crate::invariants::removed_stays_removed::{IN, OUT};
use crate::invariants::{
    denied_has_no_effect, own_writes_are_read, removed_stays_removed, unknown_is_never_empty,
};
use crate::oracle::{Accepted, Deletion, Key, Oracle, Sent, WriteId};
use crate::workload::{self, Errand};
use crate::world::{Person, World};

/// A submission is tried at so many servers before the client gives it up.
const SUBMIT_TRIES: u32 = 5;

/// Everything that a client can touch.
pub(crate) struct Stage<'a> {
    /// The cluster.
    pub(crate) cluster: &'a mut Cluster,
    /// The oracle.
    pub(crate) oracle: &'a mut Oracle,
    /// The inhabitants.
    pub(crate) world: &'a World,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    me: ActorIndex,
    /// For whom it works.
    pub(crate) person: Person,
    dice: Dice,
    server: NodeIndex,
    job: Option<Job>,
    working: bool,
    pace_us: u64,
}

#[derive(Debug)]
struct Job {
    call: CallId,
    asked: Asked,
    kind: JobKind,
}

/// Of whom something was asked, and when.
#[derive(Debug, Clone, Copy)]
struct Asked {
    node: NodeIndex,
    us: u64,
    disks_lost: u32,
}

#[derive(Debug)]
enum JobKind {
    Submit {
        submission: Box<Submission>,
        sent: Box<Sent>,
        tries: u32,
    },
    List,
    /// Which, and whether the server that is asked is a site.
    DeleteMail(Vec<MessageId>, bool),
    Write(WriteId),
    CheckStable(Name, Name, Check),
    CheckClub(Name, Name),
    /// Is it as the write with this stamp left it?
    ReadBack(Key, Stamp),
    Truth(String, Truth),
    CreateLate(Name),
    Whatever,
    Hostile(String),
}

/// What is known to be the only right answer.
#[derive(Debug)]
enum Truth {
    /// `Ok`.
    Ok,
    /// A login works.
    LoggedIn,
    /// A login does not work.
    Rejected,
    /// These members, and all of them.
    Members(std::collections::BTreeSet<Name>),
}

impl Client {
    /// A client that works for a person.
    pub(crate) fn new(me: ActorIndex, person: Person, dice: Dice, pace_us: u64) -> Self {
        Self {
            me,
            person,
            dice,
            server: 0,
            job: None,
            working: true,
            pace_us,
        }
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// It begins nothing more.
    pub(crate) fn stop(&mut self) {
        self.working = false;
    }

    /// Its time has come.
    pub(crate) fn woken(&mut self, stage: &mut Stage<'_>) {
        if !self.working || self.job.is_some() {
            return;
        }
        if self.dice.chance(300) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        let errand = workload::choose(&self.person, stage.world, &mut self.dice);
        self.begin(stage, errand);
    }

    fn begin(&mut self, stage: &mut Stage<'_>, errand: Errand) {
        let me = self.person.name.clone();
        match errand {
            Errand::Submit(letter) => {
                let (submission, sent) = self.letter(stage, letter);
                if let Some(id) = submission.id {
                    stage.oracle.sends(id, sent.clone());
                } else {
                    stage.oracle.nameless = true;
                }
                self.submit(stage, Box::new(submission), Box::new(sent), 1);
            }
            Errand::List => self.request(stage, JobKind::List, Request::InboxList { name: me }),
            Errand::Edit { group, who, add } => {
                let (value, change) = match add {
                    workload::Edit::Add => (IN, EntryChange::ListAdd as fn(_, _) -> _),
                    workload::Edit::Remove => (OUT, EntryChange::ListRemove as fn(_, _) -> _),
                };
                let key = Key::Member {
                    group: group.clone(),
                    who: who.clone(),
                };
                let change = change(GroupList::Members, Member::from(who));
                let write = stage
                    .oracle
                    .writes(stage.cluster, key, value.to_owned(), self.server);
                let request = Request::Change {
                    name: group,
                    change,
                };
                self.request(stage, JobKind::Write(write), request);
            }
            Errand::Password(password) => {
                let key = Key::Password(me.clone());
                let change = EntryChange::Password(hash(&password));
                let write = stage
                    .oracle
                    .writes(stage.cluster, key, password, self.server);
                let request = Request::Change { name: me, change };
                self.request(stage, JobKind::Write(write), request);
            }
            Errand::Login(login) => {
                let never_changed = !stage.oracle.writes.contains_key(&Key::Password(me.clone()));
                let (password, kind) = match login {
                    workload::Login::Right if never_changed => {
                        let question = format!("{me} logs in");
                        let password = self.person.password.clone();
                        (password, JobKind::Truth(question, Truth::LoggedIn))
                    }
                    workload::Login::Right => (self.person.password.clone(), JobKind::Whatever),
                    workload::Login::Wrong => {
                        let question = format!("{me} with a wrong password");
                        (
                            "wrong".to_owned(),
                            JobKind::Truth(question, Truth::Rejected),
                        )
                    }
                };
                let password = Secret(password);
                self.ask(
                    stage,
                    kind,
                    Speaker::Anonymous,
                    Request::Authenticate {
                        name: me,
                        password,
                        source: grapevine_model::Source::Local,
                    },
                );
            }
            Errand::CheckStable { group, who } => {
                let yes = stage
                    .world
                    .closures
                    .get(&group)
                    .is_some_and(|all| all.contains(&who));
                let truth = if yes { Check::Yes } else { Check::No };
                let kind = JobKind::CheckStable(group.clone(), who.clone(), truth);
                let list = GroupList::Members;
                self.request(stage, kind, Request::Check { group, list, who });
            }
            Errand::CheckClub { group, who } => {
                let kind = JobKind::CheckClub(group.clone(), who.clone());
                let list = GroupList::Members;
                self.request(stage, kind, Request::Check { group, list, who });
            }
            Errand::CheckRecipient(name) => {
                let kind = JobKind::Truth(format!("is {name} a recipient"), Truth::Ok);
                self.request(stage, kind, Request::CheckRecipient { name });
            }
            Errand::Members(group) => {
                let all = stage.world.direct.get(&group).cloned().unwrap_or_default();
                let kind = JobKind::Truth(format!("members of {group}"), Truth::Members(all));
                let request = Request::Members {
                    group,
                    list: GroupList::Members,
                    after: None,
                    limit: 100,
                };
                self.request(stage, kind, request);
            }
            Errand::CreateLate(name) => {
                let request = create(name.clone());
                self.request(stage, JobKind::CreateLate(name), request);
            }
            Errand::CreatePassing(name) => self.request(stage, JobKind::Whatever, create(name)),
            Errand::DeletePassing(name) => {
                self.request(stage, JobKind::Whatever, Request::Delete { name });
            }
            Errand::Twins(request) => self.request(stage, JobKind::Whatever, request),
            Errand::Hostile(speaker, request) => {
                let kind = JobKind::Hostile(format!("{request:?} as {speaker:?}"));
                self.ask(stage, kind, speaker, request);
            }
            Errand::Spoof(victim) => {
                let from = victim.clone();
                let letter = workload::Letter::to(vec![victim]);
                let (mut submission, _) = self.letter(stage, letter);
                submission.envelope.return_path = Some(from.clone());
                let call = self.call(
                    stage,
                    self.person.speaker(),
                    Ask::Submit(Box::new(submission)),
                );
                self.start(stage, call, JobKind::Hostile(format!("send as {from}")));
            }
        }
    }

    fn letter(&mut self, stage: &mut Stage<'_>, letter: workload::Letter) -> (Submission, Sent) {
        let body = stage.cluster.new_body();
        let now_ms = EPOCH_MS + stage.cluster.now_us() / 1000;
        let id = letter.nameless.then_some(()).map_or_else(
            || {
                Some(MessageId {
                    time: Hlc::at_ms(now_ms),
                    origin: OriginId::client(self.dice.next()),
                })
            },
            |()| None,
        );
        let sent = letter.sent(body, &self.person.name, stage.world);
        let submission = Submission {
            id,
            speaker: self.person.speaker(),
            envelope: Envelope {
                return_path: Some(self.person.name.clone()),
                recipients: letter
                    .recipients
                    .into_iter()
                    .map(EnvelopeRecipient::from)
                    .collect(),
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body,
            reports: None,
        };
        (submission, sent)
    }

    fn submit(
        &mut self,
        stage: &mut Stage<'_>,
        submission: Box<Submission>,
        sent: Box<Sent>,
        tries: u32,
    ) {
        let call = self.call(
            stage,
            submission.speaker.clone(),
            Ask::Submit(submission.clone()),
        );
        let kind = JobKind::Submit {
            submission,
            sent,
            tries,
        };
        self.start(stage, call, kind);
    }

    fn request(&mut self, stage: &mut Stage<'_>, kind: JobKind, request: Request) {
        self.ask(stage, kind, self.person.speaker(), request);
    }

    fn ask(&mut self, stage: &mut Stage<'_>, kind: JobKind, speaker: Speaker, request: Request) {
        let call = self.call(stage, speaker, Ask::Request(request));
        self.start(stage, call, kind);
    }

    fn call(&self, stage: &mut Stage<'_>, speaker: Speaker, ask: Ask) -> CallId {
        stage.cluster.call(self.me, self.server, speaker, ask)
    }

    fn start(&mut self, stage: &Stage<'_>, call: CallId, kind: JobKind) {
        self.job = Some(Job {
            call,
            asked: Asked {
                node: self.server,
                us: stage.cluster.now_us(),
                disks_lost: stage.cluster.disks_lost(),
            },
            kind,
        });
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, stage: &mut Stage<'_>, call: CallId, outcome: &Outcome) {
        let Some(job) = self.job.take_if(|job| job.call == call) else {
            return;
        };
        let asked = job.asked;
        let node = asked.node;
        match job.kind {
            JobKind::Submit {
                submission,
                sent,
                tries,
            } => self.submitted(stage, asked, submission, sent, tries, outcome),
            JobKind::List => self.listed(stage, asked, outcome),
            JobKind::DeleteMail(ids, is_site) => {
                if let Outcome::Done(Reply::Written(written)) = outcome {
                    let deletion = Deletion {
                        at_us: stage.cluster.now_us(),
                        node,
                        is_site,
                        moves: 0,
                        copies: written.copies,
                        disks_lost: asked.disks_lost,
                    };
                    stage.oracle.deleted(&self.person.name, &ids, deletion);
                }
            }
            JobKind::Write(write) => {
                stage.oracle.written(stage.cluster, &write, outcome);
                if let Outcome::Done(Reply::Written(written)) = outcome {
                    self.read_back(stage, write.key(), written);
                }
            }
            JobKind::ReadBack(key, stamp) => {
                let question = format!("{key:?} at node {node}");
                let writes = stage.oracle.writes.get(&key).map_or(&[][..], Vec::as_slice);
                let found = own_writes_are_read::checked(
                    &question,
                    writes,
                    stamp,
                    outcome,
                    stage.cluster.absences(),
                );
                note(stage, own_writes_are_read::NAME, found);
            }
            JobKind::CheckStable(group, who, truth) => {
                let question = format!("{who} in {group} at node {node}");
                let found = unknown_is_never_empty::checked(&question, truth, outcome);
                note(stage, unknown_is_never_empty::NAME, found);
            }
            JobKind::CheckClub(group, who) => {
                let question = format!("{who} in {group}");
                let origin = stage.cluster.nodes()[node].origin;
                let key = Key::Member { group, who };
                let writes = stage.oracle.writes.get(&key).map_or(&[][..], Vec::as_slice);
                let found = removed_stays_removed::checked(
                    &question,
                    writes,
                    asked.us,
                    node,
                    origin,
                    outcome,
                    stage.cluster.absences(),
                );
                note(stage, removed_stays_removed::NAME, found);
            }
            JobKind::Truth(question, truth) => {
                let question = format!("{question} at node {node}");
                let found = answered(stage.world, &question, &truth, outcome);
                note(stage, unknown_is_never_empty::NAME, found);
            }
            JobKind::CreateLate(name) => {
                if let Outcome::Done(Reply::Written(written)) = outcome
                    && written.copies >= 2
                {
                    stage.oracle.created.insert(name);
                }
            }
            JobKind::Whatever => {}
            JobKind::Hostile(what) => {
                let found = denied_has_no_effect::answered(&what, outcome);
                note(stage, denied_has_no_effect::NAME, found);
            }
        }
        if matches!(outcome, Outcome::NotSent | Outcome::Unknown) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        if self.job.is_none() && self.working {
            let pause_us = self.dice.between(self.pace_us / 10, self.pace_us * 2);
            stage.cluster.wake_in(self.me, pause_us);
        }
    }

    /// What was written is often read again at once, at whichever server.
    fn read_back(&mut self, stage: &mut Stage<'_>, key: &Key, written: &Written) {
        let (Key::Member { group, who }, Some(stamp)) = (key, written.stamp) else {
            return;
        };
        if self.dice.chance(300) {
            return;
        }
        self.server = any_server(stage.cluster, &mut self.dice);
        let check = Request::Check {
            group: group.clone(),
            list: GroupList::Members,
            who: who.clone(),
        };
        let ask = Ask::After(written.seen.clone(), check);
        let call = self.call(stage, self.person.speaker(), ask);
        self.start(stage, call, JobKind::ReadBack(key.clone(), stamp));
    }

    fn submitted(
        &mut self,
        stage: &mut Stage<'_>,
        asked: Asked,
        submission: Box<Submission>,
        sent: Box<Sent>,
        tries: u32,
        outcome: &Outcome,
    ) {
        match outcome {
            Outcome::Done(Reply::Accepted { message, copies }) => {
                if submission.id.is_some_and(|id| id != *message) {
                    let what = format!("{:?} was accepted as {message}", submission.id);
                    note(stage, "a brought id is kept", Some(what));
                }
                stage.oracle.sends(*message, (*sent).clone());
                let accepted = Accepted {
                    at_us: stage.cluster.now_us(),
                    node: asked.node,
                    copies: *copies,
                    disks_lost: asked.disks_lost,
                };
                stage.oracle.accepted(*message, accepted);
            }
            Outcome::Done(other) => {
                let what = format!("a submission is answered {other:?}");
                note(stage, "answers fit", Some(what));
            }
            Outcome::Refused(refusal) => {
                if sent.never.is_empty() && sent.either.is_empty() && !sent.passing {
                    let question = format!(
                        "{} submits to {:?}: {}",
                        self.person.name, sent.recipients, refusal.why
                    );
                    let found = unknown_is_never_empty::refused(&question, refusal.kind);
                    note(stage, unknown_is_never_empty::NAME, found);
                }
            }
            Outcome::NotSent | Outcome::Unknown => {}
        }
        let again = match outcome {
            Outcome::Done(_) => false,
            Outcome::NotSent => true,
            // Without an id of its own, a second try would be a second message.
            Outcome::Unknown => submission.id.is_some(),
            Outcome::Refused(refusal) => refusal.kind == grapevine_model::ErrorKind::Unavailable,
        };
        if again && tries < SUBMIT_TRIES {
            self.server = any_server(stage.cluster, &mut self.dice);
            self.submit(stage, submission, sent, tries + 1);
        }
    }

    fn listed(&mut self, stage: &mut Stage<'_>, asked: Asked, outcome: &Outcome) {
        let node = asked.node;
        let me = self.person.name.clone();
        match outcome {
            Outcome::Done(Reply::Inbox(listing)) => {
                stage
                    .oracle
                    .listed(asked.us, node, &me, listing, stage.cluster);
                self.delete_some(stage, listing);
            }
            Outcome::Done(other) => {
                note(stage, "answers fit", Some(format!("a listing: {other:?}")))
            }
            Outcome::Refused(refusal) => {
                let question = format!("{me} lists its mail at node {node}: {}", refusal.why);
                let found = unknown_is_never_empty::refused(&question, refusal.kind);
                note(stage, unknown_is_never_empty::NAME, found);
            }
            Outcome::NotSent | Outcome::Unknown => {}
        }
    }

    fn delete_some(&mut self, stage: &mut Stage<'_>, listing: &InboxListing) {
        if self.dice.chance(500) {
            return;
        }
        let mut messages: Vec<MessageId> = listing.messages.iter().map(|l| l.message).collect();
        self.dice.shuffle(&mut messages);
        messages.truncate(self.dice.index(3) + 1);
        if messages.is_empty() {
            return;
        }
        let name = self.person.name.clone();
        stage.oracle.deletes(&name, &messages);
        let me = &stage.cluster.nodes()[self.server].name;
        let is_site = listing.sites.contains(me);
        let kind = JobKind::DeleteMail(messages.clone(), is_site);
        self.request(stage, kind, Request::InboxDelete { name, messages });
    }
}

fn answered(world: &World, question: &str, truth: &Truth, outcome: &Outcome) -> Option<String> {
    match (truth, outcome) {
        (Truth::Ok, Outcome::Done(Reply::Ok))
        | (Truth::LoggedIn, Outcome::Done(Reply::Authenticated(_)))
        | (_, Outcome::NotSent | Outcome::Unknown) => None,
        (Truth::Members(all), Outcome::Done(Reply::Members { members, .. })) => {
            let said = members.iter().filter_map(|member| match member {
                // Listed under their present names.
                Member::Name(name) => Some(world.first_name(name).unwrap_or(name).clone()),
                Member::Anyone | Member::AnyoneIn(_) => None,
            });
            let said: std::collections::BTreeSet<Name> = said.collect();
            (said != *all).then(|| format!("{question}: {said:?}, in truth {all:?}"))
        }
        (Truth::Rejected, Outcome::Refused(_)) => None,
        (_, Outcome::Refused(refusal)) => {
            unknown_is_never_empty::refused(&format!("{question}: {}", refusal.why), refusal.kind)
        }
        (_, Outcome::Done(reply)) => Some(format!("{question}: {reply:?}")),
    }
}

fn create(name: Name) -> Request {
    Request::IndividualCreate {
        name,
        password: None,
        sites: Vec::new(),
    }
}

fn note(stage: &mut Stage<'_>, invariant: &'static str, found: Option<String>) {
    if let Some(what) = found {
        stage.cluster.violation(invariant, what);
    }
}

/// Any machine that its operator has not given up.
pub(crate) fn any_server(cluster: &Cluster, dice: &mut Dice) -> NodeIndex {
    let nodes: Vec<NodeIndex> = (0..cluster.nodes().len())
        .filter(|node| !cluster.nodes()[*node].gone)
        .collect();
    dice.pick(&nodes).copied().unwrap_or(0)
}
