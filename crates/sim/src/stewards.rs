//! Stewards: registrars at work while mail flows and everything goes wrong. They move mailboxes,
//! rename somebody to and fro, give an alias and take it back, change a quota, and judge what their
//! moderated list holds.

use grapevine_model::{
    EntryChange, HeldPost, MessageId, Name, Quota, Reply, Request, ServerName, Verdict,
};

use crate::client::{Stage, any_server};
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};
use crate::world::Registry;

/// Of so many in a thousand posts a steward says yes.
const APPROVED_PERMILLE: u64 = 700;
/// The sites of a mailbox.
const SITES: usize = 2;

/// The steward of one registry.
#[derive(Debug)]
pub(crate) struct Steward {
    me: ActorIndex,
    registry: Registry,
    dice: Dice,
    server: NodeIndex,
    call: Option<(CallId, Doing)>,
    working: bool,
    pace_us: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    /// Looks at what is held.
    Look,
    /// Has judged.
    Judge { message: MessageId, yes: bool },
    /// Something that may be done or not.
    Whatever,
}

impl Steward {
    pub(crate) fn new(me: ActorIndex, registry: Registry, dice: Dice, pace_us: u64) -> Self {
        Self {
            me,
            registry,
            dice,
            server: 0,
            call: None,
            working: true,
            pace_us,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.call.is_none()
    }

    pub(crate) fn stop(&mut self) {
        self.working = false;
    }

    /// Its time has come.
    pub(crate) fn woken(&mut self, stage: &mut Stage<'_>) {
        if !self.working || self.call.is_some() {
            return;
        }
        if self.dice.chance(300) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        let (request, doing) = match self.dice.below(100) {
            0..40 => (held(&self.registry.forum), Doing::Look),
            40..60 => (self.move_mailbox(stage), Doing::Whatever),
            60..80 => (self.rename(), Doing::Whatever),
            80..95 => (self.alias(), Doing::Whatever),
            _ => {
                let most = self.dice.between(1, 6);
                (quota(&self.registry.small.name, most), Doing::Whatever)
            }
        };
        self.ask(stage, request, doing);
    }

    fn ask(&mut self, stage: &mut Stage<'_>, request: Request, doing: Doing) {
        let speaker = self.registry.registrar.speaker();
        let ask = Ask::Request(request);
        let call = stage.cluster.call(self.me, self.server, speaker, ask);
        self.call = Some((call, doing));
    }

    /// Somebody's mailbox to two servers that nobody has given up.
    fn move_mailbox(&mut self, stage: &mut Stage<'_>) -> Request {
        let own = &self.registry.name;
        let people = stage.world.everybody();
        let own: Vec<&Name> = people
            .iter()
            .map(|person| &person.name)
            .filter(|name| name.registry() == own)
            .collect();
        let who = self.dice.pick(&own).copied();
        let name = who.unwrap_or(&self.registry.small.name).clone();
        let nodes = stage.cluster.nodes().iter().filter(|node| !node.gone);
        let mut sites: Vec<ServerName> = nodes.map(|node| node.name.clone()).collect();
        self.dice.shuffle(&mut sites);
        sites.truncate(SITES);
        stage.oracle.moves(&name);
        change(&name, EntryChange::Sites(sites))
    }

    /// Whatever he is called now, his first name leads to him.
    fn rename(&mut self) -> Request {
        let first = &self.registry.wanderer.name;
        let names = [first, &self.registry.wanders[0], &self.registry.wanders[1]];
        let to = names[self.dice.index(names.len())].clone();
        change(first, EntryChange::Rename(to))
    }

    fn alias(&mut self) -> Request {
        let nick = self.registry.nick.clone();
        let of = &self.registry.wanderer.name;
        match self.dice.chance(600) {
            true => change(of, EntryChange::AliasAdd(nick)),
            false => change(of, EntryChange::AliasRemove(nick)),
        }
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, stage: &mut Stage<'_>, call: CallId, outcome: &Outcome) {
        let Some((_, doing)) = self.call.take_if(|(own, _)| *own == call) else {
            return;
        };
        match (doing, outcome) {
            (Doing::Look, Outcome::Done(Reply::Held(posts))) if self.working => {
                if let Some(post) = self.dice.pick(posts).cloned() {
                    self.judge(stage, &post);
                }
            }
            (Doing::Judge { message, yes }, Outcome::Done(_)) => {
                stage.oracle.judged(message, yes);
            }
            _ => {}
        }
        if self.call.is_some() {
            return;
        }
        if matches!(outcome, Outcome::NotSent | Outcome::Unknown) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        if self.working {
            let pause_us = self.dice.between(self.pace_us, self.pace_us * 4);
            stage.cluster.wake_in(self.me, pause_us);
        }
    }

    fn judge(&mut self, stage: &mut Stage<'_>, post: &HeldPost) {
        let yes = self.dice.chance(APPROVED_PERMILLE);
        let message = post.message;
        stage.oracle.judges(message, yes);
        let request = verdict(&self.registry.forum, message, yes);
        self.ask(stage, request, Doing::Judge { message, yes });
    }

    /// When nothing goes wrong any more, there is room, and all that is still held goes on: patience is
    /// measured with wall clocks, and would outlast the run where they jump.
    pub(crate) fn approve_all(&self, stage: &mut Stage<'_>) {
        let Some(node) = stage.cluster.up().first().copied() else {
            return;
        };
        let speaker = self.registry.registrar.speaker();
        let roomy = EntryChange::Quota(Quota::default());
        let roomy = change(&self.registry.small.name, roomy);
        stage.cluster.ask(node, speaker.clone(), roomy);
        let forum = &self.registry.forum;
        let Outcome::Done(Reply::Held(posts)) =
            stage.cluster.ask(node, speaker.clone(), held(forum))
        else {
            return;
        };
        for post in posts {
            stage.oracle.judges(post.message, true);
            let request = verdict(forum, post.message, true);
            let outcome = stage.cluster.ask(node, speaker.clone(), request);
            if matches!(outcome, Outcome::Done(_)) {
                stage.oracle.judged(post.message, true);
            }
        }
    }
}

fn change(name: &Name, change: EntryChange) -> Request {
    Request::Change {
        name: name.clone(),
        change,
    }
}

fn held(forum: &Name) -> Request {
    Request::Held {
        group: forum.clone(),
    }
}

fn verdict(forum: &Name, message: MessageId, yes: bool) -> Request {
    let verdict = match yes {
        true => Verdict::Approve,
        false => Verdict::Reject("not here".to_owned()),
    };
    change(forum, EntryChange::Judge { message, verdict })
}

/// So many messages, and no more.
pub(crate) fn quota(name: &Name, messages: u64) -> Request {
    let quota = Quota {
        octets: None,
        messages: Some(messages),
    };
    change(name, EntryChange::Quota(quota))
}
