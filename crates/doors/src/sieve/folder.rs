//! The name of a folder as a script gives it: levels with `/` between them, in UTF-8.

use super::limits::{FOLDER_BYTES, FOLDER_LEVELS};

/// A folder that a message may be put into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// The inbox, however it is spelled.
    Inbox,
    /// Any other one.
    Path(String),
}

impl Folder {
    /// Reads a name, or says why it is none.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.eq_ignore_ascii_case("INBOX") {
            return Ok(Self::Inbox);
        }
        if name.len() > FOLDER_BYTES {
            return Err(format!("a folder's name has {FOLDER_BYTES} octets at most"));
        }
        if name.split('/').count() > FOLDER_LEVELS {
            return Err(format!(
                "a folder's name has {FOLDER_LEVELS} levels at most"
            ));
        }
        if name.split('/').any(str::is_empty) {
            return Err("a folder's name and its levels may not be empty".into());
        }
        if name.chars().any(char::is_control) {
            return Err("a folder's name may not have control characters".into());
        }
        Ok(Self::Path(name.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Inbox => "INBOX",
            Self::Path(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_names_and_levels_and_nothing_odd() {
        assert_eq!(Folder::parse("inbox"), Ok(Folder::Inbox));
        assert_eq!(Folder::parse("a/é b"), Ok(Folder::Path("a/é b".into())));
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "a\r\nb",
            &"x".repeat(256),
            &"a/".repeat(17),
        ] {
            assert!(Folder::parse(bad).is_err(), "{bad}");
        }
    }
}
