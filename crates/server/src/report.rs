//! Composes reports (RFC 3464): for a person what happened in a few words, for programs the same by recipient, and what of the
//! message comes back.
//!
//! Must never let a name, a reason or a piece of the message break out of its field or part, and never name fewer recipients than it
//! was ordered to: P1 promises an explanation for each. Equal inputs give equal bytes.

use std::fmt::Write as _;

use grapevine_core::{ReportKind, ReportLine, ReportOrder};
use grapevine_model::ServerName;
use mail_parser::DateTime;

/// What comes back of a message's header at most: RFC 5322 sets no limit, and a report should not outgrow what it reports on.
pub(crate) const HEADER_MAX_BYTES: usize = 64 * 1024;
/// A message comes back whole up to this size; of a larger one the header does (RFC 3461 6.2 leaves it to us).
pub(crate) const WHOLE_MAX_BYTES: usize = 1024 * 1024;
/// The longest reason that is told: an SMTP reply line has 512 octets.
const REASON_MAX_CHARS: usize = 500;
/// How many recipients the text for people lists; the part for programs has all of them.
const LISTED_MAX: usize = 50;
/// The longest line that may be sent as 8-bit text (RFC 5322 2.1.1).
const LINE_MAX_BYTES: usize = 998;

/// What is at hand of the message reported on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Original<'a> {
    /// Nothing.
    Missing,
    /// Its beginning: the header, or as much of it as was read. What follows the header is left out.
    Beginning(&'a [u8]),
    /// All of it.
    Whole(&'a [u8]),
}

/// Who reports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter<'a> {
    /// The server, for the text.
    pub(crate) server: &'a ServerName,
    /// Its name in DNS.
    pub(crate) hostname: &'a str,
}

/// The report's bytes, lines ended with CRLF.
pub(crate) fn compose(
    order: &ReportOrder,
    reporter: Reporter<'_>,
    original: Original<'_>,
    now_ms: u64,
) -> Vec<u8> {
    let part = returned_part(order, original);
    let boundary = boundary(order, &part);
    let mut out = head(order, reporter, &boundary, now_ms).into_bytes();
    let text = text_part(order, reporter);
    let status = status_part(order, reporter);
    let parts = [
        (
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
            text.as_bytes(),
        ),
        (
            "Content-Type: message/delivery-status\r\n\r\n",
            status.as_bytes(),
        ),
        (part.head, part.content.as_slice()),
    ];
    for (head, content) in parts.iter().filter(|(_, content)| !content.is_empty()) {
        out.extend_from_slice(format!("\r\n--{boundary}\r\n{head}").as_bytes());
        out.extend_from_slice(content);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// A date of RFC 5322, in UTC.
pub(crate) fn mail_date(ms: u64) -> String {
    DateTime::from_timestamp(i64::try_from(ms / 1000).unwrap_or_default()).to_rfc822()
}

/// What comes back: the part's header and its content.
struct Returned {
    head: &'static str,
    content: Vec<u8>,
}

fn returned_part(order: &ReportOrder, original: Original<'_>) -> Returned {
    match original {
        Original::Missing => Returned {
            head: "",
            content: Vec::new(),
        },
        Original::Whole(bytes) if order.full && bytes.len() <= WHOLE_MAX_BYTES => Returned {
            head: if is_plain_text(bytes) {
                "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            } else {
                "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            },
            content: bytes.to_vec(),
        },
        Original::Whole(bytes) | Original::Beginning(bytes) => Returned {
            head: "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
            content: header_of(bytes),
        },
    }
}

/// The header's lines, ended with CRLF, without what no text may hold. A last line that was cut is left out.
pub(crate) fn header_of(bytes: &[u8]) -> Vec<u8> {
    let bytes = bytes.get(..HEADER_MAX_BYTES).unwrap_or(bytes);
    let mut header = Vec::with_capacity(bytes.len().min(8 * 1024));
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let text = line
            .iter()
            .filter(|byte| !matches!(byte, b'\r' | 0))
            .take(LINE_MAX_BYTES);
        header.extend(text);
        header.extend_from_slice(b"\r\n");
    }
    header
}

/// Whether bytes may travel as 8-bit text: lines of at most 998 octets ended with CRLF, no NUL, no CR or LF alone.
fn is_plain_text(bytes: &[u8]) -> bool {
    bytes.split_inclusive(|byte| *byte == b'\n').all(|line| {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        text.len() <= LINE_MAX_BYTES && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
    })
}

/// No message can hold it: it depends on every byte of the message.
fn boundary(order: &ReportOrder, part: &Returned) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&order.about.to_bytes());
    hasher.update(&part.content);
    let digest = hasher.finalize().to_hex();
    format!("=_{}", digest.get(..40).unwrap_or_default())
}

fn head(order: &ReportOrder, reporter: Reporter<'_>, boundary: &str, now_ms: u64) -> String {
    let hostname = one_line(reporter.hostname, 255);
    let to: Vec<String> = order
        .submission
        .envelope
        .recipients
        .iter()
        .map(|recipient| one_line(&recipient.name.to_string(), 254))
        .collect();
    let id = order.submission.id.unwrap_or(order.about);
    let subject = match Outcome::of(order) {
        Outcome::Failed => "Undelivered mail: your message was not delivered",
        Outcome::Delivered => "Delivered mail: your message was delivered",
        Outcome::Mixed => "Mail report: your message was delivered to some, not to others",
        Outcome::Waits => "Delayed mail: your message is not delivered yet",
    };
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
         To: {to}\r\n\
         Subject: {subject}\r\n\
         Date: {date}\r\n\
         Message-ID: <{id}.report@{hostname}>\r\n\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
         \r\n\
         This is a report about a message, in MIME format.\r\n",
        to = if to.is_empty() {
            "undisclosed-recipients:;".to_owned()
        } else {
            to.join(",\r\n\t")
        },
        date = mail_date(now_ms),
    )
}

/// What the lines of an order say together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Failed,
    Delivered,
    Mixed,
    Waits,
}

impl Outcome {
    fn of(order: &ReportOrder) -> Self {
        if retry_until_ms(order).is_some() {
            return Self::Waits;
        }
        let delivered = order.lines.iter().filter(|line| line.delivered).count();
        if delivered == 0 {
            Self::Failed
        } else if delivered == order.lines.len() {
            Self::Delivered
        } else {
            Self::Mixed
        }
    }
}

/// Until when a message that waits is tried; none where the report tells of an end.
fn retry_until_ms(order: &ReportOrder) -> Option<u64> {
    match order.kind {
        ReportKind::Delay { retry_until_ms } => Some(retry_until_ms),
        ReportKind::Delivery | ReportKind::Held { .. } => None,
    }
}

/// For a person.
fn text_part(order: &ReportOrder, reporter: Reporter<'_>) -> String {
    let mut text = format!(
        "Your message of {} was taken by this mail system.\r\n",
        mail_date(order.accepted_ms)
    );
    let not_delivered = match retry_until_ms(order) {
        None => {
            "It could not be delivered to the following, and will not be tried again:".to_owned()
        }
        Some(until_ms) => format!(
            "It is not delivered to the following yet. It will be tried further until\r\n{}; \
             you need not send it again, and will hear what becomes of it only if it fails:",
            mail_date(until_ms)
        ),
    };
    for (delivered, lead) in [
        (false, not_delivered.as_str()),
        (true, "It was delivered to the following:"),
    ] {
        let lines: Vec<&ReportLine> = order
            .lines
            .iter()
            .filter(|line| line.delivered == delivered)
            .collect();
        if lines.is_empty() {
            continue;
        }
        text.push_str("\r\n");
        text.push_str(lead);
        text.push_str("\r\n\r\n");
        for line in lines.iter().take(LISTED_MAX) {
            let name = one_line(&line.name.to_string(), 254);
            let reason = one_line(&said(line), REASON_MAX_CHARS);
            // Writing to a String does not fail.
            let _ = write!(text, "  {name}\r\n");
            if !reason.is_empty() {
                let _ = write!(text, "      {reason}\r\n");
            }
            if let Some(note) = &line.note {
                let note = one_line(note, REASON_MAX_CHARS);
                let _ = write!(text, "      {note}\r\n");
            }
        }
        if lines.len() > LISTED_MAX {
            let more = lines.len() - LISTED_MAX;
            let _ = write!(
                text,
                "  and {more} more, listed in the second part of this report\r\n"
            );
        }
    }
    let _ = write!(
        text,
        "\r\nThe message is known to this system as {about}; the report was made by server {server}.\r\n",
        about = order.about,
        server = reporter.server,
    );
    text
}

/// Why, for a person; another mail system's words as such.
fn said(line: &ReportLine) -> String {
    match (&line.remote, line.delivered) {
        (Some(remote), false) => format!("{remote} said: {}", line.reason),
        (Some(remote), true) => format!("handed over to {remote}, which sends no reports"),
        (None, _) => line.reason.clone(),
    }
}

/// For programs (RFC 3464 section 2): all of it ASCII.
fn status_part(order: &ReportOrder, reporter: Reporter<'_>) -> String {
    let mut status = String::with_capacity(256 + 256 * order.lines.len());
    if let Some(id) = &order.envelope_id {
        field(&mut status, "Original-Envelope-Id", &decode_xtext(id));
    }
    field(
        &mut status,
        "Reporting-MTA",
        &format!("dns; {}", reporter.hostname),
    );
    field(&mut status, "Arrival-Date", &mail_date(order.accepted_ms));
    for line in &order.lines {
        status.push_str("\r\n");
        if let Some(original) = &line.original {
            let (kind, address) = original.split_once(';').unwrap_or(("rfc822", original));
            let address = decode_xtext(address);
            let kind = if address.is_ascii() { kind } else { "utf-8" };
            field(
                &mut status,
                "Original-Recipient",
                &format!("{kind}; {address}"),
            );
        }
        let name = line.name.to_string();
        let kind = if name.is_ascii() { "rfc822" } else { "utf-8" };
        field(&mut status, "Final-Recipient", &format!("{kind}; {name}"));
        let action = match (line.delivered, &line.remote, retry_until_ms(order)) {
            (_, _, Some(_)) => "delayed",
            (true, None, None) => "delivered",
            // Into a system that will not report (RFC 3464 2.3.3).
            (true, Some(_), None) => "relayed",
            (false, _, None) => "failed",
        };
        field(&mut status, "Action", action);
        field(
            &mut status,
            "Status",
            &enhanced(&line.status, line.delivered),
        );
        if !line.reason.is_empty() {
            let reason = one_line(&line.reason, REASON_MAX_CHARS);
            let whose = match &line.remote {
                Some(remote) => {
                    field(&mut status, "Remote-MTA", &format!("dns; {remote}"));
                    "smtp"
                }
                None => "x-grapevine",
            };
            field(
                &mut status,
                "Diagnostic-Code",
                &format!("{whose}; {reason}"),
            );
        }
        if let Some(until_ms) = retry_until_ms(order) {
            field(&mut status, "Will-Retry-Until", &mail_date(until_ms));
        }
    }
    status
}

/// A field whose value stays on its line and is ASCII: other characters as RFC 6533 section 3 writes them.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    for c in value.chars() {
        match c {
            ' '..='~' => out.push(c),
            _ if c.is_control() => out.push(' '),
            _ => {
                let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
            }
        }
    }
    out.push_str("\r\n");
}

/// Text without control characters and of a limited length.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    text.chars()
        .take(max_chars)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The status if it is one (`5.1.1`), or the least that is said otherwise.
fn enhanced(status: &str, delivered: bool) -> String {
    let good = status.split('.').count() == 3
        && status
            .split('.')
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    match (good, delivered) {
        (true, _) => status.to_owned(),
        (false, true) => "2.0.0".to_owned(),
        (false, false) => "5.0.0".to_owned(),
    }
}

/// RFC 3461 section 4; what is no xtext stands as it is.
fn decode_xtext(value: &str) -> String {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = match first {
            b'+' => after.get(..2).and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 16).ok()
            }),
            _ => None,
        };
        rest = match hex {
            Some(byte) => {
                decoded.push(byte);
                after.get(2..).unwrap_or_default()
            }
            None => {
                decoded.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use grapevine_model::{
        BodyInfo, Envelope, Hlc, MessageId, OriginId, ReportReason, ReturnContent, Speaker,
        Submission,
    };
    use mail_parser::{MessageParser, MimeHeaders, PartType};

    use super::*;

    /// 2026-11-23 04:38:00 UTC.
    const NOW_MS: u64 = 1_795_408_680_000;

    fn id(time: u64) -> MessageId {
        MessageId {
            time: Hlc::at_ms(NOW_MS + time),
            origin: OriginId(7),
        }
    }

    fn line(name: &str, reason: &str) -> ReportLine {
        ReportLine {
            name: name.parse().unwrap(),
            original: None,
            delivered: false,
            status: "5.1.1".into(),
            reason: reason.into(),
            remote: None,
            note: None,
        }
    }

    fn order(lines: Vec<ReportLine>) -> ReportOrder {
        let server: ServerName = "s1".parse().unwrap();
        ReportOrder {
            submission: Submission {
                id: Some(id(2)),
                speaker: Speaker::Server(server),
                envelope: Envelope {
                    return_path: None,
                    recipients: vec![
                        "birrell@pa.example"
                            .parse::<grapevine_model::Name>()
                            .unwrap()
                            .into(),
                    ],
                    content: ReturnContent::Headers,
                    envelope_id: None,
                },
                body: BodyInfo {
                    len: 0,
                    digest: [0; 32],
                },
                reports: Some(ReportReason {
                    about: id(1),
                    recipients: Vec::new(),
                    told: grapevine_model::ReportTells::End,
                }),
            },
            about: id(1),
            full: false,
            envelope_id: None,
            accepted_ms: NOW_MS - 1000,
            lines,
            kind: grapevine_core::ReportKind::Delivery,
        }
    }

    fn composed(order: &ReportOrder, original: Original<'_>) -> Vec<u8> {
        let server: ServerName = "s1".parse().unwrap();
        let reporter = Reporter {
            server: &server,
            hostname: "s1.example",
        };
        let bytes = compose(order, reporter, original, NOW_MS);
        assert_eq!(bytes, compose(order, reporter, original, NOW_MS));
        bytes
    }

    /// The parts of a report: text, status, and what came back.
    fn parts(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let message = MessageParser::default().parse(bytes).unwrap();
        let root = message.root_part();
        let kind = root.content_type().unwrap();
        assert_eq!(kind.subtype(), Some("report"));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        let PartType::Multipart(children) = &root.body else {
            panic!("not a multipart: {message:?}");
        };
        children
            .iter()
            .map(|child| {
                let part = message.part(*child).unwrap();
                let kind = part.content_type().unwrap();
                let name = format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default());
                let content = bytes
                    .get(part.raw_body_offset() as usize..part.raw_end_offset() as usize)
                    .unwrap();
                (name, content.to_vec())
            })
            .collect()
    }

    #[test]
    fn a_report_names_each_recipient_and_the_reason_for_people_and_for_programs() {
        let bytes = composed(
            &order(vec![
                line("needham@pa.example", "no such name: needham@pa.example"),
                ReportLine {
                    delivered: true,
                    status: "2.1.5".into(),
                    ..line("schroeder@pa.example", "")
                },
            ]),
            Original::Beginning(b"From: a@b\r\nSubject: x\r\n\r\nbody"),
        );
        let message = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(
            message.to().unwrap().first().unwrap().address(),
            Some("birrell@pa.example")
        );
        assert_eq!(
            message.from().unwrap().first().unwrap().address(),
            Some("MAILER-DAEMON@s1.example")
        );
        assert_eq!(
            message.header_raw("Auto-Submitted").map(str::trim),
            Some("auto-replied")
        );
        assert_eq!(message.date().unwrap().to_timestamp(), 1_795_408_680);
        assert_eq!(
            message.message_id(),
            Some(format!("{}.report@s1.example", id(2)).as_str())
        );
        let parts = parts(&bytes);
        let [
            (text_type, text),
            (status_type, status),
            (header_type, header),
        ] = parts.as_slice()
        else {
            panic!("{parts:?}");
        };
        assert_eq!(text_type, "text/plain");
        let text = std::str::from_utf8(text).unwrap();
        assert!(text.contains("needham@pa.example") && text.contains("no such name"));
        assert!(text.contains("schroeder@pa.example") && text.contains("server s1"));
        assert_eq!(status_type, "message/delivery-status");
        let status = std::str::from_utf8(status).unwrap();
        for expected in [
            "Reporting-MTA: dns; s1.example\r\n",
            "Final-Recipient: rfc822; needham@pa.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            "Diagnostic-Code: x-grapevine; no such name: needham@pa.example\r\n",
            "Final-Recipient: rfc822; schroeder@pa.example\r\nAction: delivered\r\nStatus: 2.1.5\r\n",
        ] {
            assert!(status.contains(expected), "{expected} in {status}");
        }
        assert_eq!(header_type, "text/rfc822-headers");
        assert!(header.starts_with(b"From: a@b\r\nSubject: x\r\n"));
        assert!(!header.windows(4).any(|window| window == b"body"));
    }

    #[test]
    fn a_whole_message_comes_back_byte_for_byte() {
        let original = b"Subject: \xff\r\n\r\n\0 a bare \r and \n and --=_0\r\n";
        let order = ReportOrder {
            full: true,
            ..order(vec![line("needham@pa", "x")])
        };
        let bytes = composed(&order, Original::Whole(original));
        assert!(
            bytes
                .windows(original.len())
                .any(|window| window == original)
        );
        assert!(
            parts(&bytes)
                .iter()
                .any(|(kind, _)| kind == "message/rfc822")
        );
    }

    #[test]
    fn a_hostile_reason_and_original_recipient_stay_in_their_fields() {
        let mut evil = line(
            "needham@pa",
            "no\r\nStatus: 2.0.0\r\n\r\n--x\u{85}\r\nBcc: a@b",
        );
        evil.original = Some("rfc822;a+0D+0ABcc:+20evil".into());
        evil.status = "5.1.1\r\nX: y".into();
        let mut order = order(vec![evil]);
        order.envelope_id = Some("id+0D+0AX: y".into());
        let bytes = composed(&order, Original::Beginning(b"Subject: a\0b\rc\nd\r\n\r\n"));
        let text = String::from_utf8(bytes).unwrap();
        for line in text.split("\r\n") {
            assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
            for forged in ["Bcc:", "X:", "Status: 2", "--x"] {
                assert!(!line.starts_with(forged), "{line:?}");
            }
        }
        assert!(text.contains("Status: 5.0.0\r\n"));
    }

    #[test]
    fn a_notice_of_a_delay_says_why_and_until_when_and_brings_the_header_back() {
        let mut order = order(vec![line(
            "away@pa.example",
            "no inbox site can be reached",
        )]);
        order.lines[0].status = "4.0.0".into();
        order.kind = ReportKind::Delay {
            retry_until_ms: NOW_MS + 116 * 3_600_000,
        };
        let bytes = composed(&order, Original::Beginning(b"Subject: hi\r\n\r\nsecret"));
        let whole = String::from_utf8(bytes.clone()).unwrap();
        assert!(whole.contains("\r\nSubject: Delayed mail"), "{whole}");
        assert!(!whole.contains("secret") && whole.contains("Subject: hi"));
        let parts = parts(&bytes);
        let status = std::str::from_utf8(&parts[1].1).unwrap();
        let recipient = status.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!(
            recipient.trim_end(),
            "Final-Recipient: rfc822; away@pa.example\r\n\
             Action: delayed\r\n\
             Status: 4.0.0\r\n\
             Diagnostic-Code: x-grapevine; no inbox site can be reached\r\n\
             Will-Retry-Until: Sat, 28 Nov 2026 00:38:00 +0000"
        );
        let text = std::str::from_utf8(&parts[0].1).unwrap();
        assert!(text.contains("need not send it again"), "{text}");
        assert!(!text.contains("will not be tried again"), "{text}");
    }

    #[test]
    fn names_in_any_script_are_ascii_for_programs() {
        let mut order = order(vec![line(
            "jos\u{e9}@pa.example",
            "kein Platz f\u{fc}r Post",
        )]);
        order.lines[0].original = Some("rfc822;jos+C3+A9@pa.example".into());
        let bytes = composed(&order, Original::Missing);
        let parts = parts(&bytes);
        assert_eq!(parts.len(), 2, "nothing came back");
        let status = std::str::from_utf8(&parts[1].1).unwrap();
        assert!(status.is_ascii(), "{status}");
        assert!(status.contains("Original-Recipient: utf-8; jos\\x{E9}@pa.example"));
        assert!(status.contains("Final-Recipient: utf-8; jos\\x{E9}@pa.example"));
        assert!(
            std::str::from_utf8(&parts[0].1)
                .unwrap()
                .contains("f\u{fc}r")
        );
    }

    #[test]
    fn a_report_about_many_names_all_and_stays_small() {
        let lines = (0..1000)
            .map(|number| line(&format!("n{number}@pa.example"), &"x".repeat(5000)))
            .collect();
        let header = b"Subject: x\r\n".repeat(20_000);
        let bytes = composed(&order(lines), Original::Beginning(&header));
        assert!(bytes.len() < 1024 * 1024, "{}", bytes.len());
        let text = std::str::from_utf8(&bytes).unwrap();
        let lines: std::collections::HashSet<&str> = text.split("\r\n").collect();
        assert!((0..1000).all(|number| {
            lines.contains(format!("Final-Recipient: rfc822; n{number}@pa.example").as_str())
        }));
    }
}
