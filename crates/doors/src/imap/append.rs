//! APPEND, with several messages (RFC 3502), binary ones (RFC 3516) and UTF-8 (RFC 6855): octets pass to the shell as they come.
//!
//! Must never put a message into a folder that did not come whole, nor some of several. A message that is refused when it is already on its way
//! is read to its end, so that its octets are never taken for commands.

use super::command::{Prefix, path, read_prefix};
use super::limits::{APPENDED_MESSAGES, COMMAND_BYTES, UNWANTED_BYTES};
use super::session::{Open, Phase, Placing, Session};
use super::syntax::{Bad, Cursor, LineEnd, Waits, line_end};
use super::types::{Answer, Appended, Ask, Folder, FolderId, Output};
use crate::line::{Split, split};

/// An APPEND on its way.
pub(super) struct Appending {
    tag: String,
    path: String,
    folder: FolderId,
    messages: Vec<Appended>,
    /// Of the message at hand.
    prefix: Prefix,
    bytes: u64,
    left: u64,
    waits: Waits,
}

impl Session {
    /// Whether the literal that ends this line is a message of APPEND, not its folder's name.
    pub(super) fn is_message(&self, line: &[u8]) -> bool {
        let whole;
        let text = if self.command_so_far().is_empty() {
            line
        } else {
            whole = [self.command_so_far(), line].concat();
            whole.as_slice()
        };
        let mut cursor = Cursor::new(text);
        cursor.tag().is_ok()
            && cursor.eat(b' ').is_some()
            && cursor.eat_word("APPEND ").is_some()
            && cursor.astring().is_ok()
            && cursor.eat(b' ').is_some()
    }

    pub(super) fn append_begins(&mut self, command: &[u8], bytes: u64, waits: Waits) {
        let mut cursor = Cursor::new(command);
        let Ok(tag) = cursor.tag().map(str::to_owned) else {
            return;
        };
        let _ = cursor.eat_word(" APPEND ");
        let spelling = self.spelling();
        let read = path(&mut cursor, spelling).and_then(|path| {
            cursor.space()?;
            Ok((path, read_prefix(&mut cursor)?))
        });
        let why = match read {
            _ if !self.logged_in => "Log in first",
            Err(Bad(why)) => why,
            Ok((path, prefix)) => {
                let appending = Appending {
                    tag,
                    path,
                    folder: FolderId::default(),
                    messages: Vec::new(),
                    prefix,
                    bytes,
                    left: bytes,
                    waits,
                };
                return match self.unfit(&appending) {
                    Some(why) => self.drop_message(appending, why),
                    None => self.ask_folders(super::folders::Then::Append(Box::new(appending))),
                };
            }
        };
        self.fault(Some(&tag), why);
        self.unwanted(bytes, waits);
    }

    fn unfit(&self, appending: &Appending) -> Option<&'static str> {
        if appending.bytes > self.config.limits.message_bytes {
            Some("[TOOBIG] The message is longer than this server takes")
        } else if appending.bytes == 0 {
            Some("[CANNOT] A message of no octets")
        } else if appending.messages.len() >= APPENDED_MESSAGES {
            Some("[LIMIT] Too many messages in one command")
        } else {
            None
        }
    }

    /// Refuses the message at hand, and those before it.
    fn drop_message(&mut self, appending: Appending, why: &str) {
        if !appending.messages.is_empty() {
            self.push(Output::BodyAbort);
        }
        self.no(&appending.tag, why);
        self.unwanted(appending.left, appending.waits);
    }

    fn unwanted(&mut self, bytes: u64, waits: Waits) {
        match waits {
            // Told no, the client doesn't send it.
            Waits::Yes => {}
            Waits::No if bytes > UNWANTED_BYTES => self.bye("[TOOBIG] The message is too long"),
            Waits::No if matches!(self.phase, Phase::Closed) => {}
            Waits::No if bytes == 0 => self.phase = Phase::AfterUnwanted,
            Waits::No => self.phase = Phase::Unwanted { left: bytes },
        }
    }

    pub(super) fn append_refused(&mut self, appending: Appending, answer: Answer) {
        let tag = appending.tag.clone();
        self.refused(&tag, answer);
        self.unwanted(appending.left, appending.waits);
    }

    pub(super) fn append_found(
        &mut self,
        mut appending: Appending,
        find: impl Fn(&str) -> Option<Folder>,
    ) {
        match find(&appending.path) {
            None => self.drop_message(appending, "[TRYCREATE] There is no such folder"),
            Some(folder) => {
                appending.folder = folder.id;
                self.message_begins(appending);
            }
        }
    }

    fn message_begins(&mut self, appending: Appending) {
        self.push(Output::BodyStart {
            bytes: appending.bytes,
        });
        if appending.waits == Waits::Yes {
            self.write(|out| out.extend_from_slice(b"+ OK\r\n"));
        }
        self.phase = Phase::Message(Box::new(appending));
    }

    /// Octets of a message, or the line behind it.
    pub(super) fn message_bytes(&mut self, input: &[u8]) -> usize {
        let Phase::Message(appending) = &mut self.phase else {
            return 0;
        };
        if appending.left > 0 {
            let taken = input
                .len()
                .min(usize::try_from(appending.left).unwrap_or(usize::MAX));
            if taken == 0 {
                return 0;
            }
            appending.left -= taken as u64;
            let whole = appending.left == 0;
            if whole {
                let Prefix {
                    flags,
                    date_ms,
                    utf8: _,
                } = appending.prefix.clone();
                appending.messages.push(Appended { flags, date_ms });
            }
            self.push(Output::BodyChunk(
                input.get(..taken).unwrap_or_default().to_vec(),
            ));
            if whole {
                self.push(Output::BodyEnd);
            }
            return taken;
        }
        match split(input, COMMAND_BYTES) {
            Split::Incomplete => 0,
            Split::Line { line, taken } => {
                self.after_message(line);
                taken
            }
            Split::BareLineEnd | Split::TooLong => {
                // What belongs to the message can't be told from what does not.
                self.push(Output::BodyAbort);
                self.bye("A message of APPEND is followed by CRLF or another one");
                input.len()
            }
        }
    }

    fn after_message(&mut self, line: &[u8]) {
        let Phase::Message(mut appending) = std::mem::replace(&mut self.phase, Phase::Command)
        else {
            return;
        };
        let rest = match appending.prefix.utf8 {
            true => line.strip_prefix(b")"),
            false => Some(line),
        };
        let Some(rest) = rest else {
            return self.append_broken(&appending.tag, line);
        };
        if rest.is_empty() {
            let Appending {
                tag,
                folder,
                messages,
                ..
            } = *appending;
            return self.ask(
                Ask::Append { folder, messages },
                Open::Placed {
                    tag,
                    verb: Placing::Append,
                    to: folder,
                },
            );
        }
        let (
            Some(next),
            LineEnd::Literal {
                bytes,
                waits,
                at: _,
            },
        ) = (rest.strip_prefix(b" "), line_end(rest))
        else {
            return self.append_broken(&appending.tag, line);
        };
        let LineEnd::Literal { at, .. } = line_end(next) else {
            return self.append_broken(&appending.tag, line);
        };
        match read_prefix(&mut Cursor::new(next.get(..at).unwrap_or_default())) {
            Err(Bad(why)) => {
                self.push(Output::BodyAbort);
                self.fault(Some(&appending.tag), why);
                self.unwanted(bytes, waits);
            }
            Ok(prefix) => {
                appending.prefix = prefix;
                (appending.bytes, appending.left, appending.waits) = (bytes, bytes, waits);
                match self.unfit(&appending) {
                    Some(why) => self.drop_message(*appending, why),
                    None => self.message_begins(*appending),
                }
            }
        }
    }

    /// The line behind a message makes no sense; a literal that it announces is not wanted.
    fn append_broken(&mut self, tag: &str, line: &[u8]) {
        self.push(Output::BodyAbort);
        self.fault(
            Some(tag),
            "A message of APPEND is followed by CRLF or another one",
        );
        if let LineEnd::Literal { bytes, waits, .. } = line_end(line) {
            self.unwanted(bytes, waits);
        }
    }

    /// The line behind a message that nobody wants: another one may follow.
    pub(super) fn after_unwanted(&mut self, line: &[u8]) {
        match line_end(line) {
            LineEnd::Complete => {}
            LineEnd::Endless => self.bye("[TOOBIG] No number of octets is as large"),
            LineEnd::Literal { bytes, waits, .. } => self.unwanted(bytes, waits),
        }
    }
}
