//! ManageSieve's answers (RFC 5804 1.2, 1.3, section 4).

use grapevine_model::{MAX_SCRIPTS, ScriptView};

use crate::Tls;
use crate::sieve::{EXTENSIONS, limits::REDIRECTS};
use crate::text::push_safe;

/// A text that is longer goes as a literal.
const QUOTED_BYTES: usize = 200;

/// Appends `OK`, `NO` or `BYE`, with a code and a text for people.
pub(super) fn status(out: &mut Vec<u8>, word: &str, code: Option<&str>, text: &str) {
    out.extend_from_slice(word.as_bytes());
    if let Some(code) = code {
        out.extend_from_slice(format!(" ({code})").as_bytes());
    }
    if !text.is_empty() {
        out.push(b' ');
        string(out, text);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a string, as a literal where it can't stand in quotation marks.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    if text.len() > QUOTED_BYTES || text.contains(char::is_control) {
        out.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push(b'\\');
        }
        let mut utf8 = [0; 4];
        out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
    }
    out.push(b'"');
}

/// Appends what the server can do (RFC 5804 1.7), in the state that the connection is in.
pub(super) fn capabilities(out: &mut Vec<u8>, tls: Tls) {
    out.extend_from_slice(b"\"IMPLEMENTATION\" \"Grapevine\"\r\n");
    out.extend_from_slice(format!("\"SIEVE\" \"{}\"\r\n", EXTENSIONS.join(" ")).as_bytes());
    match tls {
        Tls::Active | Tls::Local => out.extend_from_slice(b"\"SASL\" \"PLAIN\"\r\n"),
        Tls::Offered => out.extend_from_slice(b"\"SASL\" \"\"\r\n\"STARTTLS\"\r\n"),
        Tls::Unavailable => out.extend_from_slice(b"\"SASL\" \"\"\r\n"),
    }
    out.extend_from_slice(format!("\"MAXREDIRECTS\" \"{REDIRECTS}\"\r\n").as_bytes());
    out.extend_from_slice(b"\"VERSION\" \"1.0\"\r\n");
}

/// Appends the list of scripts.
pub(super) fn scripts(out: &mut Vec<u8>, scripts: &[ScriptView]) {
    for view in scripts.iter().take(MAX_SCRIPTS * 2) {
        string(out, view.script.as_str());
        if view.active {
            out.extend_from_slice(b" ACTIVE");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What a client is told instead of a greeting.
pub fn greeting_of_refusal() -> Vec<u8> {
    let mut out = b"BYE (TRYLATER) \"".to_vec();
    push_safe(
        &mut out,
        "Too many connections, try again later or at another server",
    );
    out.extend_from_slice(b"\"\r\n");
    out
}
