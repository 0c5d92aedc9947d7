//! `grapevine service watch`: where a service is, and each change as it comes.
//!
//! The pool, the groups in it and its instances are watched at whichever server answers; a word from
//! any of them has it looked anew, as has the end of the next lease, which no server writes down.
//! What can't be watched is looked at from time to time. Must never take "can't be asked" for "gone".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_model::{
    Course, ErrorKind, FoundSite, GroupList, Happened, Located, Member, MemberKind, Name, Place,
    Reply, Request, Since, SiteDoor, SiteOffer, WatchTarget,
};
use grapevine_user::GrapevineUser;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::output::printable;
use super::service::site_json;
use super::session::{Session, odd};
use crate::out::{Failure, complain, say};

/// Names watched at once: each has a question under way, and a server answers so many on one
/// connection. A larger pool is looked at.
const MOST_WATCHED: usize = 32;
/// Members asked for at once.
const PAGE: u32 = 1_000;
/// Looked anew so often where nothing can be watched: who speaks for nobody, a pool too large.
const LOOKED_AT: Duration = Duration::from_secs(1);
/// And so often where all is watched: a server that is lost changes no entry.
const WATCHED: Duration = Duration::from_secs(5);
/// It is never looked more often than this, whatever is heard.
const SHORTEST: Duration = Duration::from_millis(100);
/// After a word it is looked twice: the server that answers may hear of a change somewhat later than
/// the one that spoke.
const LATER: Duration = Duration::from_secs(1);
/// A lease is looked at so long after its end, so that it has ended.
const AFTER_LEASE: Duration = Duration::from_millis(20);
/// Before all servers are asked again, when none could answer.
const PAUSE: Duration = Duration::from_secs(1);
/// Words that wait to be heard; more say nothing more.
const WORDS: usize = 64;

/// What is looked at, and how.
pub(super) struct Look {
    pub(super) name: Name,
    pub(super) door: Option<SiteDoor>,
    /// How often at least; none for as often as is needed.
    pub(super) every: Option<Duration>,
}

/// What a watched name has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Somebody may have come into a group, or gone.
    Members,
    /// Something else.
    Changed,
    /// It can't be watched by who asks.
    CannotBeWatched,
}

/// Watches until stopped.
pub(super) async fn watch(session: &Session, look: &Look) -> Result<(), Failure> {
    let mut shown = Shown::new();
    let mut version = None;
    let mut failing = false;
    let mut watchers = Watchers::new(session.user.clone());
    loop {
        let request = Request::Find {
            name: look.name.clone(),
            door: look.door.clone(),
            // Whether a lease was renewed is known only to who asks for all of it.
            known: version.filter(|_| watchers.ends.is_none()),
        };
        let begun = Instant::now();
        match session.user.call(request).await {
            Ok(Reply::Located(located)) => {
                failing = false;
                if version != Some(located.version) {
                    print(session, look, &mut shown, &located);
                }
                version = Some(located.version);
                watchers.ends = next_end(&located, begun);
                watchers.watch(&look.name).await;
            }
            Ok(Reply::Unchanged) => {
                failing = false;
                watchers.watch(&look.name).await;
            }
            Ok(_) => return Err(odd()),
            // Where nothing was ever seen, there is nothing to go on with.
            Err(refusal) if version.is_none() => return Err(refusal.into()),
            Err(refusal) => {
                if !failing {
                    complain(format_args!("{refusal}; what was said last still stands"));
                }
                failing = true;
            }
        }
        watchers.wait(look, failing.then_some(LOOKED_AT)).await;
    }
}

/// When the first lease ends.
fn next_end(located: &Located, asked: Instant) -> Option<Instant> {
    let first = located
        .sites
        .iter()
        .filter_map(|site| site.lease_ms)
        .min()?;
    asked.checked_add(Duration::from_millis(first) + AFTER_LEASE)
}

/// The names that are watched.
struct Watchers {
    user: GrapevineUser,
    said: mpsc::Receiver<Word>,
    say: mpsc::Sender<Word>,
    tasks: BTreeMap<Name, JoinHandle<()>>,
    all_watched: bool,
    may_watch: bool,
    stale: bool,
    ends: Option<Instant>,
    /// When it is looked a second time.
    again: Option<Instant>,
}

impl Watchers {
    fn new(user: GrapevineUser) -> Self {
        let (say, said) = mpsc::channel(WORDS);
        Self {
            user,
            said,
            say,
            tasks: BTreeMap::new(),
            all_watched: false,
            may_watch: true,
            stale: true,
            ends: None,
            again: None,
        }
    }

    /// Watches what a pool consists of now.
    async fn watch(&mut self, pool: &Name) {
        if !std::mem::take(&mut self.stale) || !self.may_watch {
            return;
        }
        let names = match parts(&self.user, pool).await {
            Some(names) if names.len() <= MOST_WATCHED => names,
            Some(_) | None => {
                self.stale = true;
                BTreeSet::new()
            }
        };
        self.all_watched = !names.is_empty();
        self.tasks.retain(|name, task| {
            let stays = names.contains(name) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for name in names {
            let (user, say) = (self.user.clone(), self.say.clone());
            self.tasks
                .entry(name.clone())
                .or_insert_with(|| tokio::spawn(listen(user, name, say)));
        }
    }

    /// Until something has, or may have, changed.
    async fn wait(&mut self, look: &Look, at_the_latest: Option<Duration>) {
        let usual = if self.all_watched && self.may_watch {
            WATCHED
        } else {
            LOOKED_AT
        };
        let now = Instant::now();
        let mut until = now + at_the_latest.or(look.every).unwrap_or(usual).max(SHORTEST);
        if let Some(ends) = self.ends {
            until = until.min(ends.max(now + SHORTEST));
        }
        if let Some(again) = self.again.take() {
            until = until.min(again);
        }
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            word = self.said.recv() => self.hear(word),
        }
        self.again = Some(Instant::now() + LATER);
        // What comes together is looked at together.
        tokio::time::sleep(SHORTEST).await;
        while let Ok(word) = self.said.try_recv() {
            self.hear(Some(word));
        }
    }

    fn hear(&mut self, word: Option<Word>) {
        match word {
            Some(Word::Members) => self.stale = true,
            Some(Word::CannotBeWatched) => self.may_watch = false,
            Some(Word::Changed) | None => {}
        }
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// Says a word at each change of an entry, and one when it has begun to listen: what changed before is
/// then seen by who looks.
async fn listen(user: GrapevineUser, name: Name, say: mpsc::Sender<Word>) {
    let mut watch = user.watch(WatchTarget::Entry(name), Since::Now);
    let mut begun = false;
    loop {
        let word = match watch.next().await {
            Ok(changes) => {
                let is_news = !changes.events.is_empty() || changes.course != Course::Continues;
                if !is_news && std::mem::replace(&mut begun, true) {
                    continue;
                }
                begun = true;
                let of_members = |what: &Happened| match what {
                    Happened::Added { list, .. } | Happened::Removed { list, .. } => {
                        list == "members"
                    }
                    Happened::Created { .. } | Happened::Deleted => true,
                    Happened::Set { .. } | Happened::Cleared { .. } => false,
                };
                let any = changes.events.iter().any(|event| of_members(&event.what));
                if any || changes.course != Course::Continues {
                    Word::Members
                } else {
                    Word::Changed
                }
            }
            Err(refusal) if refusal.kind == ErrorKind::Unavailable => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(refusal)
                if matches!(
                    refusal.kind,
                    ErrorKind::NotAuthenticated | ErrorKind::NotAllowed
                ) =>
            {
                // Nobody hears it: the watch is over.
                let _ = say.send(Word::CannotBeWatched).await;
                return;
            }
            // Gone, or another one: who is in the pool is found out anew.
            Err(_) => {
                let _ = say.send(Word::Members).await;
                return;
            }
        };
        if say.send(word).await.is_err() {
            return;
        }
    }
}

/// A pool, the groups in it and its instances; none if that can't be found out, a name too many if
/// there are too many.
async fn parts(user: &GrapevineUser, pool: &Name) -> Option<BTreeSet<Name>> {
    let mut names = BTreeSet::from([pool.clone()]);
    let mut groups = vec![pool.clone()];
    while let Some(group) = groups.pop() {
        let mut after = None;
        loop {
            let request = Request::Members {
                group: group.clone(),
                list: GroupList::Members,
                after,
                limit: PAGE,
            };
            let (members, kinds, next) = match user.call(request).await {
                Ok(Reply::Members {
                    members,
                    kinds,
                    next,
                }) => (members, kinds, next),
                // No group: an instance by itself.
                Err(refusal)
                    if group == *pool
                        && matches!(refusal.kind, ErrorKind::Invalid | ErrorKind::NotFound) =>
                {
                    break;
                }
                Ok(_) | Err(_) => return None,
            };
            let mut kinds = kinds.into_iter();
            for member in members {
                let kind = kinds.next();
                if let Member::Name(name) = member
                    && names.insert(name.clone())
                    && kind == Some(MemberKind::Group)
                {
                    groups.push(name);
                }
            }
            if names.len() > MOST_WATCHED {
                return Some(names);
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    Some(names)
}

fn print(session: &Session, look: &Look, shown: &mut Shown, located: &Located) {
    if session.json {
        let sites = located.sites.iter().map(|site| site_json(site, None));
        let sites: Vec<Value> = sites.collect();
        say(json!({ "name": look.name, "sites": sites, "partial": located.partial }));
    } else {
        print_changes(shown, located);
    }
}

/// What is said of a site when it comes or goes.
type Shown = BTreeMap<(Name, SiteDoor, Place), SiteOffer>;

fn print_changes(shown: &mut Shown, located: &Located) {
    let sites = located.sites.iter().map(|site| {
        let key = (
            site.name.clone(),
            site.door.clone(),
            site.offer.place.clone(),
        );
        (key, site.offer.clone())
    });
    let mut present: Shown = sites.collect();
    if located.partial {
        // Who can't be asked has not gone.
        for (key, offer) in shown.iter() {
            let answered = |site: &FoundSite| site.name.registry() == key.0.registry();
            if !located.sites.iter().any(answered) {
                present.insert(key.clone(), offer.clone());
            }
        }
    }
    for ((name, door, place), _) in shown.iter().filter(|(key, _)| !present.contains_key(*key)) {
        say(format_args!("- {place} {door} {name}"));
    }
    for (key, offer) in &present {
        if shown.get(key) != Some(offer) {
            let (name, door, place) = key;
            let note = printable(offer.note.as_str());
            let line = format!(
                "+ {place} {door} {name} priority {} weight {} {note}",
                offer.priority, offer.weight
            );
            say(line.trim_end());
        }
    }
    *shown = present;
}
