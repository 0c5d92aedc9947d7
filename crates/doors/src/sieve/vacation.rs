//! The answer of somebody who is away (RFC 5230): when none may be given, and what it says.
//!
//! Never to a list, to a program, to somebody who has not written to the owner himself, or to the owner. Whether somebody was answered
//! lately is not known here: whoever carries the answer out knows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grapevine_model::Name;

use super::header::Header;
use super::limits::REASON_BYTES;
use super::run::{Message, Run, Way};
use super::script::{ReasonForm, Vacation};

/// The longest line that is sent as it is; anything longer is encoded (RFC 5322 2.1.1).
const LINE_BYTES: usize = 998;
/// Octets of a text in one encoded word, so that it has at most 75 characters (RFC 2047 section 2).
const WORD_BYTES: usize = 45;
/// Octets of a body in one line of base64 (RFC 2045 6.8).
const BASE64_LINE_BYTES: usize = 57;
/// A subject is cut at so many characters: it comes from anybody.
const SUBJECT_CHARS: usize = 200;
/// References of the message answered are taken over up to here.
const REFERENCES_BYTES: usize = 900;

/// An answer to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whom.
    pub to: Name,
    /// From whom it is said to be: one of the owner's names.
    pub from: Name,
    /// Answers with the same handle are the same answer.
    pub handle: String,
    /// Nobody gets it more than once in so many days.
    pub days: u64,
    subject: String,
    in_reply_to: Option<String>,
    references: String,
    reason: String,
    form: ReasonForm,
}

/// What an answer needs beside what the script says.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its `Message-ID`, without the angle brackets.
    pub id: &'a str,
    /// Its `Date` (RFC 5322 3.3).
    pub date: &'a str,
}

/// The answer to a message, or why there is none.
pub(super) fn answer(vacation: &Vacation, run: &Run<'_>) -> Result<Answer, String> {
    let message = &run.message;
    if let Some(why) = automatic(message) {
        return Err(why.into());
    }
    let Some(to) = message.from else {
        return Err("it has no return path".into());
    };
    if message.own.iter().any(|own| *own == to.without_detail()) {
        return Err("it is from the owner himself".into());
    }
    let others: Vec<Name> = vacation
        .addresses
        .iter()
        .filter_map(|address| run.text(address).trim().parse().ok())
        .collect();
    let mine: Vec<&Name> = message
        .own
        .iter()
        .chain(&others)
        .chain(std::iter::once(message.to))
        .collect();
    let named = ["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"]
        .iter()
        .flat_map(|field| message.header.addresses(field))
        .any(|address| mine.iter().any(|name| address.is(name)));
    if !named {
        return Err("no address of the owner stands in its To, Cc or Bcc".into());
    }
    let wanted: Option<Name> = match &vacation.from {
        Some(from) => run.text(from).trim().parse().ok(),
        None => None,
    };
    // Only one's own name: a filter must not speak for others.
    let from = wanted
        .filter(|name| message.own.contains(&name.without_detail()))
        .or_else(|| message.own.first().cloned())
        .unwrap_or_else(|| message.to.without_detail());
    let subject = match &vacation.subject {
        Some(subject) => run.text(subject),
        None => {
            let of = message.header.values("subject").next();
            format!("Auto: {}", of.unwrap_or_default())
        }
    };
    let reason = vacation.reason.filled(&run.state, REASON_BYTES);
    let handle = match &vacation.handle {
        Some(handle) => format!("handle:{}", run.text(handle)),
        // RFC 5230 4.2: the arguments as they are written, so that the subject of a message makes no difference.
        None => format!(
            "as written:{:?}:{:?}:{:?}:{:?}",
            vacation.subject, vacation.from, vacation.form, vacation.reason
        ),
    };
    let in_reply_to = message.header.values("message-id").find_map(message_id);
    let mut references = message.header.values("references").next();
    references = references.filter(|text| text.len() <= REFERENCES_BYTES && is_plain(text));
    Ok(Answer {
        to: to.clone(),
        from,
        handle,
        days: vacation.days,
        subject: in_one_line(&subject),
        in_reply_to,
        references: references.unwrap_or_default(),
        reason,
        form: vacation.form,
    })
}

/// Why a message is not from somebody who waits for an answer, if it is not (RFC 3834 section 2, RFC 5230 4.6).
fn automatic(message: &Message<'_>) -> Option<&'static str> {
    let header = message.header;
    let Some(from) = message.from else {
        return Some("it has no return path");
    };
    if message.way == Way::List || is_of_list(header) {
        return Some("it came by a list");
    }
    let said = |field: &str| header.values(field).map(|v| v.to_ascii_lowercase());
    if said("auto-submitted").any(|value| !value.starts_with("no")) {
        return Some("a program has sent it");
    }
    if said("precedence").any(|value| matches!(value.as_str(), "bulk" | "list" | "junk")) {
        return Some("it is bulk mail");
    }
    if said("x-auto-response-suppress").any(|value| value.contains("all") || value.contains("oof"))
    {
        return Some("its sender wants no such answer");
    }
    let local = from.folded();
    let robots = [
        "mailer-daemon",
        "listserv",
        "majordomo",
        "postmaster",
        "noreply",
        "no-reply",
        "donotreply",
        "do-not-reply",
        "bounce",
        "bounces",
        "root",
        "nobody",
        "deadletter",
    ];
    let is_robot = robots.contains(&local)
        || local.starts_with("owner-")
        || local.starts_with("owners-")
        || local.starts_with("bounce-")
        || local.starts_with("bounces-")
        || local.starts_with("bounces+")
        || local.ends_with("-owner")
        || local.ends_with("-request")
        || local.ends_with("-relay")
        || local.ends_with("-bounces");
    is_robot.then_some("its return path is a program's")
}

/// Whether it has the fields of a list (RFC 2369, RFC 2919).
pub(super) fn is_of_list(header: &Header) -> bool {
    header.has_prefix("list-")
}

impl Answer {
    /// The whole message, lines ended with CRLF. Equal inputs give equal bytes.
    pub fn compose(&self, sent: Sent<'_>) -> Vec<u8> {
        let mut head = String::new();
        let mut field = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        field("From", &format!("<{}>", self.from));
        field("To", &format!("<{}>", self.to));
        field("Subject", &encoded_words(&self.subject));
        field("Date", sent.date);
        field("Message-ID", &format!("<{}>", sent.id));
        if let Some(id) = &self.in_reply_to {
            field("In-Reply-To", id);
            let references = format!("{} {id}", self.references);
            field("References", references.trim());
        }
        field("Auto-Submitted", "auto-replied (vacation)");
        field("MIME-Version", "1.0");
        let mut out = head.into_bytes();
        match self.form {
            ReasonForm::Plain => out.extend(plain_part(&self.reason)),
            ReasonForm::Mime => out.extend(mime_part(&self.reason)),
        }
        out
    }
}

/// The text as a part with its header.
fn plain_part(text: &str) -> Vec<u8> {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str(line);
        lines.push_str("\r\n");
    }
    let is_short = lines.lines().all(|line| line.len() <= LINE_BYTES);
    let mut part = String::from("Content-Type: text/plain; charset=utf-8\r\n");
    if lines.is_ascii() && is_short && !lines.contains('\0') {
        part.push_str("Content-Transfer-Encoding: 7bit\r\n\r\n");
        part.push_str(&lines);
    } else {
        part.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
        for piece in lines.as_bytes().chunks(BASE64_LINE_BYTES) {
            part.push_str(&STANDARD.encode(piece));
            part.push_str("\r\n");
        }
    }
    part.into_bytes()
}

/// What the script gives as a MIME part: of its header only what describes the content, so that it forges no other field.
fn mime_part(text: &str) -> Vec<u8> {
    let mut part = String::new();
    let mut lines = text.lines();
    let mut is_taken = false;
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        if !line.starts_with([' ', '\t']) {
            is_taken = line
                .get(..8)
                .is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        }
        if is_taken {
            part.push_str(line);
            part.push_str("\r\n");
        }
    }
    part.push_str("\r\n");
    for line in lines {
        part.push_str(line);
        part.push_str("\r\n");
    }
    part.into_bytes()
}

fn in_one_line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SUBJECT_CHARS)
        .collect();
    text.trim().to_owned()
}

/// A field's text, encoded where it must be (RFC 2047).
fn encoded_words(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if piece.len() + c.len_utf8() > WORD_BYTES {
            words.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    words.push(piece);
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)))
        .collect();
    words.join("\r\n ")
}

/// An id in angle brackets, if it is one that may stand in a field.
fn message_id(text: String) -> Option<String> {
    let is_id = text.starts_with('<')
        && text.ends_with('>')
        && text.len() <= 250
        && is_plain(&text)
        && !text.contains(' ');
    is_id.then_some(text)
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}
