//! `grapevine registry import` and `registry export`: a registry from and to a file.

mod export;
mod import;

use std::path::Path;

use grapevine_user::bulk;

use crate::out::Failure;

pub(super) use export::{ExportArgs, export};
pub(super) use import::{ImportArgs, import};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FormatArg {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// A directory's dump.
    Ldif,
}

impl From<FormatArg> for bulk::Format {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Csv => Self::Csv,
            FormatArg::Jsonl => Self::JsonLines,
            FormatArg::Ldif => Self::Ldif,
        }
    }
}

fn format_of(given: Option<FormatArg>, file: Option<&Path>) -> Result<bulk::Format, Failure> {
    if let Some(given) = given {
        return Ok(given.into());
    }
    let Some(file) = file else {
        return Ok(bulk::Format::JsonLines);
    };
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => Ok(bulk::Format::Csv),
        Some("jsonl" | "ndjson") => Ok(bulk::Format::JsonLines),
        Some("ldif" | "ldf") => Ok(bulk::Format::Ldif),
        Some(_) | None => Err(Failure::usage(format_args!(
            "{}: how is it written? give --format csv, jsonl or ldif",
            file.display()
        ))),
    }
}
