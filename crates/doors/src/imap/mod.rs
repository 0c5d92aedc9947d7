//! IMAP4rev1 and IMAP4rev2 (RFC 3501, 9051), as a server.
//!
//! With what [`Session`]'s CAPABILITY says. A folder is what the shell says it is; each question is an [`Ask`]. Bodies pass through in pieces, both ways.

mod append;
mod body;
mod change;
mod command;
mod dates;
mod deflate;
mod envelope;
mod fetch;
mod fetch_syntax;
mod fetch_value;
mod flags;
mod folders;
mod header;
mod input;
mod limits;
mod login;
mod mime;
mod names;
mod readable;
mod search;
mod search_syntax;
mod select;
mod session;
mod sets;
mod structure;
mod syntax;
mod telling;
mod thread;
mod transfer;
mod types;
mod view;

pub use flags::{Change, Flags};
pub use limits::{COMMAND_BYTES, COMMAND_BYTES_BEFORE_LOGIN, Limits};
pub use names::{DELIMITER, from_utf7, to_utf7};
pub use session::Session;
pub use types::{
    Answer, Appended, Ask, Config, Extent, Flow, Folder, FolderId, Folders, News, Output, Quota,
    Reason, Refusal, Row, greeting_of_refusal,
};
