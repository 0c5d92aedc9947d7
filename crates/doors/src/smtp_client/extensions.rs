//! What a server offers in its answer to EHLO or LHLO.

/// What may be used with this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) pipelining: bool,
    pub(super) eight_bit: bool,
    pub(super) utf8: bool,
    pub(super) dsn: bool,
    pub(super) starttls: bool,
    /// SIZE; none where it is not offered, or without a limit.
    pub(super) most_bytes: Option<u64>,
    pub(super) size: bool,
    pub(super) plain: bool,
    pub(super) login: bool,
}

impl Extensions {
    /// Reads the lines after the first.
    pub(super) fn of(lines: &[String]) -> Self {
        let mut found = Self::default();
        for line in lines.iter().skip(1) {
            // Some old servers write AUTH=LOGIN.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit = true,
                "SMTPUTF8" => found.utf8 = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.starttls = true,
                "SIZE" => {
                    found.size = true;
                    let most = words.next().and_then(|most| most.parse().ok());
                    // 0: no fixed limit (RFC 1870 section 4).
                    found.most_bytes = most.filter(|most| *most > 0);
                }
                "AUTH" => {
                    for mechanism in words {
                        match mechanism.to_ascii_uppercase().as_str() {
                            "PLAIN" => found.plain = true,
                            "LOGIN" => found.login = true,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_read_in_any_case_and_the_rest_is_passed_over() {
        let lines = [
            "mx.example PIPELINING",
            "size 52428800",
            "8bitmime",
            "AUTH=LOGIN",
            "AUTH CRAM-MD5 PLAIN",
            "X-NEW thing",
            "",
        ];
        let found = Extensions::of(&lines.map(str::to_owned));
        assert!(!found.pipelining, "the first line is the server's name");
        assert!(found.eight_bit && found.size && found.plain && found.login && !found.utf8);
        assert_eq!(found.most_bytes, Some(52_428_800));
        let none = Extensions::of(&["a".to_owned(), "SIZE 0".to_owned()]);
        assert!(none.size && none.most_bytes.is_none());
    }
}
