//! A small Grapevine set up by hand, and the verbs that the scenarios are told with.

use std::collections::BTreeMap;

use grapevine_core::{Alone, Times};
use grapevine_model::{
    Check, EntryChange, Envelope, EnvelopeRecipient, GroupList, Hlc, MessageId, Name, OriginId,
    Reply, Request, ReturnContent, Secret, ServerName, ServerStatus, Speaker, Submission,
};
use grapevine_sim::{
    Cluster, Dice, EPOCH_MS, Options, Outcome, Person, Skew, Verbosity, everywhere, found, hash,
    insist, name, registry_name, server_name,
};

pub struct Bench {
    pub cluster: Cluster,
    pub dice: Dice,
    pub people: BTreeMap<String, Person>,
}

/// Virtual seconds until all must be at rest after a heal.
const REST_S: u64 = 240;

pub fn options() -> Options {
    Options {
        seed: 1,
        times: Times {
            take_over_ms: 5_000,
            retry_most_ms: 10_000,
            outside_first_ms: 1_000,
            outside_most_ms: 10_000,
            tombstone_ms: 0,
            ..Times::default()
        },
        rows_a_turn: grapevine_core::ROWS_A_TURN,
        routes: everywhere(),
        alone: Alone::Accept,
        planted: None,
        skewed: Skew::None,
        verbose: match std::env::var_os("GRAPEVINE_SIM_LINES") {
            Some(_) => Verbosity::Lines,
            None => Verbosity::Silent,
        },
    }
}

impl Bench {
    pub fn new(servers: usize) -> Self {
        Self::with(servers, options())
    }

    pub fn with(servers: usize, options: Options) -> Self {
        let mut dice = Dice::new(options.seed).fork(2);
        let mut cluster = Cluster::new(options);
        found(&mut cluster, servers, &mut dice).unwrap();
        Self {
            cluster,
            dice,
            people: BTreeMap::new(),
        }
    }

    pub fn registry(&mut self, registry: &str, holders: &[usize]) {
        let create = Request::RegistryCreate {
            registry: registry_name(registry),
            holders: servers(holders),
            registrars: vec![name(&format!("reg@{registry}"))],
        };
        insist(&mut self.cluster, 0, &Speaker::Operator, &create).unwrap();
        self.pass_s(5);
    }

    pub fn person(&mut self, text: &str, sites: &[usize]) {
        let create = Request::IndividualCreate {
            name: name(text),
            password: Some(hash("pw")),
            sites: servers(sites),
        };
        insist(&mut self.cluster, 0, &Speaker::Operator, &create).unwrap();
        let incarnation = match self.operator(0, Request::Show { name: name(text) }) {
            Outcome::Done(Reply::Entry(entry)) => entry.incarnation,
            other => panic!("{text}: {other:?}"),
        };
        let person = Person {
            name: name(text),
            incarnation,
            password: "pw".into(),
        };
        self.people.insert(text.into(), person);
    }

    pub fn group(&mut self, text: &str, owner: &str, members: &[&str]) {
        let create = Request::GroupCreate {
            name: name(text),
            remark: String::new(),
            owners: vec![name(owner).into()],
        };
        insist(&mut self.cluster, 0, &Speaker::Operator, &create).unwrap();
        for member in members {
            let add = list_add(text, member);
            insist(&mut self.cluster, 0, &Speaker::Operator, &add).unwrap();
        }
    }

    pub fn as_(&self, person: &str) -> Speaker {
        self.people[person].speaker()
    }

    pub fn operator(&mut self, node: usize, request: Request) -> Outcome {
        self.cluster.ask(node, Speaker::Operator, request)
    }

    pub fn ask(&mut self, node: usize, person: &str, request: Request) -> Outcome {
        let speaker = self.as_(person);
        self.cluster.ask(node, speaker, request)
    }

    pub fn letter(&mut self, from: &str, to: &[&str]) -> Submission {
        Submission {
            id: Some(MessageId {
                time: Hlc::at_ms(EPOCH_MS + self.cluster.now_us() / 1000),
                origin: OriginId::client(self.dice.next()),
            }),
            speaker: self.as_(from),
            envelope: Envelope {
                return_path: Some(name(from)),
                recipients: to
                    .iter()
                    .map(|to| EnvelopeRecipient::from(name(to)))
                    .collect(),
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body: self.cluster.new_body(),
            reports: None,
        }
    }

    /// Submits; says which message was accepted, on how many disks.
    pub fn send(&mut self, node: usize, from: &str, to: &[&str]) -> (MessageId, u8) {
        let letter = self.letter(from, to);
        accepted(&self.cluster.submit(node, letter))
    }

    /// None while it can't be asked.
    pub fn inbox_if_told(&mut self, node: usize, person: &str) -> Option<Vec<MessageId>> {
        let list = Request::InboxList { name: name(person) };
        match self.ask(node, person, list) {
            Outcome::Done(Reply::Inbox(inbox)) => {
                Some(inbox.messages.iter().map(|m| m.message).collect())
            }
            _ => None,
        }
    }

    pub fn inbox(&mut self, node: usize, person: &str) -> Vec<MessageId> {
        let list = Request::InboxList { name: name(person) };
        match self.ask(node, person, list) {
            Outcome::Done(Reply::Inbox(inbox)) => {
                inbox.messages.iter().map(|m| m.message).collect()
            }
            other => panic!("inbox of {person} at node {node}: {other:?}"),
        }
    }

    pub fn check(&mut self, node: usize, group: &str, who: &str) -> Outcome {
        self.operator(
            node,
            Request::Check {
                group: name(group),
                list: GroupList::Members,
                who: name(who),
            },
        )
    }

    pub fn login(&mut self, node: usize, person: &str, password: &str) -> Outcome {
        self.cluster.ask(
            node,
            Speaker::Anonymous,
            Request::Authenticate {
                name: name(person),
                password: Secret(password.into()),
                source: grapevine_model::Source::Local,
            },
        )
    }

    pub fn status(&mut self, node: usize) -> ServerStatus {
        match self.operator(node, Request::Status) {
            Outcome::Done(Reply::Status(status)) => *status,
            other => panic!("status of node {node}: {other:?}"),
        }
    }

    pub fn pass_s(&mut self, seconds: u64) {
        self.cluster.run_for(seconds * 1000);
    }

    /// Waits until a condition holds, with a limit in virtual time.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..REST_S {
            if holds(self) {
                return;
            }
            self.pass_s(1);
        }
        panic!(
            "in {REST_S} s it never came that {what}; violations: {:?}",
            self.cluster.violations
        );
    }

    pub fn until_at_rest(&mut self) {
        self.until("all custody ended", |bench| {
            bench.cluster.up().into_iter().all(|node| {
                let status = bench.status(node);
                status.queue.messages == 0
                    && status.queue.deputy_for == 0
                    && status.fetching.is_empty()
            })
        });
    }

    pub fn assert_clean(&mut self) {
        assert_eq!(self.cluster.violations, []);
    }
}

impl Drop for Bench {
    /// With `GRAPEVINE_SIM_LINES` set, the story is told, however it ended.
    #[expect(
        clippy::print_stdout,
        reason = "the runner shows it for a test that fails"
    )]
    fn drop(&mut self) {
        print!("{}", self.cluster.take_lines());
    }
}

pub fn servers(nodes: &[usize]) -> Vec<ServerName> {
    nodes.iter().map(|node| server_name(node + 1)).collect()
}

pub fn list_add(group: &str, member: &str) -> Request {
    Request::Change {
        name: name(group),
        change: EntryChange::ListAdd(GroupList::Members, name(member).into()),
    }
}

pub fn list_remove(group: &str, member: &str) -> Request {
    Request::Change {
        name: name(group),
        change: EntryChange::ListRemove(GroupList::Members, name(member).into()),
    }
}

pub fn accepted(outcome: &Outcome) -> (MessageId, u8) {
    match outcome {
        Outcome::Done(Reply::Accepted { message, copies }) => (*message, *copies),
        other => panic!("not accepted: {other:?}"),
    }
}

pub fn written(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Done(Reply::Written(written)) => written.copies,
        other => panic!("not written: {other:?}"),
    }
}

pub fn yes() -> Outcome {
    Outcome::Done(Reply::Check(Check::Yes))
}

pub fn no() -> Outcome {
    Outcome::Done(Reply::Check(Check::No))
}

pub fn name_of(text: &str) -> Name {
    name(text)
}
