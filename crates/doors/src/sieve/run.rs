//! Runs a script for one message: gives the list of what is to be done, and does none of it.
//!
//! It ends soon, whatever the script says (`limits.rs`), and never loses a message by a mistake: where something goes wrong, or an
//! action may not be taken, the message is kept in the inbox (RFC 5228 2.10.6) and a note says why.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{Flag, FolderPath, Name};

use super::flags;
use super::header::Header;
use super::limits::{
    ACTIONS, ALL_VARIABLES_BYTES, REASON_BYTES, REDIRECTED_MOST, REDIRECTS, VARIABLE_BYTES,
    VARIABLES,
};
use super::matching::{TooMuchWork, Work};
use super::redirect;
use super::script::{Command, FlagChange, Goes, Missing, Modifier, Script};
use super::text::{Template, Variables, cut};
use super::vacation::{self, Answer, is_of_list};

/// All that a script may know about a message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its size in octets.
    pub size: u64,
    /// The return path; none for reports and the like.
    pub from: Option<&'a Name>,
    /// The recipient, as it was addressed.
    pub to: &'a Name,
    /// How it came.
    pub way: Way,
    /// All names of the mailbox's owner, without details; the first is what he is called.
    pub own: &'a [Name],
    /// The folders that there are, beside the inbox.
    pub folders: &'a BTreeSet<String>,
}

/// How a message came to a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Somebody named him.
    Direct,
    /// By a distribution list of this Grapevine.
    List,
}

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put it into the inbox.
    Keep {
        /// With these flags.
        flags: Vec<Flag>,
    },
    /// Put it into a folder.
    FileInto {
        /// Which.
        path: FolderPath,
        /// With these flags.
        flags: Vec<Flag>,
        /// What to do when there is no such folder.
        if_missing: IfMissing,
    },
    /// Send it on.
    Redirect {
        /// To whom.
        to: Name,
    },
    /// Refuse it: its sender is told.
    Reject {
        /// Why.
        reason: String,
    },
    /// Answer its sender, if he was not answered lately.
    Vacation(Box<Answer>),
}

/// What to do when there is no such folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Put the message into the inbox.
    Inbox,
    /// Make the folder.
    Create,
}

/// What a script has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What is to be done, in order. Nothing: the message is discarded.
    pub actions: Vec<Action>,
    /// What did not go as the script's author may have thought, for him or an operator; no content of the message.
    pub notes: Vec<String>,
}

impl Outcome {
    /// What becomes of a message whose script can't be used.
    pub fn kept(why: String) -> Self {
        Self {
            actions: vec![Action::Keep { flags: Vec::new() }],
            notes: vec![why],
        }
    }
}

impl Script {
    /// Decides what is to be done with a message.
    pub fn run(&self, message: Message<'_>) -> Outcome {
        let mut run = Run {
            message,
            state: State::default(),
            work: Work::default(),
            actions: Vec::new(),
            notes: Vec::new(),
            implicit: Implicit::Keep,
        };
        match run.commands(&self.commands) {
            Ok(Flow::On | Flow::Stop) => run.finished(),
            Err(Trouble(why)) => Outcome::kept(why),
        }
    }
}

/// A script can't go on.
#[derive(Debug)]
pub(super) struct Trouble(pub(super) String);

impl From<TooMuchWork> for Trouble {
    fn from(_: TooMuchWork) -> Self {
        Self("the script compares too much for one message".into())
    }
}

enum Flow {
    On,
    Stop,
}

/// Whether the message goes to the inbox when nothing else was said.
#[derive(PartialEq, Eq)]
enum Implicit {
    Keep,
    Cancelled,
}

pub(super) struct Run<'a> {
    pub(super) message: Message<'a>,
    pub(super) state: State,
    pub(super) work: Work,
    actions: Vec<Action>,
    notes: Vec<String>,
    implicit: Implicit,
}

/// What changes while a script runs.
#[derive(Default)]
pub(super) struct State {
    /// The variables by their names; those that hold flags, too.
    variables: BTreeMap<String, String>,
    /// What the wildcards of the last `:matches` stood for, all of it first.
    pub(super) captured: Vec<String>,
    /// The flags of the message so far (RFC 5232 section 2).
    pub(super) flags: Vec<Flag>,
}

impl Variables for State {
    fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn matched(&self, number: usize) -> &str {
        self.captured.get(number).map_or("", String::as_str)
    }
}

impl State {
    /// Sets a variable, if there is room.
    fn set(&mut self, name: &str, mut value: String) -> Result<(), Trouble> {
        cut(&mut value, VARIABLE_BYTES);
        self.variables.insert(name.to_owned(), value);
        let held: usize = self.variables.values().map(String::len).sum();
        match self.variables.len() > VARIABLES || held > ALL_VARIABLES_BYTES {
            true => Err(Trouble("the script's variables hold too much".into())),
            false => Ok(()),
        }
    }
}

impl Run<'_> {
    /// A string of the script with its variables.
    pub(super) fn text(&self, template: &Template) -> String {
        template.filled(&self.state, VARIABLE_BYTES)
    }

    fn commands(&mut self, commands: &[Command]) -> Result<Flow, Trouble> {
        for command in commands {
            // Also where nothing is compared something is done.
            self.work.spend(1)?;
            if let Flow::Stop = self.command(command)? {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::On)
    }

    fn command(&mut self, command: &Command) -> Result<Flow, Trouble> {
        match command {
            Command::If {
                branches,
                otherwise,
            } => {
                for (test, block) in branches {
                    if self.test(test)? {
                        return self.commands(block);
                    }
                }
                return self.commands(otherwise);
            }
            Command::Stop => return Ok(Flow::Stop),
            Command::Keep { flags } => {
                let flags = self.flags(flags.as_deref());
                self.keep(flags)?;
            }
            Command::Discard => self.implicit = Implicit::Cancelled,
            Command::FileInto {
                folder,
                flags,
                goes,
                missing,
            } => {
                let flags = self.flags(flags.as_deref());
                self.file_into(&self.text(folder), flags, *missing)?;
                self.goes(*goes);
            }
            Command::Redirect { to, goes } => {
                let to = self.text(to);
                if self.redirect(&to)? {
                    self.goes(*goes);
                }
            }
            Command::Reject { reason } => {
                let reason = reason.filled(&self.state, REASON_BYTES);
                self.reject(reason)?;
            }
            Command::Vacation(vacation) => {
                if self
                    .actions
                    .iter()
                    .any(|a| matches!(a, Action::Vacation(_)))
                {
                    return Err(Trouble("the script answers one message twice".into()));
                }
                match vacation::answer(vacation, self) {
                    Ok(answer) => self.act(Action::Vacation(Box::new(answer)))?,
                    Err(why) => self.notes.push(format!("not answered: {why}")),
                }
            }
            Command::Flags {
                change,
                variable,
                flags,
            } => self.change_flags(*change, variable.as_deref(), flags)?,
            Command::Set {
                variable,
                value,
                modifiers,
            } => {
                let mut value = self.text(value);
                for modifier in modifiers {
                    value = modified(*modifier, value);
                }
                self.state.set(variable, value)?;
            }
        }
        Ok(Flow::On)
    }

    fn goes(&mut self, goes: Goes) {
        match goes {
            Goes::Instead => self.implicit = Implicit::Cancelled,
            Goes::Copy => {}
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Trouble> {
        if self.actions.len() >= ACTIONS {
            return Err(Trouble(format!(
                "the script does more than {ACTIONS} things with one message"
            )));
        }
        self.actions.push(action);
        Ok(())
    }

    /// The flags that an action has: those of its own, or else the message's.
    fn flags(&self, own: Option<&[Template]>) -> Vec<Flag> {
        match own {
            Some(own) => {
                let mut found = Vec::new();
                for text in own {
                    flags::add(&mut found, &self.text(text));
                }
                found
            }
            None => self.state.flags.clone(),
        }
    }

    fn keep(&mut self, more: Vec<Flag>) -> Result<(), Trouble> {
        self.implicit = Implicit::Cancelled;
        let present = self.actions.iter_mut().find_map(|action| match action {
            Action::Keep { flags } => Some(flags),
            _ => None,
        });
        match present {
            // Once in a place is enough.
            Some(flags) => {
                join(flags, more);
                Ok(())
            }
            None => self.act(Action::Keep { flags: more }),
        }
    }

    fn file_into(
        &mut self,
        folder: &str,
        more: Vec<Flag>,
        missing: Missing,
    ) -> Result<(), Trouble> {
        let into = match folder.parse::<FolderPath>() {
            Ok(path) if path.is_inbox() => return self.keep(more),
            Ok(path) => path,
            Err(why) => return Err(Trouble(why.to_string())),
        };
        let present = self.actions.iter_mut().find_map(|action| match action {
            Action::FileInto { path, flags, .. } if *path == into => Some(flags),
            _ => None,
        });
        if let Some(flags) = present {
            join(flags, more);
            return Ok(());
        }
        self.act(Action::FileInto {
            path: into,
            flags: more,
            if_missing: match missing {
                Missing::Inbox => IfMissing::Inbox,
                Missing::Create => IfMissing::Create,
            },
        })
    }

    /// Whether it goes on to there. If it may not, it is kept.
    fn redirect(&mut self, to: &str) -> Result<bool, Trouble> {
        let to: Name = to
            .trim()
            .parse()
            .map_err(|_| Trouble("the script redirects to what is no address".into()))?;
        let is_own = self
            .message
            .own
            .iter()
            .any(|own| *own == to || *own == to.without_detail());
        let header = self.message.header;
        let why = if is_own {
            Some("a mailbox does not redirect to itself")
        } else if self
            .message
            .own
            .iter()
            .any(|own| redirect::was_by(header, own))
        {
            Some("this mailbox has redirected it before: a circle")
        } else if redirect::times(header) >= REDIRECTED_MOST {
            Some("it was redirected too often")
        } else {
            None
        };
        if let Some(why) = why {
            self.notes.push(format!("not redirected: {why}"));
            let flags = self.flags(None);
            self.keep(flags)?;
            return Ok(false);
        }
        let already = |action: &&Action| matches!(action, Action::Redirect { .. });
        if self.actions.contains(&Action::Redirect { to: to.clone() }) {
            return Ok(true);
        }
        if self.actions.iter().filter(already).count() >= REDIRECTS {
            return Err(Trouble(format!(
                "the script redirects one message more than {REDIRECTS} times"
            )));
        }
        self.act(Action::Redirect { to })?;
        Ok(true)
    }

    fn reject(&mut self, reason: String) -> Result<(), Trouble> {
        let is_of_list = self.message.way == Way::List || is_of_list(self.message.header);
        let why = if self.message.from.is_none() {
            Some("it has no sender who could be told")
        } else {
            is_of_list.then_some("it came by a list")
        };
        if let Some(why) = why {
            self.notes.push(format!("not rejected but kept: {why}"));
            let flags = self.flags(None);
            return self.keep(flags);
        }
        self.implicit = Implicit::Cancelled;
        self.act(Action::Reject { reason })
    }

    fn change_flags(
        &mut self,
        change: FlagChange,
        variable: Option<&str>,
        texts: &[Template],
    ) -> Result<(), Trouble> {
        let mut named = Vec::new();
        for text in texts {
            flags::add(&mut named, &self.text(text));
        }
        let mut present = match variable {
            None => self.state.flags.clone(),
            Some(name) => {
                let mut present = Vec::new();
                flags::add(&mut present, self.state.variable(name));
                present
            }
        };
        match change {
            FlagChange::Set => present = named,
            FlagChange::Add => join(&mut present, named),
            FlagChange::Remove => {
                present.retain(|flag| !named.iter().any(|n| n.folded() == flag.folded()));
            }
        }
        match variable {
            None => self.state.flags = present,
            Some(name) => {
                let names: Vec<&str> = present.iter().map(Flag::as_str).collect();
                self.state.set(name, names.join(" "))?;
            }
        }
        Ok(())
    }

    fn finished(mut self) -> Outcome {
        if self.implicit == Implicit::Keep {
            let flags = self.state.flags.clone();
            let already = self
                .actions
                .iter()
                .any(|a| matches!(a, Action::Keep { .. }));
            if !already {
                // The implicit one has always room.
                self.actions.push(Action::Keep { flags });
            }
        }
        // Who is told that his message was refused must not find it read, sent on or answered (RFC 5429 2.5).
        let rejects = |action: &Action| matches!(action, Action::Reject { .. });
        if self.actions.iter().any(rejects) && self.actions.len() > 1 {
            return Outcome::kept(
                "the script rejects a message and does something else with it, too".into(),
            );
        }
        Outcome {
            actions: self.actions,
            notes: self.notes,
        }
    }
}

fn join(flags: &mut Vec<Flag>, more: Vec<Flag>) {
    for flag in more {
        flags::add_one(flags, flag);
    }
}

fn modified(modifier: Modifier, value: String) -> String {
    let first = |value: &str, change: fn(&str) -> String| {
        let cut = value.chars().next().map_or(0, char::len_utf8);
        let (head, tail) = value.split_at(cut);
        change(head) + tail
    };
    match modifier {
        Modifier::Lower => value.to_ascii_lowercase(),
        Modifier::Upper => value.to_ascii_uppercase(),
        Modifier::LowerFirst => first(&value, |head| head.to_ascii_lowercase()),
        Modifier::UpperFirst => first(&value, |head| head.to_ascii_uppercase()),
        Modifier::QuoteWildcard => {
            let mut quoted = String::with_capacity(value.len());
            for c in value.chars() {
                if matches!(c, '*' | '?' | '\\') {
                    quoted.push('\\');
                }
                quoted.push(c);
            }
            quoted
        }
        Modifier::Length => value.chars().count().to_string(),
    }
}
