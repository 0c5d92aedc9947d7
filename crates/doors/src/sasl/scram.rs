//! The server's side of SCRAM-SHA-256 as messages (RFC 5802 section 5, RFC 7677), for any door.
//!
//! Must never take a proof for another nonce than its own: whoever has overheard a login could log in by it. No secret is here; whether a proof
//! is right is the shell's question. With channel binding (`-PLUS`) a proof counts on its own channel only, and a client that could bind but was not told that it may
//! is refused: that is how an attacker in between would begin.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::channel::Channel;
use super::{NAME_BYTES, SaslError, decode};

/// The mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// Its name with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Which of the two was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Without channel binding.
    Plain,
    /// With it.
    Plus,
}

/// The longest nonce of a client that is taken: clients send 18 to 64 octets.
const NONCE_BYTES: usize = 256;

/// The longest message of a client that is taken, decoded: a name with each octet escaped, a nonce, and room for extensions.
const MESSAGE_BYTES: usize = 2_048;

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    name: String,
    /// What the client must say again, in base64: the GS2 header, and the channel's value if it binds to it.
    bound: String,
    bare: String,
    nonce: String,
}

/// What the server answers it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The server's part of the nonce: printable, without a comma, new each time.
    pub nonce: String,
    /// The salt.
    pub salt: [u8; 16],
    /// The iterations of PBKDF2.
    pub iterations: u32,
}

/// A dialogue that waits for the client's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenged {
    name: String,
    bound: String,
    nonce: String,
    /// What was said so far: the client's first message without its header, and the server's.
    said: String,
}

/// What a client proves its password by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The name, as the client wrote it.
    pub name: String,
    /// What both sides said (AuthMessage).
    pub said: String,
    /// ClientProof.
    pub proof: [u8; 32],
}

impl First {
    /// Reads base64 of `n,[a=NAME],n=NAME,r=NONCE[,EXTENSION]...`, or of the same with `y` (the client could bind, and believes that the server can't)
    /// or `p=TYPE` (it binds) in the place of the first `n`.
    ///
    /// # Errors
    /// [`SaslError`] for anything else: for a binding that does not belong to the mechanism or that this channel has not, and for a `y` where it
    /// was offered (RFC 5802 section 6).
    pub fn parse(response: &[u8], variant: Variant, channel: &Channel) -> Result<Self, SaslError> {
        let text = message(response)?;
        let malformed = || SaslError::Malformed;
        let (binding, rest) = text.split_once(',').ok_or_else(malformed)?;
        let (act_as, bare) = rest.split_once(',').ok_or_else(malformed)?;
        let header = format!("{binding},{act_as},");
        let value = match (variant, binding, binding.strip_prefix("p=")) {
            (Variant::Plus, _, Some(kind)) => channel.value(kind).ok_or_else(malformed)?,
            (Variant::Plain, "y", _) if channel.can_bind() => return Err(SaslError::Downgraded),
            (Variant::Plain, "n" | "y", _) => &[],
            (Variant::Plain | Variant::Plus, _, _) => return Err(SaslError::Malformed),
        };
        let bound = STANDARD.encode([header.as_bytes(), value].concat());
        let mut attributes = bare.split(',');
        let mut next = |of: &str| attributes.next().and_then(|text| text.strip_prefix(of));
        // An `m=` here would be an extension that must be understood: it is no name.
        let name = next("n=").and_then(unescaped).ok_or_else(malformed)?;
        let nonce = next("r=").ok_or_else(malformed)?;
        let good_name =
            (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        let good_nonce = (1..=NONCE_BYTES).contains(&nonce.len())
            && nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if !good_name || !good_nonce {
            return Err(SaslError::Malformed);
        }
        if !act_as.is_empty() {
            let act_as = act_as.strip_prefix("a=").and_then(unescaped);
            if act_as.ok_or_else(malformed)? != name {
                return Err(SaslError::OtherIdentity);
            }
        }
        Ok(Self {
            bound,
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
            name,
        })
    }

    /// Who it is about, as the client wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's first message in base64, and what it waits for.
    pub fn challenge(self, challenge: &Challenge) -> (String, Challenged) {
        let nonce = format!("{}{}", self.nonce, challenge.nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(challenge.salt),
            challenge.iterations
        );
        let challenged = Challenged {
            name: self.name,
            bound: self.bound,
            nonce,
            said: format!("{},{server_first}", self.bare),
        };
        (STANDARD.encode(server_first), challenged)
    }
}

impl Challenged {
    /// Reads base64 of `c=HEADER,r=NONCE[,EXTENSION]...,p=PROOF`.
    ///
    /// # Errors
    /// [`SaslError::Malformed`] for anything else, and where header, channel or nonce are not those of this dialogue.
    pub fn proof(self, response: &[u8]) -> Result<Proof, SaslError> {
        let text = message(response)?;
        let malformed = || SaslError::Malformed;
        let (unproved, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut attributes = unproved.split(',');
        let bound = attributes.next().and_then(|text| text.strip_prefix("c="));
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r="));
        if bound != Some(self.bound.as_str()) || nonce != Some(self.nonce.as_str()) {
            return Err(SaslError::Malformed);
        }
        let proof = STANDARD.decode(proof).map_err(|_| SaslError::Malformed)?;
        Ok(Proof {
            name: self.name,
            said: format!("{},{unproved}", self.said),
            proof: proof.try_into().map_err(|_| SaslError::Malformed)?,
        })
    }
}

/// The server's last message in base64: its own proof.
pub fn last(signature: &[u8; 32]) -> String {
    STANDARD.encode(format!("v={}", STANDARD.encode(signature)))
}

fn message(response: &[u8]) -> Result<String, SaslError> {
    if response.len() > MESSAGE_BYTES.div_ceil(3) * 4 {
        return Err(SaslError::Malformed);
    }
    Ok(decode(response)?.to_string())
}

/// A name without its escapes: `=2C` is a comma, `=3D` an equals sign, and there are no others.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn first(text: &str) -> Result<First, SaslError> {
        First::parse(
            STANDARD.encode(text).as_bytes(),
            Variant::Plain,
            &Channel::default(),
        )
    }

    fn on(text: &str, variant: Variant, channel: &Channel) -> Result<First, SaslError> {
        First::parse(STANDARD.encode(text).as_bytes(), variant, channel)
    }

    fn both() -> Channel {
        Channel {
            exporter: Some([1; 32]),
            end_point: Some(vec![2; 48]),
        }
    }

    #[test]
    fn a_proof_bound_to_another_channel_is_none() {
        let exported: &[u8] = &[1; 32];
        let end_point: &[u8] = &[2; 48];
        for (header, value) in [
            ("p=tls-exporter,,", exported),
            ("p=tls-server-end-point,,", end_point),
        ] {
            let first = on(&format!("{header}n=a,r=x"), Variant::Plus, &both()).unwrap();
            let (_, challenged) = first.challenge(&challenge());
            let nonce = "x%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
            let said = |value: &[u8]| {
                let bound = STANDARD.encode([header.as_bytes(), value].concat());
                let proof = STANDARD.encode([7; 32]);
                let last = STANDARD.encode(format!("c={bound},r={nonce},p={proof}"));
                challenged.clone().proof(last.as_bytes())
            };
            assert!(said(value).is_ok());
            // The channel's value is part of what is proved.
            assert!(
                said(value)
                    .unwrap()
                    .said
                    .contains(&STANDARD.encode([header.as_bytes(), value].concat()))
            );
            for other in [&[][..], &[3; 32], &[3; 48], &value[1..]] {
                assert_eq!(said(other), Err(SaslError::Malformed), "{header}");
            }
        }
    }

    #[test]
    fn who_could_bind_and_was_not_told_so_is_refused() {
        assert_eq!(
            on("y,,n=a,r=x", Variant::Plain, &both()),
            Err(SaslError::Downgraded)
        );
        // Who can't bind may still log in, and so may who could where it is not offered.
        assert!(on("n,,n=a,r=x", Variant::Plain, &both()).is_ok());
        assert!(on("y,,n=a,r=x", Variant::Plain, &Channel::default()).is_ok());
    }

    #[test]
    fn a_binding_that_is_not_offered_or_not_asked_for_is_refused() {
        let exporter_only = Channel {
            end_point: None,
            ..both()
        };
        for (text, variant, channel) in [
            (
                "p=tls-server-end-point,,n=a,r=x",
                Variant::Plus,
                &exporter_only,
            ),
            ("p=tls-unique,,n=a,r=x", Variant::Plus, &both()),
            ("p=,,n=a,r=x", Variant::Plus, &both()),
            ("n,,n=a,r=x", Variant::Plus, &both()),
            ("y,,n=a,r=x", Variant::Plus, &both()),
            ("p=tls-exporter,,n=a,r=x", Variant::Plain, &both()),
            (
                "p=tls-exporter,,n=a,r=x",
                Variant::Plus,
                &Channel::default(),
            ),
        ] {
            assert_eq!(
                on(text, variant, channel),
                Err(SaslError::Malformed),
                "{text}"
            );
        }
    }

    fn challenge() -> Challenge {
        Challenge {
            nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into(),
            salt: *b"0123456789abcdef",
            iterations: 4096,
        }
    }

    #[test]
    fn a_dialogue_says_what_rfc_7677_says() {
        let first = first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.name(), "user");
        let (text, challenged) = first.challenge(&challenge());
        let nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_first = format!("{nonce},s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096");
        assert_eq!(STANDARD.decode(text).unwrap(), server_first.as_bytes());
        let last = format!("c=biws,{nonce},p={}", STANDARD.encode([7; 32]));
        let proof = challenged.proof(STANDARD.encode(last).as_bytes()).unwrap();
        assert_eq!(
            proof.said,
            format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{server_first},c=biws,{nonce}")
        );
        assert_eq!((proof.name.as_str(), proof.proof), ("user", [7; 32]));
    }

    #[test]
    fn a_proof_for_another_nonce_or_header_is_none() {
        let (_, challenged) = first("y,a=a,n=a,r=x").unwrap().challenge(&challenge());
        let proof = STANDARD.encode([7; 32]);
        let header = STANDARD.encode("y,a=a,");
        let nonce = "x%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let said = |text: String| challenged.clone().proof(STANDARD.encode(text).as_bytes());
        assert!(said(format!("c={header},r={nonce},p={proof}")).is_ok());
        assert!(said(format!("c={header},r={nonce},x=new,p={proof}")).is_ok());
        for wrong in [
            format!("c={header},r=x,p={proof}"),
            format!("c={header},r={nonce}0,p={proof}"),
            format!("c=biws,r={nonce},p={proof}"),
            format!("r={nonce},c={header},p={proof}"),
            format!("c={header},r={nonce},p={}", STANDARD.encode([7; 31])),
            format!("c={header},r={nonce},p="),
            format!("c={header},r={nonce}"),
            String::new(),
        ] {
            assert_eq!(said(wrong.clone()), Err(SaslError::Malformed), "{wrong}");
        }
    }

    #[test]
    fn names_are_unescaped_and_what_is_no_first_message_is_refused() {
        assert_eq!(first("n,,n=a=2Cb=3Dc,r=x").unwrap().name(), "a,b=c");
        assert_eq!(first("n,a=b,n=a,r=x"), Err(SaslError::OtherIdentity));
        for wrong in [
            "",
            "n",
            "n,,",
            "n,,n=,r=x",
            "n,,n=a",
            "n,,n=a,r=",
            "n,,n=a=2c,r=x",
            "n,,n=a=,r=x",
            "n,,n=a\u{7},r=x",
            "n,,n=a,r=x y",
            "n,,r=x,n=a",
            "n,,m=new,n=a,r=x",
            "n,b,n=a,r=x",
            "p=tls-exporter,,n=a,r=x",
            "z,,n=a,r=x",
        ] {
            assert_eq!(first(wrong), Err(SaslError::Malformed), "{wrong}");
        }
        let long = format!("n,,n=a,r={}", "x".repeat(NONCE_BYTES + 1));
        assert_eq!(first(&long), Err(SaslError::Malformed));
        let long = format!("n,,n=a,r=x,y={}", "z".repeat(MESSAGE_BYTES));
        assert_eq!(first(&long), Err(SaslError::Malformed));
        for raw in [&b"!"[..], b"\xff", b"AP8A/w=="] {
            let read = First::parse(raw, Variant::Plain, &Channel::default());
            assert_eq!(read, Err(SaslError::Malformed));
        }
    }
}
