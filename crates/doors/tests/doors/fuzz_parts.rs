//! What is smaller or other than a session of a door, fed with arbitrary bytes: stuffing, what proves a login, questions of DNS, a hostile
//! server's answers to our own SMTP; and that no session depends on how its bytes were cut.
//!
//! Seeds and finds are in `__fuzz__/*/corpus`; `fuzz/README.md` says how to run for longer.

use grapevine_doors::dns::{MAX_UDP_ANSWER_BYTES, Over, respond};
use grapevine_doors::dot::{DotDecoder, DotEncoder};
use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::sasl::scram::{First, Variant};
use grapevine_doors::sasl::{NAME_BYTES, PASSWORD_BYTES, decode_login, decode_plain};
use grapevine_doors::smtp::Kind;

use crate::{dns, managesieve, scram, smtp_out, splits};

/// What a question of DNS over TCP may be answered with at most: its length is said in two octets.
const MAX_TCP_ANSWER_BYTES: usize = 65_535;
/// Parts of a name of which a SASL response is made of are at most so long; its parts may not be longer than what they came in.
const MOST_SASL_BYTES: usize = 8 * 1024;

#[test]
fn stuffing_hides_no_end_and_loses_nothing() {
    bolero::check!(name = "dot").for_each(|input: &[u8]| dot(input));
}

#[test]
fn what_proves_a_login_is_read_or_refused() {
    bolero::check!(name = "sasl").for_each(|input: &[u8]| sasl(input));
}

#[test]
fn questions_of_dns_are_answered_shortly_or_not_at_all() {
    let zones = dns::zones(&dns::zone());
    bolero::check!(name = "dns").for_each(|input: &[u8]| answers(&zones, input));
}

#[test]
fn a_server_says_whatever_it_likes_and_our_client_believes_no_yes_that_is_none() {
    bolero::check!(name = "smtp_client").for_each(|input: &[u8]| smtp_out::hostile_server(input));
}

#[test]
fn no_session_depends_on_the_cuts() {
    bolero::check!(name = "cuts").for_each(|input: &[u8]| cuts(input));
}

/// The first octet is the size of the pieces, the rest the data.
fn dot(input: &[u8]) {
    let (size, data) = input.split_first().unwrap_or((&0, &[]));
    let size = usize::from(*size).max(1);
    // What is stuffed comes out as it was, and nothing of it ends the message early. A message ends with a line end, which the encoder adds.
    let mut stuffed = Vec::new();
    let mut encoder = DotEncoder::default();
    for piece in data.chunks(size) {
        encoder.encode(piece, &mut stuffed);
    }
    encoder.finish(&mut stuffed);
    assert!(stuffed.len() <= data.len() * 2 + 5, "bounded");
    let (used, whole, bare) = decoded(&stuffed, stuffed.len());
    assert_eq!(used, stuffed.len(), "the end is the end");
    assert!(
        whole == data || whole == [data, b"\r\n"].concat(),
        "{} became {}",
        data.escape_ascii(),
        whole.escape_ascii()
    );
    assert!(
        !bare || data.iter().any(|byte| b"\r\n".contains(byte)),
        "bare without any"
    );
    // And whatever comes is the same in pieces as whole, and never more than it was.
    let once = decoded(data, data.len().max(1));
    assert_eq!(once, decoded(data, size), "cut into {size}");
    assert!(once.1.len() <= data.len());
}

/// How much was used, what came out, and whether a line end stood alone.
fn decoded(bytes: &[u8], size: usize) -> (usize, Vec<u8>, bool) {
    let (mut decoder, mut out, mut used) = (DotDecoder::default(), Vec::new(), 0);
    for piece in bytes.chunks(size) {
        used += decoder.decode(piece, &mut out);
        if decoder.is_done() {
            break;
        }
    }
    (used, out, decoder.has_bare_line_end())
}

/// Lines: the first is a response of PLAIN, LOGIN and SCRAM; the second SCRAM's proof. Plain text is taken too, put into base64 here.
fn sasl(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let (first, second) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let coded = data_coded(first);
    for response in [first, coded.as_bytes()] {
        if let Ok(credentials) = decode_plain(response) {
            assert!((1..=NAME_BYTES).contains(&credentials.name.len()));
            assert!((1..=PASSWORD_BYTES).contains(&credentials.password.expose().len()));
            assert!(!credentials.name.chars().any(char::is_control));
        }
        if let Ok(secret) = decode_login(response) {
            assert!(secret.expose().len() <= response.len());
        }
        for (variant, channel) in [
            (Variant::Plain, Channel::default()),
            (Variant::Plain, bound()),
            (Variant::Plus, bound()),
        ] {
            let Ok(said) = First::parse(response, variant, &channel) else {
                continue;
            };
            let name = said.name().to_owned();
            assert!((1..=NAME_BYTES).contains(&name.len()));
            let (_, challenged) = said.challenge(&scram::challenge());
            let coded = data_coded(second);
            for answer in [second, coded.as_bytes()] {
                if let Ok(proof) = challenged.clone().proof(answer) {
                    assert_eq!(proof.name, name, "a proof is of who began");
                    assert!(proof.said.len() <= MOST_SASL_BYTES);
                    assert!(
                        proof.said.contains(&scram::challenge().nonce),
                        "a proof is of this dialogue"
                    );
                }
            }
        }
    }
}

fn bound() -> Channel {
    Channel {
        exporter: Some([3; 32]),
        end_point: Some(vec![4; 32]),
    }
}

fn data_coded(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn answers(zones: &grapevine_doors::dns::Zones, packet: &[u8]) {
    for (over, most) in [
        (Over::Udp, MAX_UDP_ANSWER_BYTES),
        (Over::Tcp, MAX_TCP_ANSWER_BYTES),
    ] {
        let mut out = Vec::new();
        if !respond(packet, over, zones, dns::NOW_MS, &mut out) {
            assert!(out.is_empty());
            continue;
        }
        assert!((12..=most).contains(&out.len()));
        assert_eq!(out[..2], packet[..2], "the question's number");
        assert!(out[2] & 0x80 != 0, "an answer");
        // Nobody's amplifier: an answer to an answer would go round for ever.
        assert!(packet[2] & 0x80 == 0, "answered an answer");
    }
}

/// The first octet chooses the session, the second the size of the pieces.
fn cuts(input: &[u8]) {
    let [session, size, bytes @ ..] = input else {
        return;
    };
    let size = usize::from(*size).max(1);
    let whole: Vec<&[u8]> = vec![bytes];
    let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
    match session % 6 {
        0 => assert_eq!(
            splits::smtp(Kind::Submission, &whole).events,
            splits::smtp(Kind::Submission, &pieces).events
        ),
        1 => assert_eq!(
            splits::smtp(Kind::Receiving, &whole).events,
            splits::smtp(Kind::Receiving, &pieces).events
        ),
        2 => assert_eq!(
            splits::smtp(Kind::Lmtp, &whole).events,
            splits::smtp(Kind::Lmtp, &pieces).events
        ),
        3 => assert_eq!(splits::pop3(&whole).events, splits::pop3(&pieces).events),
        4 => assert_eq!(splits::imap(&whole).events, splits::imap(&pieces).events),
        _ => assert_eq!(managesieve::said(&whole), managesieve::said(&pieces)),
    }
}
