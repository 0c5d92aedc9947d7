//! The program `grapevine`.

use std::process::ExitCode;

/// A long-lived server with many small allocations keeps less memory with it than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    grapevine_server::run()
}
