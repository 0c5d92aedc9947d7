//! Bytes into commands: lines, the literals in them, and what else a phase of the session waits for.
//!
//! Must never take what is part of a literal for a command, nor hold more of a command than its bound.

use zeroize::Zeroizing;

use super::command;
use super::limits::{COMMAND_BYTES, COMMAND_BYTES_BEFORE_LOGIN};
use super::session::{Phase, Session};
use super::syntax::{Bad, Cursor, LineEnd, Waits, line_end};
use crate::inbox::Residue;
use crate::line::{Skip, Split, split};

impl Session {
    /// A line, or a piece of what follows one. 0: more bytes are needed.
    pub(super) fn step(&mut self, input: &[u8]) -> usize {
        if self.skip != Skip::Off {
            return self.skip.skip(input);
        }
        match &mut self.phase {
            Phase::Literal { left } => {
                let taken = input.len().min(*left);
                *left -= taken;
                let all = *left == 0;
                extend(&mut self.command, input.get(..taken).unwrap_or_default());
                if all {
                    self.phase = Phase::Command;
                }
                if !self.logged_in {
                    self.residue = Residue::Wipe;
                }
                taken
            }
            Phase::Unwanted { left } => {
                let taken = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left == 0 {
                    self.phase = Phase::AfterUnwanted;
                }
                taken
            }
            Phase::Message(_) => self.message_bytes(input),
            Phase::Command
            | Phase::AfterUnwanted
            | Phase::AuthResponse { .. }
            | Phase::Scram { .. }
            | Phase::Idle { .. } => self.line_step(input),
            Phase::StartingTls | Phase::StartingDeflate | Phase::Closed => 0,
        }
    }

    fn line_step(&mut self, input: &[u8]) -> usize {
        let limit = if self.logged_in {
            COMMAND_BYTES
        } else {
            self.residue = Residue::Wipe;
            COMMAND_BYTES_BEFORE_LOGIN
        };
        match split(input, limit.saturating_sub(self.command.len())) {
            Split::Line { line, taken } => {
                self.line(line);
                taken
            }
            Split::Incomplete => 0,
            Split::BareLineEnd => {
                self.skip_line(input, "Lines end with CRLF, never with CR or LF alone")
            }
            Split::TooLong => self.skip_line(input, "Command too long"),
        }
    }

    fn skip_line(&mut self, input: &[u8], why: &'static str) -> usize {
        let begun = if self.command.is_empty() {
            input
        } else {
            self.command.as_slice()
        };
        let tag = match self.phase {
            Phase::Command => tag_of(begun),
            _ => None,
        };
        self.phase = Phase::Command;
        wipe(&mut self.command);
        self.skip = Skip::Inside;
        self.fault(tag.as_deref(), why);
        self.skip.skip(input)
    }

    fn line(&mut self, line: &[u8]) {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Command => self.command_line(line),
            Phase::AfterUnwanted => self.after_unwanted(line),
            Phase::AuthResponse { tag } => self.auth_response(&tag, line),
            Phase::Scram { tag, scram } => self.scram_line(tag, scram, line),
            Phase::Idle { tag } => {
                if line.eq_ignore_ascii_case(b"DONE") {
                    self.complete(&tag, "IDLE completed");
                } else {
                    self.fault(Some(&tag), "IDLE ends with DONE");
                }
            }
            other @ (Phase::Literal { .. }
            | Phase::Message(_)
            | Phase::Unwanted { .. }
            | Phase::StartingTls
            | Phase::StartingDeflate
            | Phase::Closed) => self.phase = other,
        }
    }

    /// A line of a command: its last, or one that ends with a literal's announcement.
    fn command_line(&mut self, line: &[u8]) {
        match line_end(line) {
            LineEnd::Complete => {
                extend(&mut self.command, line);
                let command = std::mem::replace(&mut self.command, Zeroizing::new(Vec::new()));
                self.whole_command(&command);
            }
            LineEnd::Endless => {
                extend(&mut self.command, line);
                self.bye("[TOOBIG] No number of octets is as large");
            }
            LineEnd::Literal { bytes, waits, at } => {
                let before = line.get(..at).unwrap_or_default();
                if self.is_message(before) {
                    extend(&mut self.command, before);
                    let command = std::mem::replace(&mut self.command, Zeroizing::new(Vec::new()));
                    self.append_begins(&command, bytes, waits);
                } else {
                    self.literal(line, bytes, waits);
                }
            }
        }
    }

    fn literal(&mut self, line: &[u8], bytes: u64, waits: Waits) {
        extend(&mut self.command, line);
        extend(&mut self.command, b"\r\n");
        let limit = if self.logged_in {
            COMMAND_BYTES
        } else {
            COMMAND_BYTES_BEFORE_LOGIN
        };
        match usize::try_from(bytes) {
            Ok(bytes) if self.command.len().saturating_add(bytes) < limit => {
                if waits == Waits::Yes {
                    self.write(|out| out.extend_from_slice(b"+ OK\r\n"));
                }
                if bytes > 0 {
                    self.phase = Phase::Literal { left: bytes };
                }
            }
            _ => {
                let tag = tag_of(&self.command);
                wipe(&mut self.command);
                match waits {
                    Waits::Yes => self.fault(tag.as_deref(), "[TOOBIG] Literal too long"),
                    // It is on its way already, and nobody knows where it ends but by reading it.
                    Waits::No => self.bye("[TOOBIG] Literal too long"),
                }
            }
        }
    }

    fn whole_command(&mut self, text: &[u8]) {
        let mut cursor = Cursor::new(text);
        let Ok(tag) = cursor.tag() else {
            return self.fault(None, "A command begins with a tag");
        };
        if let Err(Bad(why)) = cursor.space() {
            return self.fault(Some(tag), why);
        }
        match command::parse(&mut cursor, self.spelling()) {
            Ok(command) => {
                self.errors = 0;
                self.run(tag.to_owned(), command);
            }
            Err(Bad(why)) if why.starts_with("[BADCHARSET") => self.no(tag, why),
            Err(Bad(why)) => self.fault(Some(tag), why),
        }
    }
}

/// Sized first, so that no reallocation leaves a copy of a password behind.
fn extend(command: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = command.len() + bytes.len();
    if needed > command.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed + needed / 2));
        larger.extend_from_slice(command);
        *command = larger;
    }
    command.extend_from_slice(bytes);
}

pub(super) fn wipe(command: &mut Zeroizing<Vec<u8>>) {
    *command = Zeroizing::new(Vec::new());
}

fn tag_of(line: &[u8]) -> Option<String> {
    Cursor::new(line)
        .tag()
        .ok()
        .filter(|tag| tag.len() <= 100)
        .map(str::to_owned)
}
