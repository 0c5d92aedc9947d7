//! What all clients share: the places, the people, the oracle, the figures, and a gate that lets them pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use grapevine_model::{
    EntryChange, GroupList, Member, Name, Refusal, RegistryName, Reply, Request, Secret,
};
use grapevine_user::{FirstContact, GrapevineUser, Login, Seed, Seeds};
use tokio::runtime::Runtime;

use crate::figures::Figures;
use crate::machine::{FIRST_REGISTRY, PASSWORD, Places, REGISTRAR};
use crate::oracle::Oracle;
use crate::pause;

/// The other registry.
pub(crate) const SECOND_REGISTRY: &str = "es.example";
/// A list over both, with a list in it that has it in turn.
pub(crate) const LIST: &str = "all^@pa.example";
const INNER_LIST: &str = "sub^@es.example";
/// Mail for him goes to another.
pub(crate) const MOVED: &str = "moved@pa.example";
const MOVED_TO: &str = "e1@es.example";
/// Whose password is guessed.
pub(crate) const VICTIM: &str = "victim@pa.example";
/// Names that do not exist.
pub(crate) const GHOSTS: [&str; 2] = ["ghost@pa.example", "ghost@es.example"];
/// Groups that change, and who owns each.
pub(crate) const CLUBS: [(&str, &str); 2] = [
    ("club^@pa.example", "p0@pa.example"),
    ("club^@es.example", "e0@es.example"),
];
/// A group that is changed by HTTP, and who owns it.
pub(crate) const WEB: (&str, &str) = ("web^@pa.example", "p4@pa.example");
/// Who work in mailboxes of their own, by IMAP.
pub(crate) const PROGRAMS: [&str; 2] = ["i0@pa.example", "i1@es.example"];
/// People in each registry who get mail.
const PEOPLE: usize = 6;
/// A client that is in the middle of something comes to an end within this: GrapevineUser tries all servers twice.
const PAUSE_LIMIT: Duration = Duration::from_secs(150);

/// What is shared.
pub(crate) struct World {
    /// Where servers are.
    pub(crate) places: Places,
    /// Everybody who gets mail.
    pub(crate) people: Vec<String>,
    /// People who only get mail.
    pub(crate) crowd: Vec<String>,
    /// Whose passwords change.
    pub(crate) changers: Vec<String>,
    /// Who is reached by a name.
    reached: BTreeMap<String, BTreeSet<String>>,
    oracle: Mutex<Oracle>,
    figures: Mutex<Figures>,
    gate: Mutex<Gate>,
    moved: Condvar,
    /// For GrapevineUser.
    pub(crate) runtime: Runtime,
}

#[derive(Default)]
struct Gate {
    open: bool,
    inside: usize,
    over: bool,
}

/// Somebody does something.
pub(crate) struct Inside<'a>(&'a World);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        locked(&self.0.gate).inside -= 1;
        self.0.moved.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everybody's password, but those that change.
pub(crate) fn password_of(name: &str) -> String {
    match name {
        REGISTRAR => PASSWORD.to_owned(),
        _ => format!("the password of {name}"),
    }
}

/// A name.
///
/// # Errors
/// It is none.
pub(crate) fn name(text: &str) -> anyhow::Result<Name> {
    text.parse().with_context(|| text.to_owned())
}

impl World {
    /// Nobody does anything yet.
    ///
    /// # Errors
    /// No threads are to be had.
    pub(crate) fn new(places: Places, crowd: Vec<String>) -> anyhow::Result<Self> {
        let of = |letter: &str, registry: &str| -> Vec<String> {
            (0..PEOPLE)
                .map(|n| format!("{letter}{n}@{registry}"))
                .collect()
        };
        let (pa, es) = (of("p", FIRST_REGISTRY), of("e", SECOND_REGISTRY));
        let listed: BTreeSet<String> = pa.iter().chain(&es).take(4).cloned().collect();
        let mut listed = listed;
        listed.extend(es.iter().take(4).cloned());
        let people: Vec<String> = pa.into_iter().chain(es).collect();
        let mut reached: BTreeMap<String, BTreeSet<String>> = people
            .iter()
            .chain(&crowd)
            .map(|name| (name.clone(), BTreeSet::from([name.clone()])))
            .collect();
        reached.insert(LIST.to_owned(), listed);
        reached.insert(MOVED.to_owned(), BTreeSet::from([MOVED_TO.to_owned()]));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            places,
            people,
            crowd,
            changers: vec![
                "changer0@pa.example".to_owned(),
                "changer1@es.example".to_owned(),
            ],
            reached,
            oracle: Mutex::default(),
            figures: Mutex::default(),
            gate: Mutex::default(),
            moved: Condvar::new(),
            runtime,
        })
    }

    /// The oracle.
    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        locked(&self.oracle)
    }

    /// The figures.
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        locked(&self.figures)
    }

    /// Who must get a message for these, and who of them does not exist.
    pub(crate) fn reached(&self, names: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut must = BTreeSet::new();
        let mut ghosts = BTreeSet::new();
        for name in names {
            match self.reached.get(name) {
                Some(people) => must.extend(people.iter().cloned()),
                None => {
                    ghosts.insert(name.clone());
                }
            }
        }
        (must, ghosts)
    }

    /// Waits until something may be done; none when all is over.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        let mut gate = locked(&self.gate);
        while !gate.open && !gate.over {
            gate = self
                .moved
                .wait(gate)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if gate.over {
            return None;
        }
        gate.inside += 1;
        Some(Inside(self))
    }

    /// Clients go on.
    pub(crate) fn open(&self) {
        locked(&self.gate).open = true;
        self.moved.notify_all();
    }

    /// Clients come to the end of what they do, and do no more.
    ///
    /// # Errors
    /// One does not.
    pub(crate) fn close(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut gate = locked(&self.gate);
        gate.open = false;
        while gate.inside > 0 {
            let left = PAUSE_LIMIT.saturating_sub(begun.elapsed());
            if left.is_zero() {
                bail!(
                    "{} clients do not come to an end within {PAUSE_LIMIT:?}",
                    gate.inside
                );
            }
            let waited = self.moved.wait_timeout(gate, left);
            gate = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(gate);
        self.figures().nobody_wishes();
        Ok(())
    }

    /// Clients end.
    pub(crate) fn end(&self) {
        locked(&self.gate).over = true;
        self.moved.notify_all();
    }

    /// GrapevineUser, for somebody or for nobody.
    ///
    /// # Errors
    /// No server answers.
    pub(crate) fn user(&self, who: Option<(&str, &str)>) -> anyhow::Result<GrapevineUser> {
        let login = match who {
            Some((who, password)) => Some(Login {
                name: name(who)?,
                password: Secret(password.to_owned()),
            }),
            None => None,
        };
        let servers = self.places.rpc().into_iter();
        let seeds = Seeds {
            servers: servers.map(|address| Seed { address, pin: None }).collect(),
            state_file: None,
            first_contact: FirstContact::Trust,
        };
        Ok(self
            .runtime
            .block_on(GrapevineUser::connect(seeds, login))?)
    }

    /// Everybody and every list, made by an operator.
    ///
    /// # Errors
    /// A server says no.
    pub(crate) fn populate(
        &self,
        operator: &GrapevineUser,
        holders: &[String],
    ) -> anyhow::Result<()> {
        let holders: Result<Vec<_>, _> = holders.iter().map(|server| server.parse()).collect();
        let registry: RegistryName = SECOND_REGISTRY.parse()?;
        self.done(
            operator,
            Request::RegistryCreate {
                registry,
                holders: holders?,
                registrars: vec![name(REGISTRAR)?],
            },
        )?;
        let others = [MOVED, VICTIM].map(str::to_owned);
        let programs = PROGRAMS.map(str::to_owned);
        let more = others.iter().chain(&programs);
        for who in self.people.iter().chain(&self.changers).chain(more) {
            self.done(
                operator,
                Request::IndividualCreate {
                    name: name(who)?,
                    password: Some(Secret(password_of(who))),
                    sites: Vec::new(),
                },
            )?;
        }
        let forward = EntryChange::Forward(vec![name(MOVED_TO)?]);
        self.change(operator, MOVED, forward)?;
        let members = |first: &str| {
            let people = self.people.iter().filter(|name| name.starts_with(first));
            people.take(4).cloned().collect::<Vec<_>>()
        };
        let lists = [
            (
                LIST,
                REGISTRAR,
                [members("p"), vec![INNER_LIST.to_owned()]].concat(),
            ),
            (
                INNER_LIST,
                REGISTRAR,
                [members("e"), members("p0"), vec![LIST.to_owned()]].concat(),
            ),
        ];
        let clubs = CLUBS.into_iter().chain([WEB]);
        let clubs: Vec<_> = clubs
            .map(|(club, owner)| (club, owner, Vec::new()))
            .collect();
        for (list, owner, _) in lists.iter().chain(&clubs) {
            self.done(
                operator,
                Request::GroupCreate {
                    name: name(list)?,
                    remark: String::new(),
                    owners: vec![Member::Name(name(owner)?)],
                },
            )?;
        }
        for (list, _, members) in &lists {
            for member in members {
                let member = Member::Name(name(member)?);
                self.change(
                    operator,
                    list,
                    EntryChange::ListAdd(GroupList::Members, member),
                )?;
            }
        }
        Ok(())
    }

    fn change(
        &self,
        operator: &GrapevineUser,
        whose: &str,
        change: EntryChange,
    ) -> anyhow::Result<()> {
        self.done(
            operator,
            Request::Change {
                name: name(whose)?,
                change,
            },
        )
    }

    /// Asked until it is done: servers that have just met may not have all registries yet.
    ///
    /// # Errors
    /// It is refused for a long time.
    pub(crate) fn done(&self, user: &GrapevineUser, request: Request) -> anyhow::Result<()> {
        let mut last = None;
        for _ in 0..100 {
            match self.call(user, request.clone()) {
                Ok(_) => return Ok(()),
                Err(refusal) => last = Some(refusal),
            }
            pause(Duration::from_millis(200));
        }
        bail!("{request:?}: {last:?}")
    }

    /// Asks.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn call(&self, user: &GrapevineUser, request: Request) -> Result<Reply, Refusal> {
        self.runtime.block_on(user.call(request))
    }
}
