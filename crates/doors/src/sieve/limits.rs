//! What a script may be, and what running it may cost. Whatever a script asks for, it ends soon and holds little.

/// The longest script: one cell of its owner's mailbox.
pub const SCRIPT_BYTES: usize = grapevine_model::MAX_SCRIPT_BYTES;

/// How deep blocks, and tests within tests, may be nested (RFC 5228 2.10.5 asks for 15 at least). Bounds the stack of parser and interpreter.
pub const NESTING: usize = 32;

/// How many actions one message may lead to: the copies it makes in folders, and what goes out.
pub const ACTIONS: usize = 32;

/// To how many addresses one message may be redirected: a filter is no distribution list, and each of them is a message.
pub const REDIRECTS: usize = 4;

/// How many variables a script may have (RFC 5229 section 3 asks for 128 at least).
pub const VARIABLES: usize = 128;

/// The longest value of a variable, cut there (RFC 5229 section 3 asks for 4,000 characters at least).
pub const VARIABLE_BYTES: usize = 16 * 1024;

/// How much all variables together may hold, in octets: a script that doubles a value a line must not double the server's memory.
pub const ALL_VARIABLES_BYTES: usize = 256 * 1024;

/// How many flags one message may get by a script.
pub const FLAGS: usize = 32;

/// How much of a message is looked at: its header, up to here. Headers of real mail end before 20 KiB.
pub const HEADER_BYTES: usize = 128 * 1024;

/// So many fields of a header are looked at: a longer header is read up to there.
pub const HEADER_FIELDS: usize = 2_000;

/// Steps that comparing may take in one run, each about one octet compared: some tens of milliseconds. Without it, a long header against
/// many patterns with many `*` could hold a server for minutes.
pub const WORK: u64 = 20_000_000;

/// The longest explanation of a `reject`, and the longest text of a `vacation`, after variables were put in.
pub const REASON_BYTES: usize = 16 * 1024;

/// How often, at most, one correspondent is answered with one text: once in so many days if the script does not say (RFC 5230 4.1).
pub const VACATION_DAYS: u64 = 7;
/// The least that a script may ask for (RFC 5230 4.1).
pub const VACATION_DAYS_LEAST: u64 = 1;
/// The most that is remembered; more is taken for this (RFC 5230 4.1 asks for 7 at least).
pub const VACATION_DAYS_MOST: u64 = 30;

/// A message that filters have sent on so often is sent on no further: two mailboxes that redirect to a third one that redirects back.
pub const REDIRECTED_MOST: usize = 8;
