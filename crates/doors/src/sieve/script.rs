//! A script that was understood: every command has what it needs, and nothing that its author did not `require`.

use super::text::Template;

/// A script that may be run. It exists only if it was compiled without a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub(super) commands: Vec<Command>,
}

/// One command (RFC 5228 sections 3 and 4, and extensions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `if`, all its `elsif`, and its `else`.
    If {
        branches: Vec<(Test, Vec<Command>)>,
        otherwise: Vec<Command>,
    },
    Stop,
    Keep {
        flags: Option<Vec<Template>>,
    },
    Discard,
    FileInto {
        folder: Template,
        flags: Option<Vec<Template>>,
        goes: Goes,
        missing: Missing,
    },
    Redirect {
        to: Template,
        goes: Goes,
    },
    Reject {
        reason: Template,
    },
    Vacation(Box<Vacation>),
    Flags {
        change: FlagChange,
        variable: Option<String>,
        flags: Vec<Template>,
    },
    Set {
        variable: String,
        value: Template,
        /// In the order in which they are applied.
        modifiers: Vec<Modifier>,
    },
}

/// Whether an action is instead of the inbox or beside it (RFC 3894).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    Instead,
    Copy,
}

/// What becomes of a message for a folder that is not there (RFC 5490).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Inbox,
    Create,
}

/// How the flags are changed (RFC 5232 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagChange {
    Set,
    Add,
    Remove,
}

/// RFC 5229 section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Modifier {
    Lower,
    Upper,
    LowerFirst,
    UpperFirst,
    QuoteWildcard,
    Length,
}

impl Modifier {
    /// Greater ones are applied first (RFC 5229 section 4.1). Two of one rank exclude each other.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Lower | Self::Upper => 40,
            Self::LowerFirst | Self::UpperFirst => 30,
            Self::QuoteWildcard => 20,
            Self::Length => 10,
        }
    }
}

/// RFC 5230.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vacation {
    pub(super) days: u64,
    pub(super) subject: Option<Template>,
    pub(super) from: Option<Template>,
    pub(super) addresses: Vec<Template>,
    pub(super) form: ReasonForm,
    pub(super) handle: Option<Template>,
    pub(super) reason: Template,
}

/// What the text of a vacation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReasonForm {
    /// Plain text.
    Plain,
    /// A MIME part with its header.
    Mime,
}

/// One test (RFC 5228 section 5, and extensions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    True,
    False,
    Not(Box<Test>),
    AllOf(Vec<Test>),
    AnyOf(Vec<Test>),
    Address {
        how: Comparison,
        part: AddressPart,
        headers: Vec<Template>,
        keys: Vec<Template>,
    },
    Envelope {
        how: Comparison,
        part: AddressPart,
        fields: Vec<EnvelopeField>,
        keys: Vec<Template>,
    },
    Header {
        how: Comparison,
        headers: Vec<Template>,
        keys: Vec<Template>,
    },
    Exists(Vec<Template>),
    SizeOver(u64),
    SizeUnder(u64),
    HasFlag {
        how: Comparison,
        variables: Vec<String>,
        keys: Vec<Template>,
    },
    String {
        how: Comparison,
        sources: Vec<Template>,
        keys: Vec<Template>,
    },
    MailboxExists(Vec<Template>),
}

/// A comparator with a kind of match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) comparator: Comparator,
    pub(super) kind: MatchKind,
    /// Whether `${1}` and the like are to be had from `:matches`.
    pub(super) captures: Captures,
}

/// Whether somebody may ask what the wildcards stood for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Captures {
    Kept,
    NotKept,
}

/// RFC 4790, RFC 5228 2.7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparator {
    Octet,
    AsciiCasemap,
    AsciiNumeric,
}

/// RFC 5228 2.7.1, RFC 5231.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchKind {
    Is,
    Contains,
    Matches,
    Value(Relation),
    Count(Relation),
}

/// RFC 5231.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

impl Relation {
    pub(super) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
        }
    }
}

/// RFC 5228 2.7.4, RFC 5233.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPart {
    All,
    LocalPart,
    Domain,
    User,
    Detail,
}

/// RFC 5228 5.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnvelopeField {
    From,
    To,
}
