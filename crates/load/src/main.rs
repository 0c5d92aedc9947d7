//! `grapevine-load`: load on any SMTP, POP3, IMAP, HTTP, LDAP or DNS server, so that Grapevine and its peers are measured by one program.
//!
//! Must never know whom it measures: it speaks the standard protocols only, and depends on no crate of Grapevine. Numbers go to
//! standard output as `key=value` lines, one a line, for people and scripts alike.

mod connect;
mod dns;
mod figures;
mod http;
mod imap;
mod ldap;
mod lines;
mod pop3;
mod seen;
mod smtp;

use std::io::Write as _;

use clap::Parser;

/// Load on any SMTP, POP3, IMAP, HTTP, LDAP or DNS server.
#[derive(Debug, Parser)]
#[command(name = "grapevine-load", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Send messages over some sessions at once
    Smtp(smtp::Args),
    /// Retrieve all messages of a mailbox
    Pop3(pop3::Args),
    /// Work in a mailbox by IMAP
    Imap(imap::Args),
    /// Make one kind of HTTP request
    Http(http::Args),
    /// Ask a directory questions
    Ldap(ldap::Args),
    /// Make changes at one server and look for them at another
    Seen(seen::Args),
    /// Ask a name server one question over UDP
    Dns(dns::Args),
}

/// One thread: the generator shares its machine with what it measures, and should take little of it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let figures = match Cli::parse().what {
        What::Smtp(args) => smtp::run(args).await?,
        What::Pop3(args) => pop3::run(args).await?,
        What::Imap(args) => imap::run(args).await?,
        What::Http(args) => http::run(args).await?,
        What::Ldap(args) => ldap::run(args).await?,
        What::Seen(args) => seen::run(args).await?,
        What::Dns(args) => dns::run(args).await?,
    };
    Ok(write!(std::io::stdout(), "{figures}")?)
}
