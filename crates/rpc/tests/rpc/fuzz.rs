//! The border with servers and clients, fed with arbitrary bytes: a value or an error, never a panic; what is read can be said again, and is then
//! read as the same; and no text is a ticket but the one that was signed.
//!
//! Seeds and finds are in `__fuzz__/*/corpus`; `fuzz/README.md` says how to run for longer.

use std::fmt::Debug;
use std::sync::OnceLock;

use grapevine_model::Ticket;
use grapevine_rpc::tls::Identity;
use grapevine_rpc::{
    Frame, decode_call_after, decode_frame, decode_peer, decode_read_body, decode_reply_as_of,
    decode_submit_head, encode_call_after, encode_peer, encode_read_body, encode_reply_as_of,
    encode_submit_head, open_ticket, sign_ticket, v1,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::Message;

use crate::arbitrary;

#[test]
fn whatever_comes_over_the_wire_is_a_value_or_an_error() {
    bolero::check!(name = "wire").for_each(|input: &[u8]| wire(input));
}

#[test]
fn no_text_is_a_ticket_but_the_one_that_was_signed() {
    bolero::check!(name = "ticket").for_each(|input: &[u8]| ticket(input));
}

/// Names compare without regard to case, but their spelling must survive too.
fn same<T: PartialEq + Debug>(one: &T, other: &T) {
    assert_eq!(one, other);
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

fn through<M: Message + Default>(message: &M) -> M {
    M::decode(&*message.encode_to_vec()).unwrap()
}

/// The first octet chooses what the others are taken for.
fn wire(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 6 {
        0 => {
            let Ok(frame) = v1::PeerFrame::decode(bytes) else {
                return;
            };
            if let Ok(Frame::Body { body, inline, .. }) = decode_frame(frame.clone()) {
                let measured = inline.is_none_or(|octets| octets.len() as u64 == body.len);
                assert!(measured, "a body of another length than it says");
            }
            if let Ok(Some(message)) = decode_peer(frame) {
                same(
                    &decode_peer(through(&encode_peer(&message))),
                    &Ok(Some(message)),
                );
            }
        }
        1 => {
            if let Ok(call) = v1::CallRequest::decode(bytes)
                && let Ok(call) = decode_call_after(call)
            {
                let again = encode_call_after(&call.caller, &call.request, &call.seen);
                same(&decode_call_after(through(&again)), &Ok(call));
            }
        }
        2 => {
            if let Ok(reply) = v1::CallReply::decode(bytes)
                && let Ok((result, as_of)) = decode_reply_as_of(reply)
            {
                let again = encode_reply_as_of(&result, as_of.as_ref());
                same(&decode_reply_as_of(through(&again)), &Ok((result, as_of)));
            }
        }
        3 => {
            if let Ok(head) = v1::SubmitHead::decode(bytes)
                && let Ok(head) = decode_submit_head(head)
            {
                let again = through(&encode_submit_head(&head));
                let Some(v1::submit_part::Part::Head(again)) = again.part else {
                    panic!("a head is no head");
                };
                same(&decode_submit_head(again), &Ok(head));
            }
        }
        4 => {
            if let Ok(ask) = v1::ReadBodyRequest::decode(bytes)
                && let Ok(ask) = decode_read_body(ask)
            {
                same(
                    &decode_read_body(through(&encode_read_body(&ask))),
                    &Ok(ask),
                );
            }
        }
        _ => {
            if let Ok(claims) = v1::TicketClaims::decode(bytes)
                && let Ok(ticket) = Ticket::try_from(claims)
            {
                let again = v1::TicketClaims::from(&ticket);
                same(&Ticket::try_from(through(&again)).ok(), &Some(ticket));
            }
        }
    }
}

/// What is signed once for all inputs.
struct Signed {
    identity: Identity,
    ticket: Ticket,
    text: String,
}

fn signed() -> &'static Signed {
    static SIGNED: OnceLock<Signed> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let identity = Identity::generate().unwrap();
        let mut runner = TestRunner::deterministic();
        let ticket = arbitrary::ticket().new_tree(&mut runner).unwrap().current();
        let text = sign_ticket(&ticket, &identity).unwrap().0.clone();
        Signed {
            identity,
            ticket,
            text,
        }
    })
}

/// Pairs of a place and a difference, applied to a good ticket; or, after a zero, a whole text.
fn ticket(input: &[u8]) {
    let good = signed();
    let text = match input {
        [0, text @ ..] => String::from_utf8_lossy(text).into_owned(),
        changes => {
            let mut bytes = good.text.clone().into_bytes();
            for change in changes.chunks(2) {
                if let [at, by] = *change {
                    let at = usize::from(at) * 3 % bytes.len();
                    bytes[at] ^= by;
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    match open_ticket(&text, |_| vec![good.identity.public_key()]) {
        Ok(ticket) => {
            assert_eq!(text, good.text, "another text was taken for it");
            assert_eq!(ticket, good.ticket);
        }
        Err(_) => assert_ne!(text, good.text),
    }
}

/// Writes seeds for `wire` anew: a few of everything that is said.
#[test]
#[ignore = "writes the seeds; by hand, after the schema has grown"]
fn seeds_are_made_of_what_is_said() {
    let home = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/rpc/__fuzz__/wire/corpus"
    );
    std::fs::create_dir_all(home).unwrap();
    let mut runner = TestRunner::deterministic();
    let caller = grapevine_rpc::Caller::Connection;
    let mut kept = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let peer = arbitrary::peer_message()
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let request = arbitrary::request()
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let reply = arbitrary::reply().new_tree(&mut runner).unwrap().current();
        let name = |shown: String| {
            let word = |c: char| !c.is_alphanumeric();
            shown.split(word).take(2).collect::<Vec<_>>().join("_")
        };
        for (kind, name, bytes) in [
            (
                0,
                name(format!("{peer:?}")),
                encode_peer(&peer).encode_to_vec(),
            ),
            (
                1,
                name(format!("{request:?}")),
                encode_call_after(&caller, &request, &[]).encode_to_vec(),
            ),
            (
                2,
                name(format!("{reply:?}")),
                encode_reply_as_of(&Ok(reply), None).encode_to_vec(),
            ),
        ] {
            // One of each kind, and short: long ones are found soon enough.
            if bytes.len() <= 400 && kept.insert((kind, name.clone())) {
                let file = format!("{home}/{kind}_{name}");
                std::fs::write(file, [&[kind], bytes.as_slice()].concat()).unwrap();
            }
        }
    }
}
