//! Who may do what, over real frames: hostile clients at every door of two servers, of which one
//! holds the registry and the other passes on. The whole table is tried in the core
//! (core/tests/it/matrix.rs); here is tried that no door lets anybody be who he is not.
//!
//! What is refused changes nothing: the digests of all registries stay.

use grapevine_model::{
    AppPassword, Authenticated, EntryChange, EntryKind, ErrorKind, GroupList, ImportedEntry, Name,
    PolicyChange, Refusal, RegistryName, Reply, Request, Secret, ServerName, Since, Source,
    Speaker, WatchTarget,
};
use grapevine_rpc::{Caller, Credentials};
use tonic::transport::Channel;

use crate::grapevine::{Grapevine, wait_for};
use crate::strangers::{call, channel_to};

const PASSWORD: &str = "correct horse battery";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn es() -> RegistryName {
    "es.example".parse().unwrap()
}

/// Two servers; `es.example` at the first alone: birrell is its registrar, needham owns its group.
pub(crate) struct World {
    pub(crate) grapevine: Grapevine,
    channels: Vec<Channel>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let grapevine = Grapevine::up(2);
        let channels = {
            let _inside = runtime.enter();
            let to = |server| channel_to(&grapevine, server, None);
            vec![to(0), to(1)]
        };
        let world = Self {
            grapevine,
            channels,
            runtime,
        };
        let (founder, registrar) = (world.person("registrar"), world.person("birrell"));
        let create = Request::RegistryCreate {
            registry: es(),
            holders: vec!["s1".parse().unwrap()],
            registrars: vec![name("birrell@pa.example")],
        };
        world.ask(0, founder, create).unwrap();
        let individual = Request::IndividualCreate {
            name: name("n@es.example"),
            password: Some(Secret(PASSWORD.into())),
            sites: Vec::new(),
        };
        world.ask(0, registrar.clone(), individual).unwrap();
        let group = Request::GroupCreate {
            name: name("g^@es.example"),
            remark: String::new(),
            owners: vec!["needham@pa.example".parse().unwrap()],
        };
        world.ask(0, registrar, group).unwrap();
        wait_for("the new registry at the other server", || {
            let show = Request::RegistryShow { registry: es() };
            world.ask(1, Caller::Connection, show).is_ok()
        });
        world
    }

    fn ask(&self, server: usize, caller: Caller, request: Request) -> Result<Reply, Refusal> {
        self.runtime
            .block_on(call(&self.channels[server], caller, request))
    }

    pub(crate) fn person(&self, simple: &str) -> Caller {
        let password = self.grapevine.password(simple);
        by_password(&format!("{simple}@pa.example"), &password)
    }

    /// Somebody without any right: `stranger@pa.example`.
    pub(crate) fn stranger(&self) {
        let stranger = Request::IndividualCreate {
            name: name("stranger@pa.example"),
            password: Some(Secret(PASSWORD.into())),
            sites: Vec::new(),
        };
        self.ask(0, self.person("registrar"), stranger).unwrap();
    }

    /// What both servers hold of all registries.
    fn digests(&self) -> Vec<String> {
        let status = |server| match self.ask(server, Caller::Connection, Request::Status) {
            // Servers tend their own entries in `ms`, whoever is refused meanwhile.
            Ok(Reply::Status(status)) => {
                let mut registries = status.registries;
                registries.retain(|(registry, ..)| registry.as_str() != "ms");
                format!("{registries:?}")
            }
            other => panic!("{other:?}"),
        };
        vec![status(0), status(1)]
    }

    /// The same, when both have all.
    pub(crate) fn settled(&self) -> Vec<String> {
        let mut last = self.digests();
        let mut still = 0;
        // Longer than servers take, in their first seconds, to write of themselves into `gv`.
        wait_for("the servers to be still", || {
            let now = self.digests();
            still = if now == last { still + 1 } else { 0 };
            last = now;
            still > 130
        });
        last
    }

    fn proof(&self, caller: &Caller) -> Authenticated {
        let Caller::Individual(Credentials { name, password }) = caller.clone() else {
            panic!()
        };
        let request = Request::Authenticate {
            name,
            password,
            source: Source::Local,
        };
        match self.ask(0, Caller::Connection, request) {
            Ok(Reply::Authenticated(who)) => who,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ticket(&self, caller: Caller) -> String {
        match self.ask(0, caller, Request::TicketCreate { life_ms: None }) {
            Ok(Reply::Ticket { ticket, .. }) => ticket.0.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn app_password(&self, who: &str, caller: Caller) -> String {
        let create = Request::AppPasswordCreate {
            name: name(who),
            label: "phone".into(),
            expires_ms: None,
        };
        match self.ask(0, caller, create) {
            Ok(Reply::AppPassword { password, .. }) => password.0.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn by_password(who: &str, password: &str) -> Caller {
    Caller::Individual(Credentials {
        name: name(who),
        password: Secret(password.to_owned()),
    })
}

/// Those who are not what they say: refused whatever they ask.
const FORGERS: &[&str] = &[
    "forged operator",
    "forged server",
    "forged founder",
    "mangled ticket",
    "stranger's ticket under the founder's name",
];
/// Whoever has shown who he is, by whatever.
const SOMEBODY: &[&str] = &[
    "stranger",
    "owner",
    "registrar",
    "itself",
    "founder",
    "founder by ticket",
    "founder by ticket as password",
    "founder by app password",
    "itself by app password",
];
const FOUNDER: &[&str] = &[
    "founder",
    "founder by ticket",
    "founder by ticket as password",
];

fn callers(world: &World) -> Vec<(&'static str, Caller)> {
    let founder = world.person("registrar");
    world.stranger();
    let itself = by_password("n@es.example", PASSWORD);
    let is = world.proof(&founder);
    let ticket = world.ticket(founder.clone());
    // Another signature over the same words.
    let strangers = world.ticket(by_password("stranger@pa.example", PASSWORD));
    let mut mangled = ticket.clone().into_bytes();
    let at = mangled.len() - 10;
    mangled[at] = if mangled[at] == b'a' { b'b' } else { b'a' };
    let founders_app = world.app_password("registrar@pa.example", founder.clone());
    let own_app = world.app_password("n@es.example", itself.clone());
    vec![
        ("nobody", Caller::Connection),
        ("forged operator", Caller::OnBehalf(Speaker::Operator)),
        (
            "forged server",
            Caller::OnBehalf(Speaker::Server("s1".parse::<ServerName>().unwrap())),
        ),
        (
            "forged founder",
            Caller::OnBehalf(Speaker::Individual {
                name: is.name,
                incarnation: is.incarnation,
            }),
        ),
        (
            "mangled ticket",
            Caller::Ticket(Secret(String::from_utf8(mangled).unwrap())),
        ),
        (
            "stranger's ticket under the founder's name",
            by_password("registrar@pa.example", &strangers),
        ),
        ("stranger", by_password("stranger@pa.example", PASSWORD)),
        ("owner", world.person("needham")),
        ("registrar", world.person("birrell")),
        ("itself", itself),
        ("founder", founder),
        ("founder by ticket", Caller::Ticket(Secret(ticket.clone()))),
        // Programs that know names and passwords only.
        (
            "founder by ticket as password",
            by_password("registrar@pa.example", &ticket),
        ),
        (
            "founder by app password",
            by_password("registrar@pa.example", &founders_app),
        ),
        (
            "itself by app password",
            by_password("n@es.example", &own_app),
        ),
    ]
}

/// What is asked, and who may; those who have done it once may be refused as done.
fn table(world: &World) -> Vec<(Request, Vec<&'static str>)> {
    let n = || name("n@es.example");
    let change = |name, change| Request::Change { name, change };
    let app = AppPassword {
        id: "x".into(),
        label: "x".into(),
        digest: [0; 32],
        created_ms: 1,
        expires_ms: None,
    };
    let who = world.proof(&by_password("n@es.example", PASSWORD));
    let everybody = || [&["nobody"], SOMEBODY].concat();
    let administrators = || [&["registrar"], FOUNDER].concat();
    let watch = Request::Watch {
        target: WatchTarget::Registry(es()),
        since: Since::Now,
        wait_ms: 0,
    };
    let members = Request::Members {
        group: name("g^@es.example"),
        list: GroupList::Members,
        after: None,
        limit: 9,
    };
    let check = Request::Check {
        group: name("g^@es.example"),
        list: GroupList::Members,
        who: n(),
    };
    let individual = Request::IndividualCreate {
        name: name("new@es.example"),
        password: None,
        sites: Vec::new(),
    };
    let import = Request::Import {
        registry: es(),
        entries: vec![ImportedEntry::new(
            name("bulk@es.example"),
            EntryKind::Individual,
        )],
    };
    let registry = Request::RegistryCreate {
        registry: "evil.example".parse().unwrap(),
        holders: Vec::new(),
        registrars: Vec::new(),
    };
    let token = Request::TokenCreate {
        digest: vec![0; 32],
        expires_ms: 1,
    };
    let offer = Request::RegistryPolicy {
        registry: es(),
        change: PolicyChange::Offer("s2".parse().unwrap()),
    };
    let add = EntryChange::ListAdd(GroupList::Members, "n@es.example".parse().unwrap());
    let rename = EntryChange::Rename(name("m@es.example"));
    vec![
        (check, everybody()),
        (Request::Show { name: n() }, SOMEBODY.to_vec()),
        (members, SOMEBODY.to_vec()),
        (
            Request::InboxList { name: n() },
            vec!["itself", "itself by app password"],
        ),
        (
            Request::AppPasswords { name: n() },
            vec!["itself", "registrar"],
        ),
        (Request::Vouch { who }, Vec::new()),
        (change(n(), EntryChange::AppPasswordAdd(app)), Vec::new()),
        (watch, vec!["registrar"]),
        (Request::Compare { registry: es() }, administrators()),
        (change(name("g^@es.example"), add), vec!["owner"]),
        (individual, vec!["registrar"]),
        (import, vec!["registrar"]),
        (
            change(n(), EntryChange::Forward(vec![name("n@es.example")])),
            vec!["itself", "registrar"],
        ),
        (change(n(), rename), vec!["registrar"]),
        (registry, FOUNDER.to_vec()),
        (token, FOUNDER.to_vec()),
        (offer, FOUNDER.to_vec()),
        (
            Request::HolderAdd {
                registry: es(),
                server: "s2".parse().unwrap(),
            },
            administrators(),
        ),
        (
            Request::Delete {
                name: name("g^@es.example"),
            },
            vec!["registrar"],
        ),
    ]
}

fn is_refused(refusal: &Refusal) -> bool {
    // An app password of a client's own making is no right at all, but wrong.
    matches!(
        refusal.kind,
        ErrorKind::NotAllowed | ErrorKind::NotAuthenticated
    ) || refusal.why.contains("made by the server")
}

#[test]
fn no_frame_makes_a_client_somebody_else() {
    let world = World::new();
    let callers = callers(&world);
    let table = table(&world);
    let before = world.settled();
    for (request, may) in &table {
        for (role, caller) in callers.iter().filter(|(role, _)| !may.contains(role)) {
            for server in [0, 1] {
                let answer = world.ask(server, caller.clone(), request.clone());
                assert!(
                    answer.as_ref().is_err_and(is_refused),
                    "{role} at s{}: {request:?}: {answer:?}",
                    server + 1
                );
            }
        }
    }
    assert_eq!(
        world.settled(),
        before,
        "what was refused changed something"
    );
    for (request, may) in &table {
        assert!(may.iter().all(|role| !FORGERS.contains(role)));
        let mut first = true;
        for (role, caller) in callers.iter().filter(|(role, _)| may.contains(role)) {
            for server in [1, 0] {
                let answer = world.ask(server, caller.clone(), request.clone());
                assert!(
                    answer.is_ok() || !first && !answer.as_ref().is_err_and(is_refused),
                    "{role} at s{}: {request:?}: {answer:?}",
                    server + 1
                );
                first = false;
            }
        }
    }
    world.grapevine.expect_no_errors();
}
