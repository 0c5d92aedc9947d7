//! What a name is, whether it is held here or has to be asked; hints about
//! names held elsewhere.
//!
//! Guards P7: what can't be asked is `Unavailable`, never `NoSuch`. A hint may
//! be wrong: it costs a round trip, never a message.

use std::collections::BTreeMap;

use grapevine_model::{
    Answer, EntryKind, Name, PeerMessage, Question, RegistryName, Resolution, Seen, ServerName,
    SpaceId,
};

use crate::registry::database::{Database, Entry};
use crate::server::{Server, Timer};

/// Remembered answers at most; the oldest go first.
const MOST_HINTS: usize = 50_000;
/// Questions that one evaluation may ask in all: bounds what a hostile nesting can cost.
pub(crate) const MOST_QUESTIONS: usize = 256;

/// What an evaluation knows besides what is held here: the answers that it has been given so far,
/// and what its client has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memo {
    answers: BTreeMap<Question, Answer>,
    seen: Vec<Seen>,
    nothing_at: Vec<ServerName>,
}

impl Memo {
    /// Of somebody who has seen nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Of a client that has seen this.
    pub(crate) fn after(seen: Vec<Seen>) -> Self {
        let answers = BTreeMap::new();
        Self {
            answers,
            seen,
            nothing_at: Vec::new(),
        }
    }

    /// The same, with the sites that have said that nothing was ever put there into the mailbox in question.
    pub(crate) fn nothing_at(self, nothing_at: Vec<ServerName>) -> Self {
        Self { nothing_at, ..self }
    }

    pub(crate) fn has_nothing(&self) -> &[ServerName] {
        &self.nothing_at
    }

    pub(crate) fn get(&self, question: &Question) -> Option<&Answer> {
        self.answers.get(question)
    }

    pub(crate) fn insert(&mut self, question: Question, answer: Answer) {
        self.answers.insert(question, answer);
    }

    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }
}

/// Why an evaluation could not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// Ask this first, then evaluate again.
    Ask(Box<Question>),
    /// Something that the client has seen must come here first, in this registry.
    News(RegistryName),
    /// It can't be told now, and why.
    Unavailable(String),
}

/// The outcome of an evaluation, or what it needs first.
pub(crate) type Eval<T> = Result<T, Need>;

/// What the registration database says of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Here, complete.
    Here,
    /// At other servers.
    Elsewhere,
    /// There is no such registry.
    Unknown,
}

/// A remembered answer.
#[derive(Debug)]
pub(crate) struct Hint {
    pub(crate) resolution: Resolution,
    pub(crate) until_ms: u64,
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) question: Question,
    /// The parked evaluation that waits for it.
    pub(crate) parked: u64,
    pub(crate) seen: Vec<Seen>,
    pub(crate) asked: ServerName,
    pub(crate) tried: Vec<ServerName>,
}

impl Server {
    /// The holders of a registry, as `gv` says.
    pub(crate) fn holders(&self, registry: &RegistryName) -> Vec<ServerName> {
        self.holdings.get(registry).cloned().unwrap_or_default()
    }

    /// Where a registry is.
    pub(crate) fn held(&self, registry: &RegistryName) -> Held {
        if self.database(registry).is_some() {
            Held::Here
        } else if self.holdings.contains_key(registry) {
            Held::Elsewhere
        } else {
            Held::Unknown
        }
    }

    /// A registry held here and fetched whole.
    pub(crate) fn database(&self, registry: &RegistryName) -> Option<&Database> {
        let space = SpaceId::Registry(registry.clone());
        if self.spaces.get(&space)?.is_whole() {
            self.databases.get(registry)
        } else {
            None
        }
    }

    /// A living entry of a registry held here.
    pub(crate) fn entry(&self, name: &Name) -> Option<Entry<'_>> {
        let database = self.database(name.registry())?;
        if self.planted_later_has_the_name
            && self.config.server.as_str().ends_with('1')
            && let Some(later) = database.aside(name.folded()).pop()
        {
            return Some(later);
        }
        database.find(name.folded())
    }

    /// What a name is, from the registry held here.
    pub(crate) fn resolve_here(&self, name: &Name) -> Resolution {
        let Some(entry) = self.entry(name) else {
            return Resolution::NoSuch;
        };
        let Some(spelled) = entry.name() else {
            return Resolution::NoSuch;
        };
        match entry.kind() {
            EntryKind::Individual => Resolution::Individual {
                name: spelled,
                incarnation: entry.incarnation,
                sites: entry.sites(),
                forward: entry.forward(),
                quota: entry.quota(),
                created_ms: Some(entry.identity.created.time.wall_ms()),
            },
            EntryKind::Group => Resolution::Group {
                name: spelled,
                incarnation: entry.incarnation,
                posting: entry.posting(),
                posting_meant: entry.posting_meant(),
            },
        }
    }

    /// What a name is: from here, from the memo, from a hint, or by asking.
    pub(crate) fn resolve(&self, memo: &Memo, name: &Name) -> Eval<Resolution> {
        match self.held(name.registry()) {
            Held::Here => return Ok(self.resolve_here(name)),
            Held::Unknown if self.database(&RegistryName::gv()).is_some() => {
                return Ok(Resolution::NoSuch);
            }
            Held::Unknown | Held::Elsewhere => {}
        }
        let question = Question::Resolve(name.clone());
        match memo.get(&question) {
            Some(Answer::Resolved(resolution)) => return Ok(resolution.clone()),
            Some(_) => {
                return Err(Need::Unavailable(format!(
                    "no holder of {} can be asked",
                    name.registry()
                )));
            }
            None => {}
        }
        // A hint may be older than what the client has seen.
        let newer = memo
            .seen()
            .iter()
            .any(|seen| seen.registry == *name.registry());
        if let Some(hint) = self.hints.get(name).filter(|_| !newer) {
            // A name that did not exist may exist now: that is asked again each time.
            let believed = hint.resolution != Resolution::NoSuch || self.planted_hint_trusted;
            if believed && (hint.until_ms > self.now.mono_ms || self.planted_hint_trusted) {
                return Ok(hint.resolution.clone());
            }
        }
        Err(Need::Ask(Box::new(question)))
    }

    /// A hint has shown to be wrong.
    pub(crate) fn forget_hint(&mut self, name: &Name) {
        if !self.planted_hint_trusted {
            self.hints.remove(name);
        }
    }

    fn remember(&mut self, name: Name, resolution: Resolution) {
        if self.hints.len() >= MOST_HINTS {
            let now = self.now.mono_ms;
            self.hints.retain(|_, hint| hint.until_ms > now);
            if self.hints.len() >= MOST_HINTS {
                self.hints.clear();
            }
        }
        let until_ms = self.now.mono_ms.saturating_add(self.config.times.hint_ms);
        self.hints.insert(
            name,
            Hint {
                resolution,
                until_ms,
            },
        );
    }

    /// Asks a question on behalf of a parked evaluation.
    pub(crate) fn ask(&mut self, parked: u64, question: Question, seen: Vec<Seen>) {
        self.ask_next(Asking {
            question,
            parked,
            seen,
            asked: self.config.server.clone(),
            tried: Vec::new(),
        });
    }

    fn ask_next(&mut self, mut asking: Asking) {
        let holders = self.holders_to_ask(asking.question.registry());
        let next = holders.into_iter().find(|server| {
            *server != self.config.server && self.is_up(server) && !asking.tried.contains(server)
        });
        match next {
            Some(server) => {
                let id = self.next_id();
                asking.asked = server.clone();
                asking.tried.push(server.clone());
                let (question, seen) = (asking.question.clone(), asking.seen.clone());
                self.asking.insert(id, asking);
                self.send(&server, PeerMessage::Ask { id, question, seen });
                self.timer(self.config.times.ask_ms, Timer::Ask(id));
            }
            None => self.resume(asking.parked, asking.question, Answer::Unavailable),
        }
    }

    pub(crate) fn ask_is_late(&mut self, id: u64) {
        if let Some(asking) = self.asking.remove(&id) {
            self.ask_next(asking);
        }
    }

    /// A server went down: questions to it go to the next holder.
    pub(crate) fn ask_others_than(&mut self, server: &ServerName) {
        let late: Vec<u64> = self
            .asking
            .iter()
            .filter(|(_, a)| a.asked == *server)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.ask_is_late(id);
        }
    }

    pub(crate) fn take_answer(&mut self, from: &ServerName, id: u64, answer: Answer) {
        if self
            .asking
            .get(&id)
            .is_none_or(|asking| asking.asked != *from)
        {
            return;
        }
        let Some(asking) = self.asking.remove(&id) else {
            return;
        };
        match (&asking.question, &answer) {
            (_, Answer::Unavailable) => self.ask_next(asking),
            (Question::Resolve(name), Answer::Resolved(resolution)) => {
                self.remember(name.clone(), resolution.clone());
                self.resume(asking.parked, asking.question, answer);
            }
            (Question::IsIn { .. }, Answer::Level { .. }) => {
                self.remember_told(asking.question.clone(), answer.clone());
                self.resume(asking.parked, asking.question, answer);
            }
            (Question::Sites { .. }, Answer::Sites { .. })
            | (Question::ListedIn { .. }, Answer::Groups { .. }) => {
                self.resume(asking.parked, asking.question, answer);
            }
            (Question::Living { incarnations, .. }, Answer::Lives(lives))
                if lives.len() == incarnations.len() =>
            {
                self.resume(asking.parked, asking.question, answer);
            }
            // An answer of another kind than the question is none.
            (
                Question::Resolve(_)
                | Question::IsIn { .. }
                | Question::ListedIn { .. }
                | Question::Sites { .. }
                | Question::Living { .. },
                Answer::Resolved(_)
                | Answer::Level { .. }
                | Answer::Groups { .. }
                | Answer::Sites { .. }
                | Answer::Lives(_),
            ) => {
                self.ask_next(asking);
            }
        }
    }

    /// Answers another server's question, from what is held here only.
    pub(crate) fn answer_question(&self, memo: &Memo, question: &Question) -> Eval<Answer> {
        let lacking = match question {
            Question::Resolve(name) => self.first_lacking(memo, |r| r == name.registry()),
            Question::IsIn { .. } | Question::Sites { .. } => self.first_lacking(memo, |_| true),
            Question::ListedIn { registry, .. } | Question::Living { registry, .. } => {
                self.first_lacking(memo, |r| r == registry)
            }
        };
        if let Some(registry) = lacking {
            return Err(Need::News(registry));
        }
        Ok(if self.held(question.registry()) == Held::Here {
            match question {
                Question::Resolve(name) => Answer::Resolved(self.resolve_here(name)),
                Question::IsIn {
                    group,
                    meant,
                    list,
                    who,
                    incarnation,
                } => self.level((group, *meant), *list, who, *incarnation),
                Question::ListedIn {
                    registry,
                    list,
                    who,
                    after,
                } => self.listing_here(registry, *list, who, after.as_deref()),
                Question::Living {
                    registry,
                    incarnations,
                } => self.lives_here(registry, incarnations),
                Question::Sites { name, incarnation } => self.sites_of_member(name, *incarnation),
            }
        } else {
            Answer::Unavailable
        })
    }
}
