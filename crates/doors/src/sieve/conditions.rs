//! Tests of a script, understood (RFC 5228 section 5, and extensions).

use super::arguments::{Arguments, Takes};
use super::compile::Compiler;
use super::mistake::{Mistake, Position};
use super::script::{
    AddressPart, Captures, Comparator, Comparison, EnvelopeField, MatchKind, Relation, Test,
};
use super::syntax::{Argument, Node, Value};
use super::text::Template;

/// Fields that hold addresses: in no other may the test `address` look (RFC 5228 5.1).
const ADDRESS_FIELDS: [&str; 20] = [
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "resent-from",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "resent-sender",
    "resent-reply-to",
    "return-path",
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "errors-to",
    "disposition-notification-to",
    "mail-followup-to",
    "mail-reply-to",
];

const MATCH_TAGS: [(&str, Takes); 6] = [
    ("comparator", Takes::Text),
    ("is", Takes::Nothing),
    ("contains", Takes::Nothing),
    ("matches", Takes::Nothing),
    ("value", Takes::Text),
    ("count", Takes::Text),
];

const PART_TAGS: [(&str, AddressPart); 5] = [
    ("all", AddressPart::All),
    ("localpart", AddressPart::LocalPart),
    ("domain", AddressPart::Domain),
    ("user", AddressPart::User),
    ("detail", AddressPart::Detail),
];

impl Compiler {
    /// Understands a test.
    pub(super) fn test(&self, mut node: Node) -> Result<Test, Mistake> {
        let at = node.at;
        let name = node.name.clone();
        match name.as_str() {
            "allof" | "anyof" => {
                let tests = self.tests(std::mem::take(&mut node.tests), at)?;
                Arguments::of(node, &[], 0)?;
                return Ok(match name.as_str() {
                    "allof" => Test::AllOf(tests),
                    _ => Test::AnyOf(tests),
                });
            }
            "not" => {
                let tests = std::mem::take(&mut node.tests);
                Arguments::of(node, &[], 0)?;
                return match <[Node; 1]>::try_from(tests) {
                    Ok([test]) => Ok(Test::Not(Box::new(self.test(test)?))),
                    Err(_) => Err(Mistake::new(at, "one test must follow \"not\"")),
                };
            }
            _ => {}
        }
        if let Some(inner) = node.tests.first() {
            return Err(Mistake::new(inner.at, format!("\"{name}\" takes no test")));
        }
        match name.as_str() {
            "true" => Arguments::of(node, &[], 0).map(|_| Test::True),
            "false" => Arguments::of(node, &[], 0).map(|_| Test::False),
            "exists" => {
                let mut arguments = Arguments::of(node, &[], 1)?;
                let headers = arguments.texts("names of header fields")?;
                Ok(Test::Exists(self.fields(headers, at)?))
            }
            "size" => {
                let tags = [("over", Takes::Nothing), ("under", Takes::Nothing)];
                let mut arguments = Arguments::of(node, &tags, 1)?;
                let over = arguments.flag("over").is_some();
                let under = arguments.flag("under").is_some();
                let limit = arguments.number("a number of octets")?;
                match (over, under) {
                    (true, false) => Ok(Test::SizeOver(limit)),
                    (false, true) => Ok(Test::SizeUnder(limit)),
                    (true, true) | (false, false) => Err(Mistake::new(
                        at,
                        "\"size\" needs either \":over\" or \":under\"",
                    )),
                }
            }
            "header" => {
                let mut arguments = Arguments::of(node, &MATCH_TAGS, 2)?;
                let how = self.comparison(&mut arguments, at)?;
                let headers = arguments.texts("names of header fields")?;
                let headers = self.fields(headers, at)?;
                let keys = self.keys(&mut arguments, at)?;
                Ok(Test::Header { how, headers, keys })
            }
            "address" => {
                let mut arguments = Arguments::of(node, &address_tags(), 2)?;
                let how = self.comparison(&mut arguments, at)?;
                let part = self.part(&mut arguments, at)?;
                let headers = arguments.texts("names of header fields")?;
                for header in &headers {
                    let known = header.to_ascii_lowercase();
                    if !ADDRESS_FIELDS.contains(&known.as_str()) && !header.contains("${") {
                        return Err(Mistake::new(
                            at,
                            format!(
                                "the field \"{header}\" does not hold addresses; \"header\" can look into it"
                            ),
                        ));
                    }
                }
                let headers = self.fields(headers, at)?;
                let keys = self.keys(&mut arguments, at)?;
                Ok(Test::Address {
                    how,
                    part,
                    headers,
                    keys,
                })
            }
            "envelope" => {
                self.needs("envelope", at, "\"envelope\"")?;
                let mut arguments = Arguments::of(node, &address_tags(), 2)?;
                let how = self.comparison(&mut arguments, at)?;
                let part = self.part(&mut arguments, at)?;
                let mut fields = Vec::new();
                for field in arguments.texts("\"from\" or \"to\"")? {
                    fields.push(match field.to_ascii_lowercase().as_str() {
                        "from" => EnvelopeField::From,
                        "to" => EnvelopeField::To,
                        _ => {
                            return Err(Mistake::new(
                                at,
                                format!("an envelope has \"from\" and \"to\", and no \"{field}\""),
                            ));
                        }
                    });
                }
                let keys = self.keys(&mut arguments, at)?;
                Ok(Test::Envelope {
                    how,
                    part,
                    fields,
                    keys,
                })
            }
            "hasflag" => {
                self.needs("imap4flags", at, "\"hasflag\"")?;
                let count = hasflag_arguments(&node);
                let mut arguments = Arguments::of(node, &MATCH_TAGS, count)?;
                let how = self.comparison(&mut arguments, at)?;
                let mut variables = Vec::new();
                if count == 2 {
                    self.needs("variables", at, "a variable for flags")?;
                    for name in arguments.texts("names of variables")? {
                        variables.push(self.variable(name, at)?);
                    }
                }
                let keys = self.keys(&mut arguments, at)?;
                Ok(Test::HasFlag {
                    how,
                    variables,
                    keys,
                })
            }
            "string" => {
                self.needs("variables", at, "\"string\"")?;
                let mut arguments = Arguments::of(node, &MATCH_TAGS, 2)?;
                let how = self.comparison(&mut arguments, at)?;
                let sources = arguments.texts("strings")?;
                let sources = self.templates(sources, at)?;
                let keys = self.keys(&mut arguments, at)?;
                Ok(Test::String { how, sources, keys })
            }
            "mailboxexists" => {
                self.needs("mailbox", at, "\"mailboxexists\"")?;
                let mut arguments = Arguments::of(node, &[], 1)?;
                let folders = arguments.texts("names of folders")?;
                Ok(Test::MailboxExists(self.templates(folders, at)?))
            }
            other => Err(Mistake::new(at, format!("there is no test \"{other}\""))),
        }
    }

    fn keys(&self, arguments: &mut Arguments, at: Position) -> Result<Vec<Template>, Mistake> {
        let keys = arguments.texts("a string or a list of strings to compare with")?;
        self.templates(keys, at)
    }

    fn fields(&self, names: Vec<String>, at: Position) -> Result<Vec<Template>, Mistake> {
        for name in &names {
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            if !is_name && !name.contains("${") {
                return Err(Mistake::new(
                    at,
                    format!("\"{name}\" is no name of a header field"),
                ));
            }
        }
        self.templates(names, at)
    }

    fn comparison(&self, arguments: &mut Arguments, at: Position) -> Result<Comparison, Mistake> {
        let comparator = match arguments.text_of("comparator")? {
            None => Comparator::AsciiCasemap,
            Some((name, at)) => match name.as_str() {
                "i;octet" => Comparator::Octet,
                "i;ascii-casemap" => Comparator::AsciiCasemap,
                "i;ascii-numeric" => {
                    self.needs("comparator-i;ascii-numeric", at, "this comparator")?;
                    Comparator::AsciiNumeric
                }
                _ => {
                    return Err(Mistake::new(
                        at,
                        format!(
                            "there is no comparator \"{name}\"; there are \"i;ascii-casemap\", \"i;octet\" and \"i;ascii-numeric\""
                        ),
                    ));
                }
            },
        };
        let mut kinds = Vec::new();
        for (tag, kind) in [
            ("is", MatchKind::Is),
            ("contains", MatchKind::Contains),
            ("matches", MatchKind::Matches),
        ] {
            if arguments.flag(tag).is_some() {
                kinds.push(kind);
            }
        }
        if let Some((relation, at)) = arguments.text_of("value")? {
            self.needs("relational", at, "\":value\"")?;
            kinds.push(MatchKind::Value(relation_of(&relation, at)?));
        }
        if let Some((relation, at)) = arguments.text_of("count")? {
            self.needs("relational", at, "\":count\"")?;
            kinds.push(MatchKind::Count(relation_of(&relation, at)?));
        }
        let kind = match kinds.as_slice() {
            [] => MatchKind::Is,
            [kind] => *kind,
            _ => {
                return Err(Mistake::new(
                    at,
                    "a test compares in one way; two are given here",
                ));
            }
        };
        if comparator == Comparator::AsciiNumeric
            && matches!(kind, MatchKind::Contains | MatchKind::Matches)
        {
            return Err(Mistake::new(
                at,
                "numbers can be compared by \":is\", \":value\" and \":count\" only",
            ));
        }
        let captures = match self.has("variables") {
            true => Captures::Kept,
            false => Captures::NotKept,
        };
        Ok(Comparison {
            comparator,
            kind,
            captures,
        })
    }

    fn part(&self, arguments: &mut Arguments, at: Position) -> Result<AddressPart, Mistake> {
        let mut parts = Vec::new();
        for (tag, part) in PART_TAGS {
            if let Some(at) = arguments.flag(tag) {
                if matches!(part, AddressPart::User | AddressPart::Detail) {
                    self.needs("subaddress", at, &format!("\":{tag}\""))?;
                }
                parts.push(part);
            }
        }
        match parts.as_slice() {
            [] => Ok(AddressPart::All),
            [part] => Ok(*part),
            _ => Err(Mistake::new(
                at,
                "a test looks at one part of an address; two are given here",
            )),
        }
    }
}

/// How many strings or lists `hasflag` has behind its tags: the variables may be left out.
fn hasflag_arguments(node: &Node) -> usize {
    let is_text = |a: &&Argument| matches!(a.value, Value::Texts(..));
    let has_text = |a: &&Argument| matches!(&a.value, Value::Tag(tag) if matches!(tag.as_str(), "comparator" | "value" | "count"));
    let texts = node.arguments.iter().filter(is_text).count();
    let of_tags = node.arguments.iter().filter(has_text).count();
    texts.saturating_sub(of_tags).clamp(1, 2)
}

fn address_tags() -> Vec<(&'static str, Takes)> {
    let parts = PART_TAGS.map(|(tag, _)| (tag, Takes::Nothing));
    MATCH_TAGS.into_iter().chain(parts).collect()
}

fn relation_of(name: &str, at: Position) -> Result<Relation, Mistake> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "gt" => Relation::Greater,
        "ge" => Relation::GreaterOrEqual,
        "lt" => Relation::Less,
        "le" => Relation::LessOrEqual,
        "eq" => Relation::Equal,
        "ne" => Relation::NotEqual,
        _ => {
            return Err(Mistake::new(
                at,
                "this must be one of \"gt\", \"ge\", \"lt\", \"le\", \"eq\", \"ne\"",
            ));
        }
    })
}
