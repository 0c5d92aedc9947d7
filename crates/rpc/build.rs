//! Compiles the published schema with protox, so that no `protoc` is needed to build Grapevine.

use std::error::Error;

const FILES: [&str; 9] = [
    "proto/grapevine/v1/cell.proto",
    "proto/grapevine/v1/compare.proto",
    "proto/grapevine/v1/message.proto",
    "proto/grapevine/v1/list_copy.proto",
    "proto/grapevine/v1/mailbox.proto",
    "proto/grapevine/v1/sieve.proto",
    "proto/grapevine/v1/request.proto",
    "proto/grapevine/v1/peer.proto",
    "proto/grapevine/v1/service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let schema = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Chunks of bodies are passed on as they came, without a copy.
        .bytes(".grapevine.v1.BodyChunk.data")
        .bytes(".grapevine.v1.BodyPart.chunk")
        .bytes(".grapevine.v1.SubmitPart.chunk")
        .bytes(".grapevine.v1.PeerFrame.inline_body")
        // Passwords travel in these: nothing of them is ever printed.
        .skip_debug([
            ".grapevine.v1.Credentials",
            ".grapevine.v1.Authenticate",
            ".grapevine.v1.CallerTicket",
            ".grapevine.v1.Ticket",
            ".grapevine.v1.NewAppPassword",
            ".grapevine.v1.EntryChange",
            ".grapevine.v1.EntryChange.change",
            ".grapevine.v1.IndividualCreate",
        ])
        .compile_fds(schema)?;
    Ok(())
}
