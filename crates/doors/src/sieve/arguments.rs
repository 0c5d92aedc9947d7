//! The arguments of one command or test, taken by what they are for (RFC 5228 2.6): tagged ones first, in any order, then the others.

use std::collections::BTreeMap;

use super::mistake::{Mistake, Position};
use super::syntax::{Argument, Node, Value, Written};

/// What follows a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    Texts,
    Number,
}

/// The arguments, sorted.
pub(super) struct Arguments {
    of: String,
    at: Position,
    tagged: BTreeMap<String, (Position, Option<Value>)>,
    others: std::vec::IntoIter<Argument>,
}

impl Arguments {
    /// Sorts the arguments of a command or test that knows these tags and has so many others.
    pub(super) fn of(node: Node, tags: &[(&str, Takes)], others: usize) -> Result<Self, Mistake> {
        let mut tagged = BTreeMap::new();
        let mut positional: Vec<Argument> = Vec::new();
        let mut arguments = node.arguments.into_iter().peekable();
        while let Some(argument) = arguments.next() {
            let Value::Tag(tag) = argument.value else {
                positional.push(argument);
                continue;
            };
            let Some((_, takes)) = tags.iter().find(|(known, _)| *known == tag) else {
                return Err(Mistake::new(
                    argument.at,
                    format!("\"{}\" has no argument \":{tag}\"", node.name),
                ));
            };
            if let Some(before) = positional.first() {
                return Err(Mistake::new(
                    before.at,
                    format!("\":{tag}\" and what belongs to it must stand before this"),
                ));
            }
            let follows = |value: &Value| match takes {
                Takes::Nothing => false,
                Takes::Text => matches!(value, Value::Texts(_, Written::Alone)),
                Takes::Texts => matches!(value, Value::Texts(..)),
                Takes::Number => matches!(value, Value::Number(_)),
            };
            let value = match takes {
                Takes::Nothing => None,
                Takes::Text | Takes::Texts | Takes::Number => {
                    match arguments.next_if(|next| follows(&next.value)) {
                        Some(next) => Some(next.value),
                        None => {
                            let what = match takes {
                                Takes::Number => "a number",
                                Takes::Texts => "a string or a list of strings",
                                Takes::Nothing | Takes::Text => "a string",
                            };
                            return Err(Mistake::new(
                                argument.at,
                                format!("{what} must follow \":{tag}\""),
                            ));
                        }
                    }
                }
            };
            if tagged.insert(tag.clone(), (argument.at, value)).is_some() {
                return Err(Mistake::new(
                    argument.at,
                    format!("\":{tag}\" stands here for the second time"),
                ));
            }
        }
        if let Some(extra) = positional.get(others) {
            return Err(Mistake::new(
                extra.at,
                format!("this is one argument too many for \"{}\"", node.name),
            ));
        }
        Ok(Self {
            of: node.name,
            at: node.at,
            tagged,
            others: positional.into_iter(),
        })
    }

    /// Where a tag stands that nothing follows.
    pub(super) fn flag(&mut self, tag: &str) -> Option<Position> {
        self.tagged.remove(tag).map(|(at, _)| at)
    }

    pub(super) fn text_of(&mut self, tag: &str) -> Result<Option<(String, Position)>, Mistake> {
        Ok(self
            .texts_of(tag)?
            .and_then(|(texts, at)| Some((texts.into_iter().next()?, at))))
    }

    pub(super) fn texts_of(
        &mut self,
        tag: &str,
    ) -> Result<Option<(Vec<String>, Position)>, Mistake> {
        match self.tagged.remove(tag) {
            Some((at, Some(Value::Texts(texts, _)))) => Ok(Some((texts, at))),
            Some((at, _)) => Err(self.expected(at, "a string")),
            None => Ok(None),
        }
    }

    pub(super) fn number_of(&mut self, tag: &str) -> Result<Option<(u64, Position)>, Mistake> {
        match self.tagged.remove(tag) {
            Some((at, Some(Value::Number(number)))) => Ok(Some((number, at))),
            Some((at, _)) => Err(self.expected(at, "a number")),
            None => Ok(None),
        }
    }

    /// The next of the others: one string.
    pub(super) fn text(&mut self, what: &str) -> Result<String, Mistake> {
        match self.others.next() {
            Some(Argument {
                value: Value::Texts(texts, Written::Alone),
                ..
            }) => Ok(texts.into_iter().next().unwrap_or_default()),
            Some(Argument { at, .. }) => Err(self.expected(at, what)),
            None => Err(self.expected(self.at, what)),
        }
    }

    /// The next of the others: one string or several.
    pub(super) fn texts(&mut self, what: &str) -> Result<Vec<String>, Mistake> {
        match self.others.next() {
            Some(Argument {
                value: Value::Texts(texts, _),
                ..
            }) => Ok(texts),
            Some(Argument { at, .. }) => Err(self.expected(at, what)),
            None => Err(self.expected(self.at, what)),
        }
    }

    /// The next of the others: a number.
    pub(super) fn number(&mut self, what: &str) -> Result<u64, Mistake> {
        match self.others.next() {
            Some(Argument {
                value: Value::Number(number),
                ..
            }) => Ok(number),
            Some(Argument { at, .. }) => Err(self.expected(at, what)),
            None => Err(self.expected(self.at, what)),
        }
    }

    fn expected(&self, at: Position, what: &str) -> Mistake {
        Mistake::new(at, format!("\"{}\" needs {what} here", self.of))
    }
}
