//! Composes the notice to the owners of a moderated group that a message waits for them: what it is, what to say, until
//! when, and the header of the message.
//!
//! Must never let a name or a piece of the message break out of its field or part. Equal inputs give equal bytes.

use grapevine_core::ReportOrder;
use grapevine_model::{HeldPost, Name};

use crate::report::{Original, Reporter, header_of, mail_date, one_line};

/// The notice's bytes, lines ended with CRLF.
pub(crate) fn compose(
    order: &ReportOrder,
    (group, post): (&Name, &HeldPost),
    reporter: Reporter<'_>,
    original: Original<'_>,
    now_ms: u64,
) -> Vec<u8> {
    let header = match original {
        Original::Missing => Vec::new(),
        Original::Beginning(bytes) | Original::Whole(bytes) => header_of(bytes),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&post.message.to_bytes());
    hasher.update(&header);
    let digest = hasher.finalize().to_hex();
    let boundary = format!("=_{}", digest.get(..40).unwrap_or_default());
    let hostname = one_line(reporter.hostname, 255);
    let to = order.submission.envelope.recipients.first();
    let to = to.map(|to| one_line(&to.name.to_string(), 254));
    let id = order.submission.id.unwrap_or(order.about);
    let (group, message) = (one_line(&group.to_string(), 254), post.message);
    let from = match &post.from {
        Some(from) => one_line(&from.to_string(), 254),
        None => "nobody (a report)".to_owned(),
    };
    let mut out = format!(
        "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
         To: {to}\r\n\
         Subject: A message to {group} waits for you\r\n\
         Date: {date}\r\n\
         Message-ID: <{id}.held@{hostname}>\r\n\
         Auto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\
         \r\n\
         This is a notice about a message, in MIME format.\r\n\
         \r\n--{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         {from} has posted a message of {octets} octets to {group},\r\n\
         which is moderated. It waits for the word of an owner:\r\n\
         \r\n\
         \x20   grapevine group approve {group} {message}\r\n\
         \x20   grapevine group reject {group} {message} --reason TEXT\r\n\
         \r\n\
         If nobody has said anything by {until}, it goes back to its\r\n\
         sender. `grapevine group held {group}` shows all that waits.\r\n",
        to = to.unwrap_or_default(),
        date = mail_date(now_ms),
        octets = post.octets,
        until = mail_date(post.expires_ms),
    )
    .into_bytes();
    if !header.is_empty() {
        let part = format!(
            "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        );
        out.extend_from_slice(part.as_bytes());
        out.extend_from_slice(&header);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_core::ReportKind;
    use grapevine_model::{
        BodyInfo, Envelope, MessageId, ReturnContent, ServerName, Speaker, Submission,
    };

    #[test]
    fn the_owners_read_what_waits_until_when_and_what_to_say() {
        let server: ServerName = "a".parse().unwrap();
        let group: Name = "csl^@pa.example".parse().unwrap();
        let post = HeldPost {
            message: MessageId::from_u128(7),
            from: Some("guest@es.example".parse().unwrap()),
            octets: 1_234,
            since_ms: 1_700_000_000_000,
            expires_ms: 1_700_432_000_000,
        };
        let owners: Name = "owners-csl^@pa.example".parse().unwrap();
        let order = ReportOrder {
            submission: Submission {
                id: Some(MessageId::from_u128(8)),
                speaker: Speaker::Server(server.clone()),
                envelope: Envelope {
                    return_path: None,
                    recipients: vec![owners.into()],
                    content: ReturnContent::Headers,
                    envelope_id: None,
                },
                body: BodyInfo {
                    len: 1_234,
                    digest: [0; 32],
                },
                reports: None,
            },
            about: post.message,
            full: false,
            envelope_id: None,
            accepted_ms: post.since_ms,
            lines: Vec::new(),
            kind: ReportKind::Held {
                group: group.clone(),
                post: post.clone(),
            },
        };
        let reporter = Reporter {
            server: &server,
            hostname: "mail.example",
        };
        let original = Original::Beginning(b"Subject: hello\r\n--=_x\r\n\r\nsecret body\r\n");
        let bytes = compose(&order, (&group, &post), reporter, original, post.since_ms);
        let text = String::from_utf8(bytes.clone()).unwrap();
        for said in [
            "To: owners-csl^@pa.example\r\n",
            "guest@es.example has posted",
            "grapevine group approve csl^@pa.example 00000000000000000000000000000007",
            "Sun, 19 Nov 2023 22:13:20",
            "Subject: hello\r\n",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert!(!text.contains("secret body"));
        assert!(text.lines().all(|line| line.len() <= 998));
        let parsed = mail_parser::MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(parsed.parts.len(), 3);
    }
}
