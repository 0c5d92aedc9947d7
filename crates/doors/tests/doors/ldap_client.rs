//! A client of LDAP sessions: writes requests byte by byte, reads answers, and answers the session's questions from a small directory.

use grapevine_doors::ldap::{Ask, Config, Login, Output, Posix, Session};
use grapevine_doors::{READ_BYTES, Tls};
use grapevine_model::{
    Check, EntryKind, EntryView, ErrorKind, GroupList, Incarnation, Member, MemberKind, Name,
    Refusal, RegistryView, Reply, Request, Speaker,
};

/// One BER element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag, 0x84];
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(content);
    bytes
}

pub(crate) fn octets(text: impl AsRef<[u8]>) -> Vec<u8> {
    tlv(0x04, text.as_ref())
}

pub(crate) fn message(id: u8, operation: &[u8], controls: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x02, &[id]), operation, controls].concat())
}

pub(crate) fn bind(id: u8, name: &str, password: &str) -> Vec<u8> {
    let body = [
        tlv(0x02, &[3]),
        octets(name),
        tlv(0x80, password.as_bytes()),
    ]
    .concat();
    message(id, &tlv(0x60, &body), &[])
}

/// `(attribute=value)`.
pub(crate) fn equal(attribute: &str, value: &str) -> Vec<u8> {
    tlv(0xa3, &[octets(attribute), octets(value)].concat())
}

pub(crate) fn present(attribute: &str) -> Vec<u8> {
    tlv(0x87, attribute.as_bytes())
}

pub(crate) fn search(
    id: u8,
    base: &str,
    scope: u8,
    filter: &[u8],
    attributes: &[&str],
    controls: &[u8],
) -> Vec<u8> {
    let list: Vec<u8> = attributes.iter().flat_map(octets).collect();
    let body = [
        octets(base),
        tlv(0x0a, &[scope]),
        tlv(0x0a, &[0]),
        tlv(0x02, &[0]),
        tlv(0x02, &[0]),
        tlv(0x01, &[0]),
        filter.to_vec(),
        tlv(0x30, &list),
    ]
    .concat();
    message(id, &tlv(0x63, &body), controls)
}

pub(crate) fn control(name: &str, critical: bool, value: Option<&[u8]>) -> Vec<u8> {
    let value = value.map(octets).unwrap_or_default();
    let critical = tlv(0x01, &[u8::from(critical) * 0xff]);
    tlv(0xa0, &tlv(0x30, &[octets(name), critical, value].concat()))
}

pub(crate) fn paged(size: u8, cookie: &[u8]) -> Vec<u8> {
    let value = tlv(0x30, &[tlv(0x02, &[size]), octets(cookie)].concat());
    control("1.2.840.113556.1.4.319", true, Some(&value))
}

/// A response: id, tag, result code (-1 for an entry), its texts in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) id: u32,
    pub(crate) tag: u8,
    pub(crate) code: i64,
    pub(crate) texts: Vec<String>,
    pub(crate) cookie: Option<Vec<u8>>,
}

/// Reads one element: tag, content, rest.
fn element(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
    let tag = bytes[0];
    let (length, header) = match bytes[1] {
        0x84 => (
            u32::from_be_bytes(bytes[2..6].try_into().unwrap()) as usize,
            6,
        ),
        0x81 => (usize::from(bytes[2]), 3),
        short => {
            assert!(short < 0x80, "a length of an odd form");
            (usize::from(short), 2)
        }
    };
    (
        tag,
        &bytes[header..header + length],
        &bytes[header + length..],
    )
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |n, b| (n << 8) | i64::from(*b))
}

fn texts(mut bytes: &[u8], all: &mut Vec<String>) {
    while !bytes.is_empty() {
        let (tag, content, rest) = element(bytes);
        match tag {
            0x30 | 0x31 | 0xa0 | 0xa3 => texts(content, all),
            0x04 | 0x8a | 0x8b => all.push(String::from_utf8_lossy(content).into_owned()),
            _ => {}
        }
        bytes = rest;
    }
}

/// All responses in the bytes, each of which must be whole.
pub(crate) fn responses(mut bytes: &[u8]) -> Vec<Response> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (tag, content, rest) = element(bytes);
        assert_eq!(tag, 0x30);
        bytes = rest;
        let (_, id, operation) = element(content);
        let (tag, body, controls) = element(operation);
        let mut said = Vec::new();
        texts(body, &mut said);
        let code = if tag == 0x64 {
            -1
        } else {
            number(element(body).1)
        };
        let cookie = (!controls.is_empty()).then(|| {
            let (_, list, _) = element(controls);
            let (_, control, _) = element(list);
            let (_, _, value) = element(control);
            let (_, value, _) = element(value);
            let (_, value, _) = element(value);
            let (_, _, cookie) = element(value);
            element(cookie).1.to_vec()
        });
        all.push(Response {
            id: u32::try_from(number(id)).unwrap(),
            tag,
            code,
            texts: said,
            cookie,
        });
    }
    all
}

pub(crate) const PASSWORD: &str = "correct horse";

/// What the directory behind the session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// No holder can be asked.
    CutOff,
    /// The password was changed after the login.
    Changed,
}

/// A session with a directory of the registry `pa.example`: so many people, and the group `csl^` of `p0` and `p1`.
pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) sent: Vec<u8>,
    pub(crate) asked: Vec<Request>,
    /// How many of them came at once.
    pub(crate) turns: Vec<usize>,
    pub(crate) logins: Vec<String>,
    pub(crate) closed: bool,
    pub(crate) shook: bool,
    pub(crate) people: u32,
    pub(crate) mood: Mood,
    pub(crate) held_most: usize,
}

impl Client {
    pub(crate) fn new(tls: Tls) -> Self {
        Self {
            session: Session::new(Config {
                tls,
                posix: Posix::default(),
            }),
            sent: Vec::new(),
            asked: Vec::new(),
            turns: Vec::new(),
            logins: Vec::new(),
            closed: false,
            shook: false,
            people: 3,
            mood: Mood::Well,
            held_most: 0,
        }
    }

    /// Logged in as p0.
    pub(crate) fn logged_in() -> Self {
        let mut client = Self::new(Tls::Active);
        let said = client.say(&bind(1, "uid=p0,dc=pa,dc=example", PASSWORD));
        assert_eq!(said[0].code, 0, "{said:?}");
        client
    }

    /// Hands in bytes, and gives the responses.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<Response> {
        let before = self.sent.len();
        self.feed(bytes);
        responses(&self.sent[before..])
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.drive();
        for piece in bytes.chunks(READ_BYTES) {
            if self.closed {
                return;
            }
            assert!(self.session.wants_bytes());
            self.session.receive(piece);
            self.drive();
        }
    }

    pub(crate) fn drive(&mut self) {
        loop {
            self.held_most = self.held_most.max(self.session.held_bytes());
            match self.session.poll() {
                None => return,
                Some(Output::Send(bytes)) => self.sent.extend_from_slice(&bytes),
                Some(Output::StartTls) => {
                    self.shook = true;
                    self.session.tls_started();
                }
                Some(Output::Close) => {
                    self.closed = true;
                    assert!(self.session.poll().is_none());
                    return;
                }
                Some(Output::Ask(Ask::Authenticate(credentials))) => {
                    assert!(!self.session.wants_bytes());
                    self.logins.push(credentials.name.clone());
                    let name = credentials.name.parse::<Name>();
                    self.session.logged_in(match name {
                        Ok(_) if self.mood == Mood::CutOff => Login::NotNow,
                        Ok(name)
                            if self.entry(&name).is_some()
                                && credentials.password.expose() == PASSWORD =>
                        {
                            let speaker = Speaker::Individual {
                                name: name.clone(),
                                incarnation: Incarnation(1),
                            };
                            Login::Yes(name, speaker)
                        }
                        Ok(_) | Err(_) => Login::Wrong,
                    });
                }
                Some(Output::Ask(Ask::Requests { speaker, requests })) => {
                    assert!(!self.session.wants_bytes());
                    let reads_root = matches!(requests.as_slice(), [Request::RegistryList]);
                    assert!(reads_root || speaker != Speaker::Anonymous);
                    if self.mood == Mood::Changed {
                        self.session.login_ended();
                        continue;
                    }
                    self.turns.push(requests.len());
                    self.asked.extend(requests.iter().cloned());
                    let replies = requests.into_iter().map(|request| self.answer(request));
                    let replies = replies.collect();
                    self.session.answer(replies);
                }
            }
        }
    }

    pub(crate) fn entry(&self, name: &Name) -> Option<EntryView> {
        if name.registry().as_str() != "pa.example" {
            return None;
        }
        let number = match name.folded() {
            "alias" => 0,
            other => match other.strip_prefix('p') {
                Some(n) => n.parse::<u32>().ok().filter(|n| *n < self.people)?,
                None if other == "csl^" => u32::MAX,
                None => return None,
            },
        };
        let group = number == u32::MAX;
        let simple = if group {
            "csl^".to_owned()
        } else {
            format!("P{number}")
        };
        Some(EntryView {
            name: format!("{simple}@pa.example").parse().unwrap(),
            kind: if group {
                EntryKind::Group
            } else {
                EntryKind::Individual
            },
            incarnation: Incarnation(u128::from(number)),
            created_ms: 1_700_000_000_000,
            number: Some(2_000_000 + number % 1_000_000),
            remark: "Somebody".into(),
            sites: vec!["s1".parse().unwrap()],
            forward: Vec::new(),
            aliases: if number == 0 {
                vec!["alias@pa.example".parse().unwrap()]
            } else {
                Vec::new()
            },
            connect_sites: Vec::new(),
            members: if group { 2 } else { 0 },
            owners: Vec::new(),
            friends: Vec::new(),
            conflict: false,
            former: Vec::new(),
            quota: Default::default(),
            usage: None,
            suspended: Vec::new(),
            posting: Default::default(),
            aside: 0,
        })
    }

    fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        if self.mood == Mood::CutOff {
            return Err(Refusal::unavailable("no holder can be asked"));
        }
        let not_found = |what: &dyn std::fmt::Display| Err(Refusal::not_found(what));
        match request {
            Request::RegistryList => Ok(Reply::Registries(vec!["pa.example".parse().unwrap()])),
            Request::RegistryShow { registry } if registry.as_str() == "pa.example" => {
                Ok(Reply::Registry(RegistryView {
                    registry,
                    holders: Vec::new(),
                    registrars: Vec::new(),
                    entries: None,
                    ready: Vec::new(),
                    policy: Default::default(),
                }))
            }
            Request::Show { name } => match self.entry(&name) {
                Some(view) => Ok(Reply::Entry(Box::new(view))),
                None => not_found(&name),
            },
            Request::Entries {
                registry,
                after,
                limit,
            } if registry.as_str() == "pa.example" => {
                // The group, then the people by their numbers.
                let from = match after.as_deref() {
                    None => 0,
                    Some("csl^") => 1,
                    Some(after) => after[1..].parse::<u32>().unwrap() + 2,
                };
                let until = (self.people + 1).min(from + limit.min(100));
                let simple = |n: u32| match n {
                    0 => "csl^".to_owned(),
                    n => format!("p{}", n - 1),
                };
                let next = (until <= self.people).then(|| simple(until - 1));
                let entries = (from..until)
                    .map(|n| self.entry(&format!("{}@pa.example", simple(n)).parse().unwrap()))
                    .map(Option::unwrap)
                    .collect();
                Ok(Reply::Entries { entries, next })
            }
            Request::EntryOfNumber { number, .. } => {
                let simple = format!("p{}@pa.example", number.wrapping_sub(2_000_000));
                match self.entry(&simple.parse().unwrap()) {
                    Some(view) => Ok(Reply::Entry(Box::new(view))),
                    None => not_found(&number),
                }
            }
            Request::Check { group, list, who } => match self.entry(&group) {
                None if group.folded() == "everybody^" => Ok(Reply::Check(Check::Yes)),
                Some(view) if view.kind == EntryKind::Group => {
                    let is = list == GroupList::Members && matches!(who.folded(), "p0" | "p1");
                    Ok(Reply::Check(if is { Check::Yes } else { Check::No }))
                }
                Some(_) => Ok(Reply::Check(Check::No)),
                None => not_found(&group),
            },
            Request::MemberOf { name, depth, .. } => {
                assert_eq!(depth, grapevine_model::Depth::Nested);
                let is = matches!(name.folded(), "p0" | "p1");
                let members = if is {
                    // One of another registry too.
                    ["csl^@pa.example", "all^@other.example"]
                        .map(|name| name.parse().unwrap())
                        .to_vec()
                } else {
                    Vec::new()
                };
                let kinds = vec![MemberKind::Group; members.len()];
                Ok(Reply::Members {
                    members,
                    kinds,
                    next: None,
                })
            }
            Request::Members { group, .. } if group.folded() == "everybody^" => {
                Ok(Reply::Members {
                    members: vec!["p1@pa.example".parse().unwrap(), Member::Anyone],
                    kinds: vec![MemberKind::Individual, MemberKind::Outside],
                    next: None,
                })
            }
            Request::Members { group, .. } if self.entry(&group).is_none() => not_found(&group),
            Request::Members { list, .. } => {
                let members: Vec<Member> = match list {
                    GroupList::Members => ["P0@pa.example", "P1@pa.example", "x@outside.example"]
                        .map(|name| name.parse().unwrap())
                        .to_vec(),
                    GroupList::Owners | GroupList::Friends => Vec::new(),
                };
                let kinds = vec![
                    MemberKind::Individual,
                    MemberKind::Individual,
                    MemberKind::Outside,
                ];
                Ok(Reply::Members {
                    members,
                    kinds,
                    next: None,
                })
            }
            other => {
                let refusal = Refusal::new(ErrorKind::NotFound, format!("{other:?}"));
                Err(refusal)
            }
        }
    }
}
