//! The header of a list's copy that leaves for outside: `From:` becomes the list's, `Reply-To:` keeps the author.
//!
//! The author's domain vouches for its own servers only (DMARC, RFC 7489), so a copy that another domain sends
//! under his name would be refused. All other fields and the body go through octet by octet, and a header
//! that is too long or has no single `From:` does so entirely.
//!
//! Holds a header's worth of memory at most, and never lets a field's content begin another field.

use grapevine_model::Name;

/// A header longer than this is left as it is: RFC 5322 sets no limit, mail has some kilobytes.
const HEADER_MAX_BYTES: usize = 64 * 1024;
/// Of a display name so many characters are shown.
const SHOWN_MAX_CHARS: usize = 120;

/// Rewrites a message's header as the message goes by.
#[derive(Debug)]
pub struct Via {
    list: Name,
    /// The header so far; none when it is over.
    held: Option<Vec<u8>>,
}

impl Via {
    /// For copies of this list.
    pub fn new(list: Name) -> Self {
        Self {
            list,
            held: Some(Vec::new()),
        }
    }

    /// The next octets of the message; gives those that may leave.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(held) = &mut self.held else {
            return bytes.to_vec();
        };
        // An end that is cut by two pieces is found too.
        let from = held.len().saturating_sub(3);
        held.extend_from_slice(bytes);
        match end_of_header(held, from) {
            Some(end) => {
                let whole = self.held.take().unwrap_or_default();
                let (header, body) = whole.split_at(end);
                // However it comes in pieces, a longer one is left as it is.
                let new = (end + 2 <= HEADER_MAX_BYTES)
                    .then(|| rewritten(header, &self.list))
                    .flatten();
                let mut out = new.unwrap_or_else(|| header.to_vec());
                out.extend_from_slice(body);
                out
            }
            None if held.len() >= HEADER_MAX_BYTES => self.held.take().unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// The message is over: what was kept of it.
    pub fn end(&mut self) -> Vec<u8> {
        let header = self.held.take().unwrap_or_default();
        rewritten(&header, &self.list).unwrap_or(header)
    }
}

/// Where the fields end: before the empty line.
fn end_of_header(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.starts_with(b"\r\n") || bytes.starts_with(b"\n") {
        return Some(0);
    }
    let rest = bytes.get(from..)?;
    let found = rest.iter().enumerate().find_map(|(at, byte)| {
        let after = rest.get(at + 1..).unwrap_or_default();
        (*byte == b'\n' && (after.starts_with(b"\r\n") || after.starts_with(b"\n"))).then_some(at)
    });
    Some(from + found? + 1)
}

/// The fields with the new ones; none if there is nothing to change.
fn rewritten(header: &[u8], list: &Name) -> Option<Vec<u8>> {
    let fields = fields(header);
    let called = |field: &[u8], name: &str| {
        let colon = field.iter().position(|byte| *byte == b':');
        let called = colon
            .and_then(|colon| field.get(..colon))
            .unwrap_or_default();
        called
            .trim_ascii_end()
            .eq_ignore_ascii_case(name.as_bytes())
    };
    let mut from = fields.iter().filter(|field| called(field, "from"));
    let (author, None) = (from.next()?, from.next()) else {
        return None;
    };
    let colon = author.iter().position(|byte| *byte == b':')?;
    let value = String::from_utf8_lossy(author.get(colon + 1..)?).into_owned();
    let unfolded: String = value
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .collect();
    let own = format!("@{}", list.registry()).to_lowercase();
    let domain = unfolded.trim().trim_end_matches('>').to_lowercase();
    if domain.ends_with(&own) {
        // Its own servers send it.
        return None;
    }
    let mut out = Vec::with_capacity(header.len() + 512);
    for field in &fields {
        if called(field, "from") {
            out.extend_from_slice(from_list(&unfolded, list).as_bytes());
        } else {
            out.extend_from_slice(field);
        }
    }
    if !fields.iter().any(|field| called(field, "reply-to")) {
        let mut author = value.trim_end().to_owned();
        // Folded as it was: every further line begins with a blank, or it would be another field.
        author.retain(|c| c != '\0');
        out.extend_from_slice(format!("Reply-To:{author}\r\n").as_bytes());
    }
    Some(out)
}

/// Each field with its further lines and line ends.
fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut begun = 0;
    let mut at = 0;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if at > begun && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            fields.extend(header.get(begun..at));
            begun = at;
        }
        at += line.len();
    }
    fields.extend(header.get(begun..at).filter(|last| !last.is_empty()));
    fields
}

/// `From:` as the list's, with the author's name in words.
fn from_list(author: &str, list: &Name) -> String {
    let display = match author.split_once('<') {
        Some((display, _)) if !display.trim().is_empty() => display.trim().to_owned(),
        Some((_, address)) => address
            .trim_end()
            .trim_end_matches('>')
            .replace('@', " at "),
        None => author.trim().replace('@', " at "),
    };
    let shown: String = display
        .chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\' | '<' | '>'))
        .take(SHOWN_MAX_CHARS)
        .collect();
    let (shown, simple) = (shown.trim(), list.simple());
    let encoded = shown
        .split_whitespace()
        .all(|word| word.starts_with("=?") && word.ends_with("?="));
    if encoded && !shown.is_empty() {
        // Encoded words (RFC 2047) are none inside quotes.
        format!("From: {shown} via \"{simple}\"\r\n\t<{list}>\r\n")
    } else {
        format!("From: \"{shown} via {simple}\"\r\n\t<{list}>\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn via(message: &str) -> String {
        let mut via = Via::new("csl^@pa.example".parse().unwrap());
        let mut out = via.pass(message.as_bytes());
        out.extend(via.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_copy_for_outside_is_from_the_list_and_answers_go_to_the_author() {
        let sent =
            "Subject: hi\r\nFrom: Ann Author\r\n <ann@es.example>\r\nTo: x\r\n\r\nFrom: body\r\n";
        assert_eq!(
            via(sent),
            "Subject: hi\r\nFrom: \"Ann Author via csl^\"\r\n\t<csl^@pa.example>\r\nTo: x\r\n\
             Reply-To: Ann Author\r\n <ann@es.example>\r\n\r\nFrom: body\r\n"
        );
        let bare = via("From: ann@es.example\r\nReply-To: b@es.example\r\n\r\n");
        assert_eq!(
            bare,
            "From: \"ann at es.example via csl^\"\r\n\t<csl^@pa.example>\r\nReply-To: b@es.example\r\n\r\n"
        );
        let encoded = via("From: =?utf-8?q?J=C3=BCrg?= <j@es.example>\r\n\r\n");
        assert!(
            encoded.starts_with("From: =?utf-8?q?J=C3=BCrg?= via \"csl^\"\r\n"),
            "{encoded}"
        );
    }

    #[test]
    fn what_is_of_the_lists_own_domain_or_no_mail_goes_as_it_is() {
        for same in [
            "From: Ann <ann@PA.example>\r\n\r\nhello",
            "Subject: nobody\r\n\r\n",
            "From: a@x.example\r\nFrom: b@x.example\r\n\r\n",
            "\r\nFrom: ann@es.example\r\n",
            "",
            "no header at all",
        ] {
            assert_eq!(via(same), same);
        }
        let long = format!(
            "X: {}\r\nFrom: a@x.example\r\n\r\n",
            "y".repeat(HEADER_MAX_BYTES)
        );
        assert_eq!(via(&long), long);
    }

    proptest! {
        #[test]
        fn how_it_is_cut_changes_nothing(text in "(From: [ -~]{0,30}\r?\n)?([A-Za-z]{1,5}: ?[ -~]{0,20}\r?\n){0,4}\r?\n[ -~\r\n]{0,40}", cut in 0usize..80) {
            let whole = via(&text);
            let cut = cut.min(text.len());
            let mut pieces = Via::new("csl^@pa.example".parse().unwrap());
            let mut out = pieces.pass(&text.as_bytes()[..cut]);
            out.extend(pieces.pass(&text.as_bytes()[cut..]));
            out.extend(pieces.end());
            prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
        }

        #[test]
        fn any_octets_go_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut via = Via::new("csl^@pa.example".parse().unwrap());
            let mut out = via.pass(&bytes);
            out.extend(via.end());
            // The body, at least, is there to the last octet.
            if let Some(end) = end_of_header(&bytes, 0) {
                prop_assert!(out.ends_with(&bytes[end..]));
            }
        }
    }
}
