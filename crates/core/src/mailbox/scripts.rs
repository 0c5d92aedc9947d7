//! The filters that a mailbox's owner keeps in it: cells of the mailbox, so that they are where his mail is, and change at any site.
//!
//! Only their owner sees or changes them. What a script means is not known here: it is text.

use grapevine_model::{
    Cell, CellKey, ErrorKind, Field, Incarnation, MAX_SCRIPT_BYTES, MAX_SCRIPTS, Name, Refusal,
    Reply, ScriptName, ScriptText, ScriptView, SieveAsk, SieveReply, Speaker, Written,
};

use crate::codec;
use crate::mailbox::regain;
use crate::registry::directory::Memo;
use crate::registry::request::{Outcome, ReplyTo, Stop};
use crate::replication::push::Change;
use crate::replication::waiters::Then;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Cells of scripts looked at, with those that were deleted: a person's scripts many times over.
const MOST_LOOKED_AT: usize = 4_096;

fn script_key(script: &ScriptName) -> CellKey {
    CellKey {
        item: 0,
        field: Field::Script.number(),
        element: script.as_str().as_bytes().to_vec(),
    }
}

fn active_key() -> CellKey {
    CellKey {
        item: 0,
        field: Field::ActiveScript.number(),
        element: Vec::new(),
    }
}

/// The text that a value holds; none where a newer release keeps something else there.
fn text_of(value: Vec<u8>) -> Option<ScriptText> {
    String::from_utf8(value).ok()?.try_into().ok()
}

impl Server {
    /// A question about filters, or a change of them.
    pub(crate) fn sieve(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        name: &Name,
        ask: &SieveAsk,
    ) -> Result<Outcome, Stop> {
        let (inbox, sites) = match self.mailbox_of(memo, speaker, name)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal).into()),
        };
        let is_peer = matches!(to, ReplyTo::Peer(..));
        if sites.is_empty() {
            return Ok(Err(Refusal::invalid(format!("{name} has no inbox"))).into());
        }
        if !sites.contains(&self.config.server) {
            return Ok(match is_peer {
                true => Err(Refusal::unavailable(format!(
                    "this server is no inbox site of {name}"
                )))
                .into(),
                false => Outcome::PassOn(sites),
            });
        }
        // What is not all here can't be told, and must not be written over.
        let space = Self::mailbox_space(inbox);
        let is_whole = self.spaces.get(&space).is_none_or(|state| state.row.ready);
        if !is_whole || self.must_regain(inbox, name, &sites)? {
            let others: Vec<_> = sites
                .into_iter()
                .filter(|site| *site != self.config.server)
                .collect();
            return Ok(match is_peer || others.is_empty() {
                true => Err(Refusal::unavailable(regain::REGAINING)).into(),
                false => Outcome::PassOn(others),
            });
        }
        let asked = match ask {
            SieveAsk::List => Ok(SieveReply::Scripts(self.scripts(inbox)?)),
            SieveAsk::Get(script) => match self.script(inbox, script)? {
                Some(text) => Ok(SieveReply::Text(text)),
                None => Err(no_such(script)),
            },
            SieveAsk::HaveSpace { script, len } => self
                .script_fits(inbox, script, *len)?
                .map(|()| SieveReply::Fits),
            SieveAsk::Put { .. }
            | SieveAsk::Activate(_)
            | SieveAsk::Delete(_)
            | SieveAsk::Rename { .. } => {
                let changes = match self.script_changes(inbox, ask)? {
                    Ok(changes) => changes,
                    Err(refusal) => return Ok(Err(refusal).into()),
                };
                let mut all = self.open_mailbox(inbox, name, &sites)?;
                all.extend(changes);
                let written = Written {
                    stamp: None,
                    copies: 1,
                    seen: Vec::new(),
                };
                return Ok(match self.write(&space, all)? {
                    Some(dot) => {
                        let written = Written {
                            stamp: Some(dot),
                            ..written
                        };
                        self.when_copied(space, dot, Then::Written(to.clone(), written));
                        Outcome::Later
                    }
                    None => Ok(Reply::Written(written)).into(),
                });
            }
        };
        Ok(asked.map(Reply::Sieve).into())
    }

    /// What a change writes, or why it is refused.
    fn script_changes(
        &self,
        inbox: Incarnation,
        ask: &SieveAsk,
    ) -> Result<Result<Vec<Change>, Refusal>, Damaged> {
        let active = self.active_name(inbox)?;
        Ok(match ask {
            SieveAsk::Put { script, text } => {
                let len = text.as_str().len() as u64;
                let value = text.as_str().as_bytes().to_vec();
                self.script_fits(inbox, script, len)?
                    .map(|()| vec![Change::put(script_key(script), value)])
            }
            SieveAsk::Activate(None) => Ok(match active {
                Some(_) => vec![Change::delete(active_key())],
                None => Vec::new(),
            }),
            SieveAsk::Activate(Some(script)) => match self.script(inbox, script)? {
                Some(_) => {
                    let value = script.as_str().as_bytes().to_vec();
                    Ok(vec![Change::put(active_key(), value)])
                }
                None => Err(no_such(script)),
            },
            SieveAsk::Delete(script) => match self.script(inbox, script)? {
                Some(_) if active.as_ref() == Some(script) => Err(Refusal::conflict(format!(
                    "the script \"{script}\" is active: deactivate it first"
                ))),
                Some(_) => Ok(vec![Change::delete(script_key(script))]),
                None => Err(no_such(script)),
            },
            SieveAsk::Rename { script, to } => {
                let Some(text) = self.script(inbox, script)? else {
                    return Ok(Err(no_such(script)));
                };
                if self.script(inbox, to)?.is_some() {
                    let why = format!("there is a script \"{to}\" already");
                    return Ok(Err(Refusal::conflict(why)));
                }
                let mut changes = vec![Change::put(
                    script_key(to),
                    text.as_str().as_bytes().to_vec(),
                )];
                if active.as_ref() == Some(script) {
                    let value = to.as_str().as_bytes().to_vec();
                    changes.push(Change::put(active_key(), value));
                }
                changes.push(Change::delete(script_key(script)));
                Ok(changes)
            }
            SieveAsk::List | SieveAsk::Get(_) | SieveAsk::HaveSpace { .. } => Ok(Vec::new()),
        })
    }

    fn script_fits(
        &self,
        inbox: Incarnation,
        script: &ScriptName,
        len: u64,
    ) -> Result<Result<(), Refusal>, Damaged> {
        if len > MAX_SCRIPT_BYTES as u64 {
            return Ok(Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("a script has at most {MAX_SCRIPT_BYTES} octets"),
            )));
        }
        let scripts = self.scripts(inbox)?;
        let is_new = scripts.iter().all(|view| view.script != *script);
        Ok(match is_new && scripts.len() >= MAX_SCRIPTS {
            true => Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("a mailbox has at most {MAX_SCRIPTS} scripts: delete one first"),
            )),
            false => Ok(()),
        })
    }

    fn mailbox_value(&self, inbox: Incarnation, key: &CellKey) -> Result<Option<Vec<u8>>, Damaged> {
        let space = Self::mailbox_space(inbox);
        if !self.spaces.contains_key(&space) {
            return Ok(None);
        }
        Ok(self.cell(&space, key)?.and_then(|cell| cell.value))
    }

    fn script(
        &self,
        inbox: Incarnation,
        script: &ScriptName,
    ) -> Result<Option<ScriptText>, Damaged> {
        let value = self.mailbox_value(inbox, &script_key(script))?;
        Ok(value.and_then(text_of))
    }

    fn active_name(&self, inbox: Incarnation) -> Result<Option<ScriptName>, Damaged> {
        let value = self.mailbox_value(inbox, &active_key())?;
        let name = value.and_then(|value| String::from_utf8(value).ok());
        Ok(name.and_then(|name| name.parse().ok()))
    }

    /// Whether a script is run for this mailbox. Read once: each deposit asks.
    pub(super) fn has_filter(&mut self, inbox: Incarnation) -> Result<bool, Damaged> {
        let space = Self::mailbox_space(inbox);
        let Some(state) = self.spaces.get(&space) else {
            return Ok(false);
        };
        if let Some(known) = state.has_filter {
            return Ok(known);
        }
        let found = self.active_name(inbox)?.is_some();
        if let Some(state) = self.spaces.get_mut(&space) {
            state.has_filter = Some(found);
        }
        Ok(found)
    }

    /// The script that is run for this mailbox.
    pub(super) fn active_script(&self, inbox: Incarnation) -> Result<Option<ScriptText>, Damaged> {
        match self.active_name(inbox)? {
            Some(name) => self.script(inbox, &name),
            None => Ok(None),
        }
    }

    fn scripts(&self, inbox: Incarnation) -> Result<Vec<ScriptView>, Damaged> {
        let space = Self::mailbox_space(inbox);
        let active = self.active_name(inbox)?;
        let prefix = codec::space_prefix(&space);
        let first = CellKey {
            field: Field::Script.number(),
            ..active_key()
        };
        let from = codec::cell_key(&space, &first);
        let until = codec::cell_key(&space, &active_key());
        let mut scripts = Vec::new();
        for (key, value) in self
            .ledger
            .scan(Table::Cells, &from, &until, MOST_LOOKED_AT)?
        {
            let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
            let Ok(cell) = codec::decode::<Cell>(&value) else {
                continue;
            };
            let name = String::from_utf8(key.element).ok();
            let name: Option<ScriptName> = name.and_then(|name| name.parse().ok());
            if let (Some(script), Some(value)) = (name, cell.value) {
                scripts.push(ScriptView {
                    active: active.as_ref() == Some(&script),
                    script,
                    len: value.len() as u64,
                });
            }
        }
        Ok(scripts)
    }
}

fn no_such(script: &ScriptName) -> Refusal {
    Refusal::new(
        ErrorKind::NotFound,
        format!("there is no script \"{script}\""),
    )
}
