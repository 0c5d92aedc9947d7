//! Against circles of redirecting mailboxes: each leaves its name in the header of what it sends on.

use grapevine_model::Name;

use super::header::Header;
use crate::text::push_safe_str;

/// The field.
const FIELD: &str = "X-Grapevine-Redirected";

/// The line that a redirected message gets at its beginning; the rest of it is the message as it was.
pub fn guard(by: &Name) -> String {
    format!("{FIELD}: {}\r\n", shown(by))
}

/// Whether a mailbox has sent this on before.
pub(super) fn was_by(header: &Header, name: &Name) -> bool {
    let shown = shown(name);
    header.values(FIELD).any(|by| by == shown)
}

/// How often it was sent on.
pub(super) fn times(header: &Header) -> usize {
    header.values(FIELD).count()
}

fn shown(name: &Name) -> String {
    let mut shown = String::new();
    push_safe_str(&mut shown, &name.without_detail().key());
    shown
}
