//! Bodies in frames, and the limits of frames.

use grapevine_model::{BodyInfo, Hlc, MessageId, OriginId, PeerMessage};
use grapevine_rpc::{
    Frame, MAX_CHUNK_BYTES, MAX_INLINE_BODY_BYTES, decode_frame, encode_body, encode_chunk,
    encode_peer,
};
use prost::bytes::Bytes;

const ID: MessageId = MessageId {
    time: Hlc(7),
    origin: OriginId(8),
};

fn measure(len: usize) -> BodyInfo {
    BodyInfo {
        len: len as u64,
        digest: [3; 32],
    }
}

#[test]
fn a_small_body_goes_in_one_frame_and_a_large_one_is_announced() {
    for len in [0, MAX_INLINE_BODY_BYTES] {
        let octets = Bytes::from(vec![1; len]);
        let frame = encode_body(ID, measure(len), octets.clone()).unwrap();
        assert_eq!(
            decode_frame(frame),
            Ok(Frame::Body {
                message: ID,
                body: measure(len),
                inline: Some(octets)
            })
        );
    }
    let len = MAX_INLINE_BODY_BYTES + 1;
    assert_eq!(
        encode_body(ID, measure(len), Bytes::from(vec![1; len])),
        None
    );
    let frame = encode_peer(&PeerMessage::Body {
        message: ID,
        body: measure(len),
    });
    assert_eq!(
        decode_frame(frame),
        Ok(Frame::Body {
            message: ID,
            body: measure(len),
            inline: None
        })
    );
}

#[test]
fn a_body_of_another_length_than_announced_is_refused() {
    let frame = encode_body(ID, measure(4), Bytes::from_static(b"abc")).unwrap();
    assert!(decode_frame(frame).is_err());
    let mut frame = encode_body(ID, measure(3), Bytes::from_static(b"abc")).unwrap();
    frame.inline_body = Some(vec![0; MAX_INLINE_BODY_BYTES + 1].into());
    assert!(decode_frame(frame).is_err());
}

#[test]
fn a_chunk_has_a_limit() {
    let data = Bytes::from(vec![0; MAX_CHUNK_BYTES]);
    assert_eq!(
        decode_frame(encode_chunk(data.clone(), true)),
        Ok(Frame::Chunk { data, last: true })
    );
    let data = Bytes::from(vec![0; MAX_CHUNK_BYTES + 1]);
    assert!(decode_frame(encode_chunk(data, false)).is_err());
}
