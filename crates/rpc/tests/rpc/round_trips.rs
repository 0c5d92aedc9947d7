//! What goes out comes in as the same; broken bytes are an error, never a panic.

use std::collections::BTreeSet;
use std::fmt::Debug;

use grapevine_model::{FolderId, MailPlace, MailboxAsk, PeerMessage, Reply, Request, Secret};
use grapevine_rpc::v1;
use grapevine_rpc::{
    AppendHead, Call, Caller, Credentials, Frame, ReadBodyRequest, SubmitHead, WireError,
    decode_append_head, decode_call, decode_call_after, decode_frame, decode_peer,
    decode_read_body, decode_reply, decode_reply_as_of, decode_submit_head, decode_watch_mailbox,
    encode_append_head, encode_call, encode_call_after, encode_peer, encode_read_body,
    encode_reply, encode_reply_as_of, encode_submit_head, encode_watch_mailbox,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;

use crate::arbitrary;

fn through<M: Message + Default>(message: &M) -> M {
    M::decode(&*message.encode_to_vec()).unwrap()
}

/// Names compare without regard to case, but their spelling must survive too.
fn same<T: PartialEq + Debug>(one: &T, other: &T) -> Result<(), TestCaseError> {
    prop_assert_eq!(one, other);
    prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
    Ok(())
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![
        Just(Caller::Connection),
        (arbitrary::name(), "\\PC{0,20}").prop_map(|(name, password)| Caller::Individual(
            Credentials {
                name,
                password: Secret(password)
            }
        )),
        "\\PC{0,20}".prop_map(|ticket| Caller::Ticket(Secret(ticket))),
        arbitrary::speaker().prop_map(Caller::OnBehalf),
    ]
}

proptest! {
    #[test]
    fn a_peers_message_comes_in_as_it_went_out(message in arbitrary::peer_message()) {
        let read = decode_peer(through(&encode_peer(&message)));
        same(&read, &Ok(Some(message)))?;
    }

    #[test]
    fn a_call_comes_in_as_it_went_out(
        caller in caller(), request in arbitrary::request(), seen in arbitrary::seen()
    ) {
        let read = decode_call_after(through(&encode_call_after(&caller, &request, &seen)));
        same(&read, &Ok(Call { caller, request, seen }))?;
    }

    #[test]
    fn a_reply_comes_in_as_it_went_out(
        result in prop_oneof![arbitrary::reply().prop_map(Ok), arbitrary::refusal().prop_map(Err)],
        as_of in proptest::option::of(arbitrary::as_of())
    ) {
        let read = decode_reply_as_of(through(&encode_reply_as_of(&result, as_of.as_ref())));
        same(&read, &Ok((result, as_of)))?;
    }

    #[test]
    fn a_submission_and_a_reading_come_in_as_they_went_out(
        caller in caller(), envelope in arbitrary::envelope(), owner in arbitrary::name(), id: [u8; 16]
    ) {
        let message = grapevine_model::MessageId::from_bytes(id);
        for id in [None, Some(message)] {
            let head = SubmitHead { caller: caller.clone(), id, envelope: envelope.clone() };
            match through(&encode_submit_head(&head)).part {
                Some(v1::submit_part::Part::Head(read)) => same(&decode_submit_head(read), &Ok(head))?,
                other => prop_assert!(false, "{other:?}"),
            }
        }
        for place in [None, Some(MailPlace { folder: FolderId::INBOX, uid: 7 }), Some(MailPlace { folder: FolderId(u128::MAX), uid: u32::MAX })] {
            let request = ReadBodyRequest { caller: caller.clone(), owner: owner.clone(), message, place };
            same(&decode_read_body(through(&encode_read_body(&request))), &Ok(request))?;
        }
        same(&decode_watch_mailbox(through(&encode_watch_mailbox(&caller))), &Ok(caller))?;
    }

    #[test]
    fn a_mail_for_a_folder_comes_in_as_it_went_out_and_nothing_else_has_a_body(
        caller in caller(), request in arbitrary::request()
    ) {
        let is_append = matches!(request, Request::Mailbox { ask: MailboxAsk::Append { .. }, .. });
        let head = AppendHead { caller, request };
        match through(&encode_append_head(&head)).part {
            Some(v1::submit_part::Part::Append(read)) if is_append => same(&decode_append_head(read), &Ok(head))?,
            Some(v1::submit_part::Part::Append(read)) => prop_assert!(decode_append_head(read).is_err()),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        reads(&bytes)?;
    }

    #[test]
    fn a_damaged_message_is_a_value_or_an_error(
        message in arbitrary::peer_message(),
        harm in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode_peer(&message).encode_to_vec();
        for (place, byte) in harm {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
        }
        reads(&bytes)?;
        bytes.truncate(end.index(bytes.len()));
        reads(&bytes)?;
    }
}

/// Whatever these bytes are: no panic, and a value that is read can be said again.
fn reads(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(frame) = v1::PeerFrame::decode(bytes)
        && let Ok(Some(message)) = decode_peer(frame)
    {
        same(
            &decode_peer(through(&encode_peer(&message))),
            &Ok(Some(message)),
        )?;
    }
    if let Ok(call) = v1::CallRequest::decode(bytes)
        && let Ok((caller, request)) = decode_call(call)
    {
        same(
            &decode_call(through(&encode_call(&caller, &request))),
            &Ok((caller, request)),
        )?;
    }
    if let Ok(reply) = v1::CallReply::decode(bytes)
        && let Ok(result) = decode_reply(reply)
    {
        same(&decode_reply(through(&encode_reply(&result))), &Ok(result))?;
    }
    if let Ok(head) = v1::SubmitHead::decode(bytes) {
        let _read = decode_submit_head(head);
    }
    Ok(())
}

/// The field numbers by which a oneof's choices travel, over many values.
fn choices<T: Debug>(
    strategy: impl Strategy<Value = T>,
    bytes: impl Fn(&T) -> Vec<u8>,
) -> BTreeSet<u64> {
    let mut runner = TestRunner::deterministic();
    (0..3_000)
        .map(|_| {
            let value = strategy.new_tree(&mut runner).unwrap().current();
            let mut bytes = &*bytes(&value);
            prost::encoding::decode_varint(&mut bytes).unwrap() >> 3
        })
        .collect()
}

/// The field numbers of a oneof's choices, as the schema says: one that is added there and not in
/// `arbitrary` fails.
fn published(schema: &str, oneof: &str) -> BTreeSet<u64> {
    let (_, rest) = schema.split_once(&format!("oneof {oneof} {{")).unwrap();
    let (inside, _) = rest.split_once("\n  }").unwrap();
    let numbers: BTreeSet<u64> = inside
        .lines()
        .map(|line| line.split("//").next().unwrap().trim())
        .filter_map(|line| line.strip_suffix(';'))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(numbers.contains(&1), "{oneof}: {numbers:?}");
    numbers
}

#[test]
fn every_kind_of_message_request_and_reply_is_tried() {
    let peer = include_str!("../../proto/grapevine/v1/peer.proto");
    let request = include_str!("../../proto/grapevine/v1/request.proto");
    let messages = choices(arbitrary::peer_message(), |message: &PeerMessage| {
        v1::PeerMessage::from(message).encode_to_vec()
    });
    assert_eq!(messages, published(peer, "message"));
    let requests = choices(arbitrary::request(), |request: &Request| {
        v1::Request::from(request).encode_to_vec()
    });
    assert_eq!(requests, published(request, "request"));
    let replies = choices(arbitrary::reply(), |reply: &Reply| {
        v1::Reply::from(reply).encode_to_vec()
    });
    assert_eq!(replies, published(request, "reply"));
}

#[test]
fn what_a_newer_release_says_is_passed_over() {
    // A frame, a message and a request whose only field has the number 1000.
    let unknown: &[u8] = &[0xc2, 0x3e, 0x01, 0x07];
    let frame = v1::PeerFrame::decode(unknown).unwrap();
    assert_eq!(decode_frame(frame), Ok(Frame::Unknown("frame")));
    let frame = v1::PeerFrame {
        frame: Some(v1::peer_frame::Frame::Message(
            v1::PeerMessage::decode(unknown).unwrap(),
        )),
        inline_body: None,
    };
    assert_eq!(decode_frame(frame.clone()), Ok(Frame::Unknown("message")));
    assert_eq!(decode_peer(frame), Ok(None));
    let call = v1::CallRequest {
        caller: None,
        request: Some(v1::Request::decode(unknown).unwrap()),
        seen: Vec::new(),
    };
    assert_eq!(decode_call(call), Err(WireError::Newer("request")));
    // A caller of an unknown kind is not taken for the connection.
    let call = v1::CallRequest {
        caller: Some(v1::Caller::decode(unknown).unwrap()),
        request: Some((&Request::Servers).into()),
        seen: Vec::new(),
    };
    assert_eq!(decode_call(call), Err(WireError::Newer("caller")));
}

#[test]
fn a_push_of_a_release_that_did_not_say_what_its_writer_had_is_read() {
    let push = v1::Push {
        space: Some(v1::Space {
            space: Some(v1::space::Space::Registry("pa".into())),
        }),
        previous: Some(v1::Stamp { time: 1, origin: 2 }),
        updates: Vec::new(),
        context: None,
    };
    let message = v1::PeerMessage {
        message: Some(v1::peer_message::Message::Push(push)),
        ..v1::PeerMessage::default()
    };
    let read = PeerMessage::try_from(message);
    assert!(
        matches!(&read, Ok(PeerMessage::Push { context, .. }) if context.is_empty()),
        "{read:?}"
    );
}

#[test]
fn a_door_of_a_newer_release_is_passed_over() {
    let info = v1::ServerInfo {
        name: "s1".into(),
        role: v1::ServerRole::Full.into(),
        doors: vec![
            v1::DoorAt {
                door: 99,
                address: "127.0.0.1:143".into(),
            },
            v1::DoorAt {
                door: v1::Door::Rpc.into(),
                address: "127.0.0.1:7101".into(),
            },
        ],
        ..v1::ServerInfo::default()
    };
    let read = grapevine_model::ServerInfo::try_from(info).unwrap();
    assert_eq!(read.doors.len(), 1);
}

#[test]
fn no_password_is_ever_printed() {
    let name: grapevine_model::Name = "birrell@pa".parse().unwrap();
    let password = Secret("taliesin".into());
    let caller = Caller::Individual(Credentials {
        name: name.clone(),
        password: password.clone(),
    });
    for request in [
        Request::Authenticate {
            name: name.clone(),
            password: password.clone(),
            source: grapevine_model::Source::Unknown,
        },
        Request::IndividualCreate {
            name: name.clone(),
            password: Some(password.clone()),
            sites: vec![],
        },
        Request::Change {
            name,
            change: grapevine_model::EntryChange::Password(password),
        },
    ] {
        let call = encode_call(&caller, &request);
        for text in [
            format!("{call:?}"),
            format!("{:?}", call.request.as_ref().unwrap().request),
            format!("{:?}", decode_call(call.clone())),
            format!("{caller} {caller:?}"),
        ] {
            assert!(!text.contains("taliesin"), "{text}");
        }
    }
}
