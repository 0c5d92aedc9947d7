//! Flags as a script writes them: several in one string, with blanks between them (RFC 5232 section 2).

use grapevine_model::Flag;

use super::limits::FLAGS;

/// Adds the flags that a string names; what is none is left out.
pub(super) fn add(flags: &mut Vec<Flag>, text: &str) {
    for flag in text.split_whitespace() {
        if let Ok(flag) = flag.parse() {
            add_one(flags, flag);
        }
    }
}

/// Adds a flag, if it is not there yet and there is room.
pub(super) fn add_one(flags: &mut Vec<Flag>, flag: Flag) {
    if flags.len() < FLAGS && !flags.iter().any(|f| f.folded() == flag.folded()) {
        flags.push(flag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_kept_once_and_nonsense_is_left_out() {
        let mut flags = Vec::new();
        add(
            &mut flags,
            "\\Seen  $Work \\seen \\Recent a(b \\\\Deleted é",
        );
        let shown: Vec<&str> = flags.iter().map(Flag::as_str).collect();
        assert_eq!(shown, ["\\Seen", "$Work"]);
        let many: String = (0..100).map(|n| format!("k{n} ")).collect();
        add(&mut flags, &many);
        assert_eq!(flags.len(), FLAGS);
    }
}
