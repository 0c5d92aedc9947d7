//! What a client may use up in an LDAP session, each with its reason.

/// The longest message taken in: a filter of a thousand names fits; more is held for nobody.
pub const MESSAGE_BYTES: usize = 128 * 1024;
/// How deep a filter may be nested: programs write three or four levels.
pub const FILTER_DEPTH: usize = 32;
/// How many items a filter may have: a mail program's address book asks for some tens.
pub const FILTER_ITEMS: usize = 1_000;
/// How many parts between stars a filter may have: each is looked for in every entry.
pub const FILTER_PARTS: usize = 16;
/// How many attributes a search may name: all that there are fit twice.
pub const ATTRIBUTES: usize = 100;
/// Controls on one message: clients send one or two.
pub const CONTROLS: usize = 16;
/// The longest DN that is looked at: a name of 254 octets, each escaped, with a `dc=` for each label.
pub const DN_BYTES: usize = 2_048;
/// Entries in the answer to one search that is not asked for in pages; beyond, sizeLimitExceeded.
pub const ENTRIES: usize = 5_000;
/// Entries in one page, whatever the client asks for.
pub const PAGE_ENTRIES: usize = 500;
/// Entries that a search without an index may look at, in all its pages; beyond, adminLimitExceeded. A registry of a million is
/// read whole by `grapevine registry export`.
pub const LOOKED_AT: usize = 200_000;
/// Groups that a search by member goes through, and values of `memberOf`: beyond, adminLimitExceeded.
pub const GROUPS: usize = 10_000;
/// Values of one attribute of one entry: the whole entry is held while it is written, some 100 octets for each. A larger group is
/// answered with adminLimitExceeded where its members are asked for; whether somebody is in it can be asked of any.
pub const VALUES: usize = 20_000;
/// How long a search may take where the client sets no limit, in milliseconds.
pub const SEARCH_MS: u64 = 60_000;
/// Wrong passwords in one session, then it is closed.
pub const WRONG_PASSWORDS: u32 = 3;
/// How long a client may be silent, in milliseconds: programs such as nslcd keep a connection for their next question.
pub const SILENCE_MS: u64 = 15 * 60_000;
/// The same before it has logged in.
pub const SILENCE_BEFORE_LOGIN_MS: u64 = 60_000;
