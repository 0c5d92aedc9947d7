//! Tickets as text: what one server signs, another reads by the key on record; anything else is refused.

use grapevine_rpc::tls::Identity;
use grapevine_rpc::{TicketError, is_ticket, open_ticket, sign_ticket};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::arbitrary;

fn some_ticket() -> grapevine_model::Ticket {
    let mut runner = TestRunner::deterministic();
    arbitrary::ticket().new_tree(&mut runner).unwrap().current()
}

#[test]
fn a_ticket_is_read_by_the_key_on_record_and_by_no_other() {
    let (ours, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let ticket = some_ticket();
    let text = sign_ticket(&ticket, &ours).unwrap();
    assert!(is_ticket(&text.0));
    let opened = open_ticket(&text.0, |issuer| {
        assert_eq!(*issuer, ticket.issuer);
        vec![other.public_key(), ours.public_key()]
    });
    assert_eq!(opened, Ok(ticket));
    assert_eq!(
        open_ticket(&text.0, |_| vec![other.public_key()]),
        Err(TicketError::BadSignature)
    );
    assert_eq!(
        open_ticket(&text.0, |_| Vec::new()),
        Err(TicketError::UnknownIssuer)
    );
}

#[test]
fn a_ticket_of_which_one_character_was_changed_is_refused() {
    let ours = Identity::generate().unwrap();
    let text = sign_ticket(&some_ticket(), &ours).unwrap().0.clone();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let opened = open_ticket(&changed, |_| vec![ours.public_key()]);
        assert!(opened.is_err(), "at {at}: {opened:?}");
    }
}

#[test]
fn a_handshakes_signature_is_none_of_a_ticket() {
    // The same bytes signed without the ticket's context.
    let ours = Identity::generate().unwrap();
    let text = sign_ticket(&some_ticket(), &ours).unwrap().0.clone();
    let (claims, _) = text.strip_prefix("gvt1_").unwrap().split_once('.').unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD
        .decode(claims.as_bytes())
        .unwrap();
    let signature = ours.sign(&bytes).unwrap();
    let forged = format!(
        "gvt1_{claims}.{}",
        data_encoding::BASE64URL_NOPAD.encode(&signature)
    );
    assert_eq!(
        open_ticket(&forged, |_| vec![ours.public_key()]),
        Err(TicketError::BadSignature)
    );
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "(gvt1_)?[A-Za-z0-9_.-]{0,200}") {
        prop_assert!(open_ticket(&text, |_| vec![vec![0x30; 91]]).is_err());
    }
}
