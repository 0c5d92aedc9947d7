//! BODY and BODYSTRUCTURE: a message's parts as a list of lists (RFC 9051 section 7.5.2).

use super::envelope;
use super::header::{disposition, languages, value};
use super::mime::{Inside, Part, Structure};
use super::syntax::{put_nstring, put_string};

/// Whether the extension data is wanted: BODYSTRUCTURE has it, BODY has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Basic,
    Extended,
}

pub(super) fn put(out: &mut Vec<u8>, structure: &Structure, extent: Extent) {
    if let Some(root) = structure.root() {
        put_part(out, structure, root, extent);
    }
}

/// As deep as the parts are nested, and that has a bound.
fn put_part(out: &mut Vec<u8>, structure: &Structure, part: &Part, extent: Extent) {
    out.push(b'(');
    match &part.inside {
        Inside::Parts(children) => {
            let mut any = false;
            for child in children
                .iter()
                .filter_map(|child| structure.parts.get(*child))
            {
                put_part(out, structure, child, extent);
                any = true;
            }
            if !any {
                // There must be one.
                out.extend_from_slice(b"(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)");
            }
            out.push(b' ');
            put_upper(out, &part.content.subtype);
            if extent == Extent::Extended {
                out.push(b' ');
                put_parameters(out, &part.content.parameters);
                put_tail(out, part);
            }
        }
        Inside::Content | Inside::Message(_) => {
            put_single(out, structure, part, extent);
        }
    }
    out.push(b')');
}

fn put_single(out: &mut Vec<u8>, structure: &Structure, part: &Part, extent: Extent) {
    put_upper(out, &part.content.kind);
    out.push(b' ');
    put_upper(out, &part.content.subtype);
    out.push(b' ');
    put_parameters(out, &part.content.parameters);
    for field in ["Content-ID", "Content-Description"] {
        out.push(b' ');
        put_nstring(out, value(&part.header, field).as_deref());
    }
    out.push(b' ');
    put_string(out, part.encoding.name().as_bytes());
    out.extend_from_slice(format!(" {}", part.body_span().len()).as_bytes());
    if let Some(message) = structure.message_in(part) {
        out.push(b' ');
        envelope::put(out, &message.header);
        out.push(b' ');
        put_part(out, structure, message, extent);
        out.extend_from_slice(format!(" {}", part.lines).as_bytes());
    } else if part.content.is("message", "rfc822") || part.content.is("message", "global") {
        // Encoded, or too deep to be looked into: the form has to be kept.
        out.push(b' ');
        envelope::put(out, b"");
        out.extend_from_slice(b" (\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)");
        out.extend_from_slice(format!(" {}", part.lines).as_bytes());
    } else if part.content.is_kind("text") {
        out.extend_from_slice(format!(" {}", part.lines).as_bytes());
    }
    if extent == Extent::Extended {
        out.push(b' ');
        put_nstring(out, value(&part.header, "Content-MD5").as_deref());
        put_tail(out, part);
    }
}

/// Disposition, language, location.
fn put_tail(out: &mut Vec<u8>, part: &Part) {
    out.push(b' ');
    match disposition(&part.header) {
        None => out.extend_from_slice(b"NIL"),
        Some((word, parameters)) => {
            out.push(b'(');
            put_string(out, word.as_bytes());
            out.push(b' ');
            put_parameters(out, &parameters);
            out.push(b')');
        }
    }
    out.push(b' ');
    match languages(&part.header).as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        words => {
            out.push(b'(');
            for (at, word) in words.iter().enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                put_string(out, word.as_bytes());
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    put_nstring(out, value(&part.header, "Content-Location").as_deref());
}

fn put_parameters(out: &mut Vec<u8>, parameters: &[(String, Vec<u8>)]) {
    if parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (at, (name, text)) in parameters.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        put_upper(out, name);
        out.push(b' ');
        put_string(out, text);
    }
    out.push(b')');
}

fn put_upper(out: &mut Vec<u8>, text: &str) {
    put_string(out, text.to_ascii_uppercase().as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mime::scan;
    use super::*;

    fn shown(message: &str, extent: Extent) -> String {
        let mut out = Vec::new();
        put(&mut out, &scan(message.as_bytes(), 7), extent);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plain_message_is_shown() {
        assert_eq!(
            shown("A: 1\r\n\r\nx\r\n", Extent::Basic),
            "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 3 1)"
        );
        assert_eq!(
            shown(
                "Content-Type: image/png; name=x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: inline\r\n\r\nAAAA",
                Extent::Extended
            ),
            "(\"IMAGE\" \"PNG\" (\"NAME\" \"x\") NIL NIL \"BASE64\" 4 NIL (\"inline\" NIL) NIL NIL)"
        );
    }

    #[test]
    fn parts_and_messages_nest() {
        let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext\r\n--b--\r\n";
        assert_eq!(
            shown(message, Extent::Basic),
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 3 1)(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 4 1) 3) \"MIXED\")"
        );
        assert_eq!(
            shown(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing",
                Extent::Basic
            ),
            "((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0) \"MIXED\")"
        );
    }
}
