//! An envelope in SMTP's words becomes one in the core's.
//!
//! Must never change whom a message is for: an address that is no name is refused when it is given, not mended.

use grapevine_doors::smtp;
use grapevine_model::{
    Envelope, EnvelopeRecipient, Name, Notify, RegistryName, ReturnContent, Speaker,
};

/// An address is no name, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoName(pub(super) String);

/// The return path; none for the null one.
///
/// An outside address has to be a name too: a report must find its way back, and what can't be written as a name can't be reported to.
pub(super) fn return_path(address: &str) -> Result<Option<Name>, NoName> {
    if address.is_empty() {
        return Ok(None);
    }
    parse(address).map(Some)
}

/// A recipient. `postmaster` without a registry is that of the speaker's registry, or of the mail system (`ms`) for strangers.
pub(super) fn recipient(address: &str, speaker: &Speaker) -> Result<Name, NoName> {
    if address.contains('@') {
        return parse(address);
    }
    let registry = match speaker {
        Speaker::Individual { name, .. } => name.registry().clone(),
        Speaker::Anonymous | Speaker::Neighbour | Speaker::Operator | Speaker::Server(_) => {
            RegistryName::ms()
        }
    };
    Name::new(address, registry).map_err(|error| NoName(error.to_string()))
}

/// All of it. Each address had its yes, so none is left out; one that is given twice stands once, with what was asked first.
pub(super) fn envelope(given: &smtp::Envelope, speaker: &Speaker) -> Result<Envelope, NoName> {
    let mut recipients: Vec<EnvelopeRecipient> = Vec::with_capacity(given.recipients.len());
    let mut seen = std::collections::HashSet::with_capacity(given.recipients.len());
    for one in &given.recipients {
        let name = recipient(&one.address, speaker)?;
        if seen.insert(name.clone()) {
            recipients.push(EnvelopeRecipient {
                name,
                notify: notify(one.notify),
                original: one.original.as_deref().map(original),
                meant: None,
            });
        }
    }
    Ok(Envelope {
        return_path: return_path(&given.sender.address)?,
        recipients,
        content: match given.sender.ret {
            Some(smtp::Return::Full) => ReturnContent::Full,
            Some(smtp::Return::Headers) | None => ReturnContent::Headers,
        },
        envelope_id: given.sender.envelope_id.as_deref().map(xtext),
    })
}

fn parse(address: &str) -> Result<Name, NoName> {
    address
        .parse()
        .map_err(|error: grapevine_model::NameError| NoName(error.to_string()))
}

fn notify(asked: Option<smtp::Notify>) -> Notify {
    match asked {
        None => Notify::default(),
        Some(smtp::Notify::Never) => Notify {
            success: false,
            failure: false,
            delay: false,
        },
        Some(smtp::Notify::On {
            success,
            failure,
            delay,
        }) => Notify {
            success,
            failure,
            delay,
        },
    }
}

/// `type;address`, the address back in xtext: the session has decoded it to see that it hides nothing.
fn original(decoded: &str) -> String {
    match decoded.split_once(';') {
        Some((kind, address)) => format!("{kind};{}", xtext(address)),
        None => xtext(decoded),
    }
}

/// RFC 3461 section 4.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' => out.push_str(&format!("+{byte:02X}")),
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("+{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use grapevine_model::Incarnation;

    use super::*;

    #[test]
    fn what_the_session_decoded_is_xtext_again() {
        assert_eq!(xtext("QQ+314="), "QQ+2B314+3D");
        assert_eq!(original("rfc822;jos\u{e9} x@b"), "rfc822;jos+C3+A9+20x@b");
    }

    #[test]
    fn a_postmaster_without_a_registry_is_found() {
        let birrell = Speaker::Individual {
            name: "birrell@pa.example".parse().unwrap(),
            incarnation: Incarnation(1),
        };
        let named = |speaker| recipient("postmaster", speaker).unwrap().to_string();
        assert_eq!(named(&birrell), "postmaster@pa.example");
        assert_eq!(named(&Speaker::Anonymous), "postmaster@ms");
    }

    #[test]
    fn what_is_no_name_is_refused_and_the_null_path_is_not() {
        assert_eq!(return_path(""), Ok(None));
        for address in ["\"a b\"@pa", "a@[192.0.2.1]", "a@b_c"] {
            assert!(return_path(address).is_err(), "{address}");
            assert!(
                recipient(address, &Speaker::Anonymous).is_err(),
                "{address}"
            );
        }
    }

    #[test]
    fn never_means_no_report_at_all() {
        let never = notify(Some(smtp::Notify::Never));
        assert!(!never.success && !never.failure && !never.delay);
        assert_eq!(notify(None), Notify::default());
    }
}
