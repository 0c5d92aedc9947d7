//! Folders' names in files: as Maildir++ and Dovecot write them, and back.
//!
//! `.Archive.2024` is `Archive/2024`. Levels are in modified UTF-7 (RFC 3501 5.1.3); a dot or a backslash within one is
//! `\2e` or `\5c`, as Dovecot's `listescape` has it. What can be no folder here becomes one that is like it.

use grapevine_doors::imap::{from_utf7, to_utf7};
use grapevine_model::{FolderPath, INBOX, MAX_FOLDER_LEVELS, MAX_FOLDER_PATH_BYTES};

/// A longer name is replaced by a digest: file systems take 255 octets.
const MOST_NAME_BYTES: usize = 200;

/// A folder's name as a file's, without a dot in front; `INBOX` for itself.
pub(crate) fn to_file_name(path: &FolderPath) -> String {
    let levels = path.as_str().split('/').map(|level| {
        let mut name = String::new();
        for c in to_utf7(level).chars() {
            match c {
                '.' => name.push_str("\\2e"),
                '\\' => name.push_str("\\5c"),
                c => name.push(c),
            }
        }
        name
    });
    let name = levels.collect::<Vec<_>>().join(".");
    if name.len() <= MOST_NAME_BYTES {
        return name;
    }
    let digest = blake3::hash(path.as_str().as_bytes()).to_hex();
    format!("long-{}", digest.get(..32).unwrap_or_default())
}

/// The folder that such a name means.
pub(crate) fn from_file_name(name: &str) -> FolderPath {
    let levels = name.split('.').map(|level| {
        let mut text = String::new();
        let mut rest = level;
        while let Some((before, after)) = rest.split_once('\\') {
            text.push_str(before);
            let octet = after
                .get(..2)
                .and_then(|two| u8::from_str_radix(two, 16).ok());
            match octet.filter(u8::is_ascii) {
                Some(octet) => {
                    text.push(char::from(octet));
                    rest = after.get(2..).unwrap_or_default();
                }
                None => {
                    text.push('\\');
                    rest = after;
                }
            }
        }
        text.push_str(rest);
        match text.is_ascii() {
            true => from_utf7(&text).unwrap_or(text),
            false => text,
        }
    });
    fitting(levels.collect::<Vec<_>>().iter().map(String::as_str))
}

/// A folder as near as can be to what these levels say.
pub fn fitting<'a>(levels: impl Iterator<Item = &'a str>) -> FolderPath {
    let mut path = String::new();
    for level in levels
        .filter(|level| !level.is_empty())
        .take(MAX_FOLDER_LEVELS)
    {
        if !path.is_empty() {
            path.push('/');
        }
        for (at, c) in level.chars().enumerate() {
            let is_odd = c.is_control() || "*%/".contains(c) || (at == 0 && c == '#');
            path.push(if is_odd { '_' } else { c });
        }
    }
    while path.len() > MAX_FOLDER_PATH_BYTES || path.ends_with('/') {
        path.pop();
    }
    path.parse().unwrap_or_else(|_| FolderPath::inbox())
}

/// The same below another folder: what was INBOX is that folder itself.
pub fn below(into: Option<&FolderPath>, path: FolderPath) -> FolderPath {
    match into {
        None => path,
        Some(into) if path.is_inbox() => into.clone(),
        Some(into) => {
            let whole = format!("{into}/{path}");
            let levels: Vec<&str> = whole.split('/').collect();
            fitting(levels.into_iter())
        }
    }
}

/// Whether a name is that of INBOX.
pub(crate) fn is_inbox(name: &str) -> bool {
    name.eq_ignore_ascii_case(INBOX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_come_back_as_they_went_out() {
        for path in [
            "INBOX",
            "Archive/2024",
            "a.b/c\\d",
            "Entwürfe/läuft & mehr",
            "~x",
            ".hidden",
        ] {
            let path: FolderPath = path.parse().unwrap();
            let name = to_file_name(&path);
            assert!(name.is_ascii() && !name.contains('/'), "{name}");
            assert_eq!(from_file_name(&name), path, "{name}");
        }
        let long: FolderPath = "ü".repeat(200).parse().unwrap();
        assert!(to_file_name(&long).len() < 200);
    }

    #[test]
    fn what_can_be_no_folder_becomes_one_that_is_like_it() {
        assert_eq!(from_file_name("50%.a*b").as_str(), "50_/a_b");
        assert_eq!(from_file_name("#news").as_str(), "_news");
        assert_eq!(from_file_name("").as_str(), "INBOX");
        assert_eq!(from_file_name("&zz").as_str(), "&zz");
        let many = "x.".repeat(100);
        assert!(from_file_name(&many).as_str().split('/').count() <= MAX_FOLDER_LEVELS);
        let into: FolderPath = "Old".parse().unwrap();
        assert_eq!(below(Some(&into), FolderPath::inbox()).as_str(), "Old");
        let path = "a/b".parse().unwrap();
        assert_eq!(below(Some(&into), path).as_str(), "Old/a/b");
    }
}
