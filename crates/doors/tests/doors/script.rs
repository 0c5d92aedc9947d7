//! Transcripts: what a client says and what it must hear.

/// A client that a script can be played with.
pub(crate) trait Scripted {
    fn say(&mut self, bytes: &[u8]);

    /// Everything heard so far.
    fn heard(&self) -> String;
}

/// Runs a script: `C:` lines are sent (those that follow each other, together), `S:` lines are what must come back, no more and no less. A script
/// that begins with `S:` begins with the greeting. Spaces at a line's end are not compared.
pub(crate) fn play(client: &mut impl Scripted, script: &str) {
    let lines: Vec<&str> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let from_greeting = lines.first().is_some_and(|line| line.starts_with("S:"));
    let mut seen = if from_greeting {
        0
    } else {
        client.heard().len()
    };
    let mut to_send = String::new();
    for line in lines {
        if let Some(text) = line.strip_prefix("C:") {
            assert_eq!(&client.heard()[seen..], "", "unexpected before {line:?}");
            to_send.push_str(text.strip_prefix(' ').unwrap_or(text));
            to_send.push_str("\r\n");
        } else if let Some(expected) = line.strip_prefix("S:") {
            if !to_send.is_empty() {
                client.say(std::mem::take(&mut to_send).as_bytes());
            }
            let heard = client.heard();
            let Some((got, _)) = heard[seen..].split_once("\r\n") else {
                panic!("nothing came where {expected:?} should")
            };
            assert_eq!(got.trim_end(), expected.trim());
            seen += got.len() + 2;
        } else {
            panic!("not a line of a script: {line}");
        }
    }
    assert_eq!(to_send, "", "a script ends with what the server says");
    assert_eq!(&client.heard()[seen..], "", "nothing more is said");
}
