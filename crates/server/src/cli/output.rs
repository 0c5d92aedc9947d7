//! How results look: short aligned tables for people, one JSON value for programs.
//!
//! What others have written (names, subjects, reasons) may hold anything; nothing
//! of it may move a terminal's cursor or colour.

use grapevine_model::{Stamp, Written};
use serde_json::{Value, json};

use crate::out::say;

/// Columns side by side, as wide as they must be.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a line that names the columns.
    pub(super) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|cell| (*cell).to_owned()).collect();
        Self { rows: vec![header] }
    }

    /// One more line.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Its lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints it.
    pub(super) fn print(&self) {
        for line in self.lines() {
            say(line);
        }
    }
}

/// Prints one JSON value.
pub(super) fn print_json(value: &Value) {
    say(format_args!("{value:#}"));
}

/// A text on one line without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A text of several lines without other control characters.
pub(super) fn printable_lines(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '\r')
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Prints that a change is done.
pub(super) fn print_written(json: bool, what: &str, written: &Written) {
    if json {
        print_json(&written_json(written));
        return;
    }
    let on = match written.copies {
        0 | 1 => "on one server so far; a second copy follows".to_owned(),
        copies => format!("on {copies} servers"),
    };
    match written.stamp {
        Some(_) => say(format_args!("{}: done, {on}", printable(what))),
        None => say(format_args!(
            "{}: done (nothing had to change)",
            printable(what)
        )),
    }
}

/// The same for programs.
pub(crate) fn written_json(written: &Written) -> Value {
    json!({
        "done": true,
        "copies": written.copies,
        "stamp": written.stamp.map(|stamp: Stamp| stamp.to_string()),
        "tokens": written.seen,
    })
}

/// So many things, in words.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

/// A length for a person.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = octets as f64;
    let mut unit = "B";
    for next in UNITS {
        unit = next;
        if value < 1024.0 {
            break;
        }
        if next != "GiB" {
            value /= 1024.0;
        }
    }
    match unit {
        "B" => format!("{octets} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// A span of time for a person, from milliseconds.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        ms => format!("{} days", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_is_aligned_and_what_others_wrote_can_not_move_the_cursor() {
        let mut table = Table::new(&["name", "n"]);
        table.row(["jörg".to_owned(), "1".to_owned()]);
        table.row(["a\u{1b}[2Jb\nc".to_owned(), String::new()]);
        assert_eq!(
            table.lines(),
            ["name      n", "jörg      1", "a\u{fffd}[2Jb c"]
        );
    }

    #[test]
    fn sizes_and_spans_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(50 * 1024 * 1024), "50.0 MiB");
        assert_eq!(size(3 * 1024 * 1024 * 1024), "3.0 GiB");
        assert_eq!(span(999), "999 ms");
        assert_eq!(span(90_000), "90 s");
        assert_eq!(span(86_400_000 * 3), "3 days");
    }
}
