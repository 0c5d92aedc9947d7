//! Questions to the person at the terminal, where something needed was not given.
//!
//! Without a terminal nothing is asked: a script gets the default or an error that names the option.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use grapevine_model::Secret;
use zeroize::Zeroizing;

use crate::out::Failure;

/// A password file longer than this is something else.
const PASSWORD_FILE_MAX_BYTES: u64 = 4_096;

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line; an empty one, or nobody to ask, gives the default.
pub(crate) fn line(question: &str, default: &str) -> Result<String, Failure> {
    if !can_ask() {
        return Ok(default.to_owned());
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [{default}]: ")
        .and_then(|()| stderr.flush())
        .map_err(Failure::new)?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Failure::new)?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

/// A password from a file (its first line), or asked for twice.
pub(crate) fn new_password(file: Option<&Path>, whose: &str) -> Result<Secret, Failure> {
    if let Some(file) = file {
        return password_file(file);
    }
    if !can_ask() {
        return Err(Failure::usage(format_args!(
            "no password for {whose}: give --password-file FILE"
        )));
    }
    let first =
        rpassword::prompt_password(format!("Password for {whose}: ")).map_err(Failure::new)?;
    let first = Secret(first);
    let second = Secret(rpassword::prompt_password("Again: ").map_err(Failure::new)?);
    if first != second {
        return Err(Failure::usage("the two passwords differ; nothing was done"));
    }
    Ok(first)
}

/// A password from the first line of a file.
pub(crate) fn password_file(file: &Path) -> Result<Secret, Failure> {
    let say = |error: io::Error| Failure::new(format_args!("{}: {error}", file.display()));
    if std::fs::metadata(file).map_err(say)?.len() > PASSWORD_FILE_MAX_BYTES {
        return Err(Failure::new(format_args!(
            "{}: too long for a password's file",
            file.display()
        )));
    }
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(say)?);
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        return Err(Failure::new(format_args!(
            "{}: its first line is empty",
            file.display()
        )));
    }
    Ok(Secret(password.to_owned()))
}
