//! Who speaks in the matrix of rights, and what each request looks like there.
//!
//! Worlds are equal to the last octet, so that what was learned in one is true in the next.

use grapevine_model::{
    AppPassword, AsideChange, Authenticated, DeadLetterChange, Depth, EntryChange, EntryKind,
    GroupList, ImportedEntry, Incarnation, MailboxAsk, MessageId, OriginId, PolicyChange,
    PostingRule, QueueAsk, QueueChange, Quota, RegistryName, Reply, Request, Secret, ServerInfo,
    ServerRole, SieveAsk, Since, SiteOffer, Source, Speaker, StalePolicy, Unsubscribe, Verdict,
    WatchTarget,
};

use crate::harness::{Cluster, add, name, remove, server};
use crate::matrix::ALL;

/// `es` at the first server alone, with a group, one without owners and an individual; everybody who
/// may speak.
pub(crate) fn cast() -> (Cluster, Vec<(&'static str, Speaker)>) {
    let (cluster, speakers, _) = world();
    (cluster, speakers)
}

fn world() -> (Cluster, Vec<(&'static str, Speaker)>, MessageId) {
    let mut cluster = Cluster::new(2);
    for who in [
        "stranger@pa",
        "member@pa",
        "friend@pa",
        "owner@pa",
        "es@pa",
        "ghost@pa",
    ] {
        cluster.individual(who);
    }
    for (registry, holders, registrars) in [
        ("es", vec![server("s1")], vec!["es@pa", "ghost@pa"]),
        ("ox", Vec::new(), vec!["birrell@pa"]),
    ] {
        let create = Request::RegistryCreate {
            registry: registry.parse().unwrap(),
            holders,
            registrars: registrars.into_iter().map(name).collect(),
        };
        cluster.ok("s1", Speaker::Operator, create);
    }
    cluster.individual("n@es");
    cluster.group(
        "g^@es",
        &["member@pa", "ghost@pa", "needham@pa"],
        &["owner@pa", "ghost@pa"],
    );
    cluster.group("lone^@es", &["needham@pa"], &[]);
    for friend in ["friend@pa", "ghost@pa"] {
        let request = add("g^@es", GroupList::Friends, friend);
        cluster.ok("s1", Speaker::Operator, request);
    }
    cluster.pass(2_000);
    let ghost = cluster.login("ghost@pa");
    let gone = Request::Delete {
        name: name("ghost@pa"),
    };
    cluster.ok("s1", Speaker::Operator, gone);
    cluster.individual("ghost@pa");
    let message = cluster.submit("s1", "member@pa", &["n@es"], "hello");
    cluster.pass(5_000);
    let mut speakers = vec![("nobody", Speaker::Anonymous)];
    for (role, who) in [
        ("stranger", "stranger@pa"),
        ("member", "member@pa"),
        ("friend", "friend@pa"),
        ("owner", "owner@pa"),
        ("registrar", "es@pa"),
        ("registrar elsewhere", "birrell@pa"),
        ("founder", "registrar@pa"),
        ("itself", "n@es"),
    ] {
        speakers.push((role, cluster.login(who)));
    }
    speakers.push(("ghost", ghost));
    speakers.push(("namesake", cluster.login("ghost@pa")));
    speakers.push(("server", Speaker::Server(server("s2"))));
    speakers.push(("operator", Speaker::Operator));
    let roles: Vec<&str> = speakers.iter().map(|(role, _)| *role).collect();
    assert_eq!(roles, ALL);
    (cluster, speakers, message)
}

/// The proof that `n@es` has given.
fn proof(cluster: &mut Cluster) -> Authenticated {
    match cluster.ok("s1", Speaker::Anonymous, authenticate()) {
        Reply::Authenticated(who) => who,
        other => panic!("{other:?}"),
    }
}

fn authenticate() -> Request {
    Request::Authenticate {
        name: name("n@es"),
        password: Secret("n@es".into()),
        source: Source::Local,
    }
}

fn change(who: &str, change: EntryChange) -> Request {
    Request::Change {
        name: name(who),
        change,
    }
}

/// Each request once at least, each change of an entry too.
pub(crate) fn samples() -> Vec<Request> {
    let (mut cluster, _, message) = world();
    let mut all = changes();
    all.extend(questions(message));
    all.extend(logins(proof(&mut cluster)));
    all.extend(about_entries());
    all.extend(about_registries());
    all.extend(about_servers());
    all
}

fn changes() -> Vec<Request> {
    let members = GroupList::Members;
    let app = AppPassword {
        id: "x".into(),
        label: "phone".into(),
        digest: [0; 32],
        created_ms: 1,
        expires_ms: None,
    };
    let site = SiteOffer {
        place: "192.0.2.1:21".parse().unwrap(),
        priority: 0,
        weight: 0,
        note: "".parse().unwrap(),
    };
    let quota = Quota {
        octets: Some(1),
        messages: Some(1),
    };
    vec![
        change("n@es", EntryChange::Password(Secret("hash of x".into()))),
        change("n@es", EntryChange::AppPasswordAdd(app)),
        change("n@es", EntryChange::AppPasswordRemove("x".into())),
        change("n@es", EntryChange::Forward(vec![name("birrell@pa")])),
        change(
            "n@es",
            EntryChange::ConnectSites {
                door: "ftp".parse().unwrap(),
                sites: vec![site],
                lease_ms: None,
            },
        ),
        change("n@es", EntryChange::Remark("r".into())),
        change("n@es", EntryChange::Sites(vec![server("s1")])),
        change("n@es", EntryChange::AliasAdd(name("nn@es"))),
        change("n@es", EntryChange::AliasRemove(name("nn@es"))),
        change("n@es", EntryChange::Quota(quota)),
        change("n@es", EntryChange::Rename(name("m@es"))),
        change("n@es", EntryChange::FormerRemove(name("m@es"))),
        change("g^@es", EntryChange::Remark("r".into())),
        change("g^@es", EntryChange::Posting(PostingRule::Members)),
        change(
            "g^@es",
            EntryChange::Judge {
                message: MessageId::from_u128(1),
                verdict: Verdict::Approve,
            },
        ),
        add("g^@es", members, "birrell@pa"),
        add("g^@es", GroupList::Owners, "birrell@pa"),
        add("g^@es", GroupList::Friends, "*"),
        add("g^@es", members, "stranger@pa"),
        add("g^@es", members, "friend@pa"),
        add("g^@es", members, "ghost@pa"),
        remove("g^@es", members, "needham@pa"),
        remove("g^@es", members, "member@pa"),
        remove("g^@es", members, "ghost@pa"),
        remove("g^@es", GroupList::Friends, "friend@pa"),
        change(
            "g^@es",
            EntryChange::Unsubscribe(Unsubscribe {
                group: Incarnation(1),
                member: Incarnation(2),
                proof: [0; 16],
            }),
        ),
        change("g^@es", EntryChange::Resume(name("ann@outside.example"))),
        change("g^@es", EntryChange::Join),
        change("g^@es", EntryChange::Leave),
        change("lone^@es", EntryChange::Remark("r".into())),
        change("lone^@es", EntryChange::Posting(PostingRule::Members)),
        add("lone^@es", GroupList::Friends, "birrell@pa"),
        remove("lone^@es", members, "needham@pa"),
        add("es@gv", GroupList::Owners, "birrell@pa"),
        add("es@gv", members, "s2@gv"),
        remove("es@gv", members, "s1@gv"),
        add("gv@gv", GroupList::Owners, "birrell@pa"),
    ]
}

fn questions(message: MessageId) -> Vec<Request> {
    let (group, list) = (name("g^@es"), GroupList::Members);
    let watch = |target| Request::Watch {
        target,
        since: Since::Now,
        wait_ms: 0,
    };
    vec![
        Request::Check {
            group: group.clone(),
            list,
            who: name("member@pa"),
        },
        Request::CheckMany {
            group: group.clone(),
            list,
            who: vec![name("member@pa")],
        },
        Request::Members {
            group,
            list,
            after: None,
            limit: 10,
        },
        Request::MemberOf {
            name: name("member@pa"),
            list,
            depth: Depth::Nested,
            after: None,
            limit: 10,
        },
        Request::CheckRecipient { name: name("n@es") },
        Request::Find {
            name: name("n@es"),
            door: None,
            known: None,
        },
        Request::Show { name: name("n@es") },
        Request::Entries {
            registry: es(),
            after: None,
            limit: 10,
        },
        Request::EntryOfNumber {
            registry: es(),
            number: 1,
        },
        watch(WatchTarget::Entry(name("n@es"))),
        watch(WatchTarget::Registry(es())),
        Request::MaySendAs { name: name("n@es") },
        Request::Trace { message },
        Request::Queue(QueueAsk::List {
            message: None,
            after: None,
            limit: 10,
        }),
        Request::Queue(QueueAsk::Change {
            message: None,
            change: QueueChange::Retry,
        }),
        Request::Queue(QueueAsk::DeadLetters {
            after: None,
            limit: 10,
        }),
        Request::Queue(QueueAsk::DeadLetter {
            message,
            change: DeadLetterChange::Drop,
        }),
        Request::Queue(QueueAsk::Unplug {
            server: server("s1"),
        }),
        Request::InboxList { name: name("n@es") },
        Request::InboxDelete {
            name: name("n@es"),
            messages: vec![message],
        },
        Request::Mailbox {
            name: name("n@es"),
            ask: MailboxAsk::Folders,
        },
        Request::Sieve {
            name: name("n@es"),
            ask: SieveAsk::List,
        },
    ]
}

fn logins(who: Authenticated) -> Vec<Request> {
    vec![
        authenticate(),
        Request::Vouch { who },
        Request::ScramBegin { name: name("n@es") },
        Request::ScramFinish {
            name: name("n@es"),
            source: Source::Local,
            said: String::new(),
            proof: [0; 32],
        },
        Request::TicketCreate { life_ms: None },
        Request::AppPasswordCreate {
            name: name("n@es"),
            label: "phone".into(),
            expires_ms: None,
        },
        Request::AppPasswords { name: name("n@es") },
    ]
}

fn about_entries() -> Vec<Request> {
    let individual = |who| Request::IndividualCreate {
        name: name(who),
        password: None,
        sites: Vec::new(),
    };
    let group = |who| Request::GroupCreate {
        name: name(who),
        remark: String::new(),
        owners: Vec::new(),
    };
    vec![
        individual("new@es"),
        individual("new@gv"),
        group("new^@es"),
        group("new@ms"),
        Request::Delete { name: name("n@es") },
        Request::Delete {
            name: name("es@gv"),
        },
        Request::Import {
            registry: es(),
            entries: vec![ImportedEntry::new(
                name("imported@es"),
                EntryKind::Individual,
            )],
        },
        Request::Held {
            group: name("g^@es"),
        },
        Request::Conflicts {
            registry: es(),
            after: None,
            limit: 10,
        },
        Request::Aside {
            name: name("n@es"),
            incarnation: Incarnation(1),
            change: AsideChange::Delete,
        },
        Request::Dangling {
            registry: es(),
            after: None,
            limit: 10,
        },
        Request::DanglingRemove {
            registry: es(),
            after: None,
            limit: 10,
        },
    ]
}

fn about_registries() -> Vec<Request> {
    let policy = |change| Request::RegistryPolicy {
        registry: es(),
        change,
    };
    vec![
        Request::RegistryList,
        Request::RegistryShow { registry: es() },
        Request::RegistryCreate {
            registry: "sf".parse().unwrap(),
            holders: Vec::new(),
            registrars: Vec::new(),
        },
        Request::RegistryDelete { registry: es() },
        policy(PolicyChange::Stale(StalePolicy::Refuse)),
        policy(PolicyChange::Scram(grapevine_model::ScramPolicy::Off)),
        policy(PolicyChange::Quota(Quota {
            octets: Some(1 << 30),
            messages: None,
        })),
        policy(PolicyChange::CatchAll(None)),
        policy(PolicyChange::OverQuota(
            grapevine_model::OverQuotaPolicy::Refuse,
        )),
        policy(PolicyChange::Offer(server("s2"))),
        policy(PolicyChange::Withdraw(server("s2"))),
        Request::HolderAdd {
            registry: es(),
            server: server("s2"),
        },
        Request::HolderRemove {
            registry: es(),
            server: server("s2"),
        },
        Request::Compare { registry: es() },
        Request::RegistrySeen {
            registry: es(),
            stamp: None,
        },
    ]
}

fn about_servers() -> Vec<Request> {
    vec![
        Request::Servers,
        Request::Status,
        Request::TokenCreate {
            digest: vec![0; 32],
            expires_ms: 1,
        },
        Request::Join {
            digest: vec![0; 32],
            server: ServerInfo {
                name: server("s9"),
                public_key: b"s9".to_vec(),
                origin: OriginId(9),
                role: ServerRole::Full,
                doors: Default::default(),
                more_keys: Vec::new(),
            },
        },
        Request::RotateKey {
            wait: grapevine_model::KeyWait::Nobody,
        },
        Request::Retire {
            server: server("nosuch"),
        },
    ]
}

fn es() -> RegistryName {
    "es".parse().unwrap()
}
