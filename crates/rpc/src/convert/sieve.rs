//! A mailbox's filters, on the wire.

use grapevine_model::{Name, ScriptText, ScriptView, SieveAsk, SieveReply};

use super::{Wire, all, chosen, name, parsed};
use crate::v1;
use crate::wire::WireError;

fn script_text(text: String) -> Wire<ScriptText> {
    text.try_into()
        .map_err(|error: grapevine_model::ScriptTextError| WireError::invalid(error.to_string()))
}

pub(super) fn encode_sieve_ask(name: &Name, ask: &SieveAsk) -> v1::SieveAsk {
    use v1::sieve_ask::Ask;
    let ask = match ask {
        SieveAsk::List => Ask::List(v1::SieveNothing {}),
        SieveAsk::Get(script) => Ask::Get(script.to_string()),
        SieveAsk::Put { script, text } => Ask::Put(v1::ScriptPut {
            script: script.to_string(),
            text: text.as_str().to_owned(),
        }),
        SieveAsk::Activate(script) => {
            Ask::Activate(script.as_ref().map(ToString::to_string).unwrap_or_default())
        }
        SieveAsk::Delete(script) => Ask::Delete(script.to_string()),
        SieveAsk::Rename { script, to } => Ask::Rename(v1::ScriptRename {
            script: script.to_string(),
            to: to.to_string(),
        }),
        SieveAsk::HaveSpace { script, len } => Ask::HaveSpace(v1::ScriptSpace {
            script: script.to_string(),
            len: *len,
        }),
    };
    v1::SieveAsk {
        name: name.to_string(),
        ask: Some(ask),
    }
}

pub(super) fn decode_sieve_ask(wired: v1::SieveAsk) -> Wire<(Name, SieveAsk)> {
    use v1::sieve_ask::Ask;
    let ask = match chosen(wired.ask, "question about filters")? {
        Ask::List(_) => SieveAsk::List,
        Ask::Get(script) => SieveAsk::Get(parsed(&script)?),
        Ask::Put(put) => SieveAsk::Put {
            script: parsed(&put.script)?,
            text: script_text(put.text)?,
        },
        Ask::Activate(script) if script.is_empty() => SieveAsk::Activate(None),
        Ask::Activate(script) => SieveAsk::Activate(Some(parsed(&script)?)),
        Ask::Delete(script) => SieveAsk::Delete(parsed(&script)?),
        Ask::Rename(rename) => SieveAsk::Rename {
            script: parsed(&rename.script)?,
            to: parsed(&rename.to)?,
        },
        Ask::HaveSpace(space) => SieveAsk::HaveSpace {
            script: parsed(&space.script)?,
            len: space.len,
        },
    };
    Ok((name(&wired.name)?, ask))
}

impl From<&ScriptView> for v1::ScriptView {
    fn from(view: &ScriptView) -> Self {
        Self {
            script: view.script.to_string(),
            active: view.active,
            len: view.len,
        }
    }
}

impl TryFrom<v1::ScriptView> for ScriptView {
    type Error = WireError;

    fn try_from(view: v1::ScriptView) -> Wire<Self> {
        Ok(Self {
            script: parsed(&view.script)?,
            active: view.active,
            len: view.len,
        })
    }
}

impl From<&SieveReply> for v1::SieveReply {
    fn from(reply: &SieveReply) -> Self {
        use v1::sieve_reply::Answer;
        let answer = match reply {
            SieveReply::Scripts(scripts) => Answer::Scripts(v1::ScriptList {
                scripts: scripts.iter().map(Into::into).collect(),
            }),
            SieveReply::Text(text) => Answer::Text(text.as_str().to_owned()),
            SieveReply::Fits => Answer::Fits(v1::SieveNothing {}),
        };
        Self {
            answer: Some(answer),
        }
    }
}

impl TryFrom<v1::SieveReply> for SieveReply {
    type Error = WireError;

    fn try_from(reply: v1::SieveReply) -> Wire<Self> {
        use v1::sieve_reply::Answer;
        Ok(match chosen(reply.answer, "answer about filters")? {
            Answer::Scripts(list) => Self::Scripts(all(list.scripts)?),
            Answer::Text(text) => Self::Text(script_text(text)?),
            Answer::Fits(_) => Self::Fits,
        })
    }
}
