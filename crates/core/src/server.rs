//! `Server`: the state machine that the shell and the simulator drive.
//!
//! Here is its state, its start, its timers and where each input goes; what it
//! does with them stands in `registry/`, `replication/`, `delivery/` and
//! `mailbox/`, each file one mechanism.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use grapevine_model::{
    Authenticated, DepositOutcome, Hlc, Incarnation, MessageId, Name, Now, OriginId, PeerMessage,
    RegistryName, RegistryPolicy, ScramPolicy, ServerInfo, ServerName, SpaceId, TombstoneView,
    Usage,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::clock::Clock;
use crate::codec;
use crate::config::{Config, Start};
use crate::delivery::body::Counting;
use crate::delivery::custody::{Custody, CustodyRow};
use crate::delivery::deputy::Held;
use crate::delivery::fanout::Fanouts;
use crate::delivery::refill::Refills;
use crate::delivery::relay::Relay;
use crate::delivery::retain::Retained;
use crate::delivery::steer::Deposits;
use crate::effect::{DiskRoom, Effect, Input, Note, NoteLevel};
use crate::ledger::Ledger;
use crate::mailbox::numberer::Mailboxes;
use crate::mailbox::rounds::Rounds;
use crate::mailbox::{Filters, Sitings};
use crate::mistakes::Mistakes;
use crate::peers::Peer;
use crate::registry::closures::Closures;
use crate::registry::database::Database;
use crate::registry::directory::{Asking, Hint, Memo};
use crate::registry::filling::Filling;
use crate::registry::keys::OwnKeys;
use crate::registry::lockout::Lockout;
use crate::registry::login::Verifying;
use crate::registry::news::News;
use crate::registry::request::{Job, Parked, PassedOn, ReplyTo};
use crate::registry::retire::Mending;
use crate::registry::servers::{META_RETIRED, META_WELCOME, Welcomed};
use crate::registry::watch::Watches;
use crate::registry::zones::Zones;
use crate::replication::compare::Compares;
use crate::replication::incarnation::Lives;
use crate::replication::origin::Origins;
use crate::replication::push::Pushes;
use crate::replication::quarantine::Quarantine;
use crate::replication::refresh_end::Ends;
use crate::replication::seen::SeenAsk;
use crate::replication::space::Space;
use crate::replication::tombstone_index::Indexing;
use crate::replication::waiters::Waiter;
use crate::tables::{Damaged, Table, Tables};

pub(crate) const META_ORIGIN: &[u8] = b"origin";
const META_CLOCK: &[u8] = b"clock";
/// Alarms kept for `status`; older ones are in the log.
const MOST_ALARMS: usize = 20;

/// Something that is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Beat,
    Work,
    /// A comparison's walk goes on.
    Compare,
    /// The end of a refresh goes on.
    RefreshEnds,
    /// The index of deletions goes on.
    Index,
    /// The round over all spaces goes on.
    Round,
    /// The walk over the registries for inbox sites to be mended goes on.
    Mend,
    Waiter(u64),
    News(u64),
    Seen(u64),
    Ask(u64),
    PassedOn(u64),
    Watch(u64),
    Accept(MessageId),
    Filter(u64),
    Zones,
    /// Some who look at mailboxes are told of changes.
    Watched,
}

/// One server: registration server and message server.
pub struct Server {
    pub(crate) config: Config,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    rng: StdRng,
    pub(crate) now: Now,
    pub(crate) started_ms: u64,
    last_id: u64,
    pub(crate) beats: u64,
    timers: BTreeSet<(u64, Timer)>,
    // What is replicated.
    pub(crate) spaces: BTreeMap<SpaceId, Space>,
    pub(crate) databases: BTreeMap<RegistryName, Database>,
    pub(crate) digests: BTreeMap<ServerName, Vec<u64>>,
    pub(crate) compares: Compares,
    pub(crate) quarantine: Quarantine,
    pub(crate) origins: Origins,
    pub(crate) lives: Lives,
    pub(crate) own_keys: OwnKeys,
    /// Pushes and acknowledgements of this turn, by server.
    pub(crate) pushes: Pushes,
    pub(crate) waiters: BTreeMap<u64, Waiter>,
    pub(crate) waiting: BTreeMap<SpaceId, BTreeSet<u64>>,
    pub(crate) seen_asks: BTreeMap<u64, SeenAsk>,
    pub(crate) tombstones: TombstoneView,
    /// After which tombstone the next look begins.
    pub(crate) reap_after: Vec<u8>,
    pub(crate) ends: Ends,
    pub(crate) indexing: Option<Indexing>,
    // What `gv` says.
    pub(crate) servers: BTreeMap<ServerName, ServerInfo>,
    pub(crate) holdings: BTreeMap<RegistryName, Vec<ServerName>>,
    pub(crate) ready: BTreeMap<RegistryName, Vec<ServerName>>,
    pub(crate) policies: BTreeMap<RegistryName, RegistryPolicy>,
    /// What the doors were told last.
    pub(crate) scram_offered: ScramPolicy,
    pub(crate) no_policy: RegistryPolicy,
    pub(crate) peers: BTreeMap<ServerName, Peer>,
    pub(crate) gv_changed: bool,
    pub(crate) mend_needed: bool,
    // Requests under way.
    pub(crate) hints: BTreeMap<Name, Hint>,
    /// In a cell: what is remembered changes no answer, so those who only read may remember.
    pub(crate) closures: RefCell<Closures>,
    pub(crate) asking: BTreeMap<u64, Asking>,
    pub(crate) parked: BTreeMap<u64, Parked>,
    pub(crate) news: News,
    pub(crate) runnable: VecDeque<(Job, Memo)>,
    pub(crate) passed_on: BTreeMap<u64, PassedOn>,
    pub(crate) watches: Watches,
    /// Changes that other servers have passed on to this one, and when they came.
    pub(crate) taken_over: BTreeMap<(ServerName, u64), u64>,
    pub(crate) verifying: BTreeMap<u64, Verifying>,
    pub(crate) lockout: Lockout,
    /// Holders' words about proofs, and until when they are believed.
    pub(crate) vouched: BTreeMap<Authenticated, (u64, Authenticated)>,
    // Messages.
    pub(crate) custodies: BTreeMap<MessageId, Custody>,
    pub(crate) deputies: BTreeMap<(ServerName, MessageId), Held>,
    pub(crate) due: BTreeSet<(u64, MessageId, String)>,
    pub(crate) saving: BTreeSet<MessageId>,
    /// Recipients that wait for the owners of a group of this registry.
    pub(crate) held_posts: BTreeMap<(MessageId, String), RegistryName>,
    /// Lists being expanded.
    pub(crate) fanouts: Fanouts,
    pub(crate) to_report: BTreeSet<MessageId>,
    pub(crate) ended: BTreeMap<ServerName, Vec<MessageId>>,
    pub(crate) deposits: Deposits,
    /// Answers about deposits, told once a turn.
    pub(crate) deposited: BTreeMap<(ServerName, MessageId), Vec<(Incarnation, DepositOutcome)>>,
    pub(crate) relay: Relay,
    pub(crate) orphans: BTreeMap<MessageId, u64>,
    pub(crate) dead_letters: u64,
    /// What waits for bodies that are on their way.
    pub(crate) awaited: crate::delivery::awaited::Awaited,
    /// Messages that an operator holds back: in custody here, or kept for another custodian.
    pub(crate) holds: BTreeSet<MessageId>,
    changed_spaces: BTreeSet<SpaceId>,
    pub(crate) sitings: Sitings,
    /// Owners' filters that are being run.
    pub(crate) filters: Filters,
    /// The mailboxes that mail programs look at.
    pub(crate) mailboxes: Mailboxes,
    /// Mailboxes here whose owners' entries changed, by registry: they follow.
    pub(crate) moved: BTreeMap<RegistryName, BTreeSet<Incarnation>>,
    /// How far the present walk for inbox sites to be mended has come.
    pub(crate) mending: Mending,
    /// How far the present round over all spaces has come.
    pub(crate) rounds: Rounds,
    /// What the DNS door is shown.
    pub(crate) zones: Zones,
    /// It has left this Grapevine.
    pub(crate) retired: bool,
    pub(crate) disk_nearly_full: bool,
    /// What is kept after delivery.
    pub(crate) retained: Retained,
    /// What of it is offered again.
    pub(crate) refills: Refills,
    /// What the mailboxes here hold, by the registries of their owners.
    pub(crate) registry_usage: BTreeMap<RegistryName, Usage>,
    /// Spaces whose row changed in this turn and is not yet written.
    pub(crate) unsaved: BTreeSet<SpaceId>,
    /// A message whose references are counted in this turn.
    pub(crate) counting: Counting,
    pub(crate) alarms: VecDeque<String>,
    // Planted mistakes; all false outside tests that look for them.
    pub(crate) planted_vector_over_gap: bool,
    pub(crate) planted_dedup_forgotten: bool,
    pub(crate) planted_hint_trusted: bool,
    pub(crate) planted_unknown_is_no: bool,
    pub(crate) planted_one_copy: bool,
    pub(crate) planted_checkpoint_early: bool,
    pub(crate) planted_sublist_empty: bool,
    pub(crate) planted_one_queue: bool,
    pub(crate) planted_no_take_over: bool,
    pub(crate) planted_accept_before_deputy: bool,
    pub(crate) planted_no_access_check: bool,
    pub(crate) planted_reap_on_timer: bool,
    pub(crate) planted_no_refresh: bool,
    pub(crate) planted_token_ignored: bool,
    pub(crate) planted_closure_kept: bool,
    pub(crate) planted_lease_ignored: bool,
    pub(crate) planted_compare_trusts: bool,
    pub(crate) planted_later_has_the_name: bool,
    pub(crate) planted_watch_by_time: bool,
    pub(crate) planted_handed_is_delivered: bool,
    pub(crate) planted_outside_not_asked: bool,
    pub(crate) planted_old_lives: bool,
    pub(crate) planted_traffic_first: bool,
    pub(crate) mistakes: Mistakes,
}

impl Server {
    /// Starts from what the store has (bounded by the size of the registries held and of the
    /// pending work). `seed` is 32 random bytes.
    pub fn recover(
        config: Config,
        start: Start,
        tables: Box<dyn Tables + Send>,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, Damaged> {
        let ledger = Ledger::new(tables);
        let mut rng = StdRng::from_seed(seed);
        let lockout_key = *blake3::keyed_hash(&seed, b"lockout").as_bytes();
        let known = ledger
            .get(Table::Meta, META_ORIGIN)?
            .map(|bytes| codec::decode(&bytes))
            .transpose()?;
        // Before the first word to anybody: whatever a backup has forgotten stays the old origin's.
        let known = known.filter(|_| !matches!(start, Start::Restored));
        let origin = known.unwrap_or_else(|| OriginId::server(rng.next_u64()));
        let bound = ledger
            .get(Table::Meta, META_CLOCK)?
            .map(|bytes| codec::decode(&bytes))
            .transpose()?;
        let mut server = Self {
            clock: Clock::resume(origin, bound.unwrap_or_default()),
            config,
            ledger,
            rng,
            now,
            started_ms: now.mono_ms,
            last_id: 0,
            beats: 0,
            timers: BTreeSet::new(),
            spaces: BTreeMap::new(),
            databases: BTreeMap::new(),
            digests: BTreeMap::new(),
            compares: Compares::default(),
            quarantine: Quarantine::default(),
            origins: Origins::default(),
            lives: Lives::default(),
            own_keys: OwnKeys::default(),
            pushes: Pushes::default(),
            waiters: BTreeMap::new(),
            waiting: BTreeMap::new(),
            seen_asks: BTreeMap::new(),
            tombstones: TombstoneView::default(),
            reap_after: Vec::new(),
            ends: Ends::default(),
            indexing: None,
            servers: BTreeMap::new(),
            holdings: BTreeMap::new(),
            ready: BTreeMap::new(),
            policies: BTreeMap::new(),
            scram_offered: ScramPolicy::Off,
            no_policy: RegistryPolicy::default(),
            peers: BTreeMap::new(),
            gv_changed: false,
            mend_needed: true,
            hints: BTreeMap::new(),
            closures: RefCell::default(),
            asking: BTreeMap::new(),
            parked: BTreeMap::new(),
            news: News::default(),
            runnable: VecDeque::new(),
            passed_on: BTreeMap::new(),
            watches: Watches::default(),
            taken_over: BTreeMap::new(),
            verifying: BTreeMap::new(),
            lockout: Lockout::new(lockout_key),
            vouched: BTreeMap::new(),
            custodies: BTreeMap::new(),
            deputies: BTreeMap::new(),
            due: BTreeSet::new(),
            saving: BTreeSet::new(),
            held_posts: BTreeMap::new(),
            fanouts: Fanouts::default(),
            to_report: BTreeSet::new(),
            ended: BTreeMap::new(),
            deposits: BTreeMap::new(),
            deposited: BTreeMap::new(),
            relay: Relay::default(),
            orphans: BTreeMap::new(),
            dead_letters: 0,
            awaited: Default::default(),
            holds: BTreeSet::new(),
            changed_spaces: BTreeSet::new(),
            sitings: Sitings::default(),
            filters: Filters::default(),
            mailboxes: Mailboxes::default(),
            moved: BTreeMap::new(),
            mending: Mending::default(),
            rounds: Rounds::default(),
            zones: Zones::default(),
            retired: false,
            disk_nearly_full: false,
            retained: Retained::default(),
            refills: Refills::default(),
            registry_usage: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            counting: Counting::default(),
            alarms: VecDeque::new(),
            planted_vector_over_gap: false,
            planted_dedup_forgotten: false,
            planted_hint_trusted: false,
            planted_unknown_is_no: false,
            planted_one_copy: false,
            planted_checkpoint_early: false,
            planted_sublist_empty: false,
            planted_one_queue: false,
            planted_no_take_over: false,
            planted_accept_before_deputy: false,
            planted_no_access_check: false,
            planted_reap_on_timer: false,
            planted_no_refresh: false,
            planted_token_ignored: false,
            planted_closure_kept: false,
            planted_lease_ignored: false,
            planted_compare_trusts: false,
            planted_later_has_the_name: false,
            planted_watch_by_time: false,
            planted_handed_is_delivered: false,
            planted_outside_not_asked: false,
            planted_old_lives: false,
            planted_traffic_first: false,
            mistakes: Mistakes::default(),
        };
        #[cfg(feature = "planted-faults")]
        server.plant();
        server.last_id = server.rng.next_u64() >> 16;
        if known.is_none() {
            server
                .ledger
                .put(Table::Meta, META_ORIGIN.to_vec(), codec::encode(&origin));
        }
        server.retired = server.ledger.get(Table::Meta, META_RETIRED)?.is_some();
        server.load(now)?;
        match start {
            Start::Resume | Start::Restored => {}
            Start::Found { owners } if server.spaces.is_empty() => server.found(&owners)?,
            Start::Join(welcome) if server.spaces.is_empty() => server.start_joined(&welcome),
            // The folder is further than its founding: go on with it.
            Start::Found { .. } | Start::Join(_) => {}
        }
        server.refresh_gv()?;
        server.describe_myself()?;
        server.timers.insert((now.mono_ms, Timer::Beat));
        server.timers.insert((now.mono_ms, Timer::Work));
        server.zones_are_due();
        server.end_turn();
        Ok(server)
    }

    /// Reads what the store has.
    fn load(&mut self, now: Now) -> Result<(), Damaged> {
        let rows = self.all_rows(Table::Vectors, &[], &[u8::MAX; 300])?;
        for (key, value) in rows {
            let space = codec::space_of(&key)?;
            let row = codec::decode_space_row(&value)?;
            let mut damaged = BTreeSet::new();
            if let SpaceId::Registry(registry) = &space {
                let mut filling = Filling::new(registry.clone());
                let prefix = codec::space_prefix(&space);
                let until = codec::after_prefix(&prefix);
                self.each_row(Table::Cells, &prefix, &until, |key, value| {
                    let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
                    match codec::decode(&value) {
                        Ok(cell) => filling.take(key, cell),
                        Err(_) => {
                            damaged.insert(key);
                        }
                    }
                    Ok(())
                })?;
                self.databases.insert(registry.clone(), filling.filled());
            }
            let state = Space {
                damaged,
                ..Space::new(&space, row)
            };
            self.spaces.insert(space, state);
        }
        self.origins_at_start()?;
        self.load_lives()?;
        if let Some(bytes) = self.ledger.get(Table::Meta, META_WELCOME)? {
            let kept: Vec<Welcomed> = codec::decode(&bytes)?;
            let servers: Vec<ServerInfo> = kept.into_iter().map(ServerInfo::from).collect();
            self.servers_named(&servers);
        }
        self.refresh_gv()?;
        self.quarantine_damaged()?;
        let spaces: Vec<SpaceId> = self.spaces.keys().cloned().collect();
        for space in spaces {
            self.count_space(&space);
            self.count_usage(&space);
        }
        self.load_floors()?;
        self.load_retained()?;
        self.load_mended()?;
        self.begin_indexing()?;
        for (key, value) in self.all_rows(Table::Custody, &[], &[u8::MAX; 17])? {
            let row: CustodyRow = codec::decode(&value)?;
            let id: [u8; 16] = key
                .as_slice()
                .try_into()
                .map_err(|_| Damaged("a custody row's key".into()))?;
            let message = MessageId::from_bytes(id);
            self.custodies
                .insert(message, Custody::new(row, now.mono_ms));
            self.wake(message);
            self.saving.insert(message);
        }
        self.load_fanouts()?;
        for (_, value) in self.all_rows(Table::Deputies, &[], &[u8::MAX; 90])? {
            let record: codec::DeputyRow = codec::decode(&value)?;
            let key = (record.custodian.clone(), record.message);
            self.deputies.insert(
                key,
                Held {
                    record,
                    since_ms: now.mono_ms,
                },
            );
        }
        for (key, _) in self.all_rows(Table::Orphans, &[], &[u8::MAX; 17])? {
            let id: [u8; 16] = key
                .as_slice()
                .try_into()
                .map_err(|_| Damaged("an orphan's key".into()))?;
            self.orphans.insert(
                MessageId::from_bytes(id),
                now.mono_ms.saturating_add(self.config.times.orphan_ms),
            );
        }
        for (key, _) in self.all_rows(Table::Holds, &[], &[u8::MAX; 17])? {
            let id = key.as_slice().try_into();
            let id = id.map_err(|_| Damaged("a hold's key".into()))?;
            self.holds.insert(MessageId::from_bytes(id));
        }
        let mut dead_letters = 0;
        self.each_row(Table::DeadLetters, &[], &[u8::MAX; 400], |_, _| {
            dead_letters += 1;
            Ok(())
        })?;
        self.dead_letters = dead_letters;
        Ok(())
    }

    /// Takes one input. Effects, if any, wait in `poll_effect`; changes wait for `flush`.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        let done = match input {
            Input::Peer {
                from,
                message,
                staged,
            } => self.take(&from, message, staged),
            Input::PeerLost { server } => {
                self.peer_lost(&server);
                Ok(())
            }
            Input::Request {
                id,
                speaker,
                request,
                seen,
            } => self.run(
                Job::Request {
                    to: ReplyTo::Client(id),
                    speaker,
                    request,
                },
                Memo::after(seen),
            ),
            Input::Submit {
                id,
                submission,
                staged,
            } => self.run(
                Job::Submit {
                    id,
                    submission,
                    staged,
                },
                Memo::new(),
            ),
            Input::Append {
                id,
                speaker,
                request,
                staged,
            } => self.take_append(id, speaker, request, staged),
            Input::Verified {
                ticket,
                right,
                rehashed,
                scram,
            } => self.verified(ticket, right, rehashed, scram),
            Input::Issue {
                id,
                who,
                proved_ms,
                life_ms,
            } => {
                self.issue(id, who, proved_ms, life_ms);
                Ok(())
            }
            Input::Ticket { id, ticket } => self.take_ticket(id, ticket),
            Input::Keys { present, next } => self.take_keys(present, next),
            Input::HandedOver(handed) => self.take_handed_over(handed),
            Input::Filtered(filtered) => self.take_filtered(*filtered),
            Input::Committed { seq } => {
                self.ledger.committed(seq);
                return;
            }
            Input::Leaving => {
                self.leave_in_order();
                Ok(())
            }
            Input::DiskRoom(room) => {
                let full = room == DiskRoom::NearlyFull;
                if full && !self.disk_nearly_full {
                    self.alarm(
                        "the disk is nearly full: no new messages and changes are taken here"
                            .into(),
                    );
                }
                self.disk_nearly_full = full;
                self.retained.give_way = room != DiskRoom::Enough;
                Ok(())
            }
        };
        if let Err(damaged) = done {
            self.damaged(damaged);
        }
        self.end_turn();
    }

    /// Does what is due. Call at `next_timeout`, or later.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        while let Some(first) = self
            .timers
            .first()
            .copied()
            .filter(|(at_ms, _)| *at_ms <= now.mono_ms)
        {
            self.timers.remove(&first);
            match first.1 {
                Timer::Beat => self.beat(),
                Timer::Work => {
                    if let Err(damaged) = self.work() {
                        self.damaged(damaged);
                    }
                }
                Timer::Compare => {
                    if let Err(damaged) = self.walk_on() {
                        self.damaged(damaged);
                    }
                }
                Timer::RefreshEnds => {
                    if let Err(damaged) = self.end_refreshes() {
                        self.damaged(damaged);
                    }
                }
                Timer::Index => {
                    if let Err(damaged) = self.index_on() {
                        self.damaged(damaged);
                    }
                }
                Timer::Round => {
                    if let Err(damaged) = self.go_round() {
                        self.damaged(damaged);
                    }
                }
                Timer::Mend => {
                    if let Err(damaged) = self.mend_on() {
                        self.damaged(damaged);
                    }
                }
                Timer::Waiter(id) => self.waiter_is_due(id),
                Timer::News(id) => self.news_are_late(id),
                Timer::Seen(id) => self.seen_ask_is_due(id),
                Timer::Ask(id) => self.ask_is_late(id),
                Timer::PassedOn(id) => self.passed_on_is_late(id),
                Timer::Watch(id) => self.look_again(id),
                Timer::Accept(message) => self.accept_is_late(message),
                Timer::Filter(ticket) => {
                    if let Err(damaged) = self.filter_is_late(ticket) {
                        self.damaged(damaged);
                    }
                }
                Timer::Zones => self.show_zones(),
                // Told at the end of the turn.
                Timer::Watched => {}
            }
        }
        loop {
            if let Err(damaged) = self.fan_out() {
                self.damaged(damaged);
            }
            if !self.planted_one_queue || self.fanouts.due_ms() > now.mono_ms {
                break;
            }
        }
        self.end_turn();
    }

    /// When, in monotonic milliseconds, `handle_timeout` wants to be called.
    pub fn next_timeout(&self) -> u64 {
        if !self.runnable.is_empty() || !self.changed_spaces.is_empty() {
            return self.now.mono_ms;
        }
        let timer = self.timers.first().map_or(u64::MAX, |(at_ms, _)| *at_ms);
        let work = self.due.first().map_or(u64::MAX, |(at_ms, _, _)| *at_ms);
        timer
            .min(work)
            .min(self.fanouts.due_ms())
            .min(self.ledger.lazy_due_ms().unwrap_or(u64::MAX))
    }

    /// What `next_timeout` waits for, for whoever looks for a timer that never rests.
    pub fn next_is(&self) -> String {
        format!(
            "now {}: timer {:?}, custody {:?}, lists {}, lazy commit {:?}",
            self.now.mono_ms,
            self.timers.first(),
            self.due.first(),
            self.fanouts.due_ms(),
            self.ledger.lazy_due_ms()
        )
    }

    /// Closes the batch: all changes since the last flush become one commit (group commit: take
    /// many inputs, then flush once).
    pub fn flush(&mut self) {
        self.ledger.flush(self.now.mono_ms);
    }

    /// The next thing to do. Effects that depend on a change come out after its `Committed`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.ledger.poll()
    }

    /// What follows from an input within the same turn.
    fn end_turn(&mut self) {
        /// Follow-ups of one turn at most, some tens of milliseconds; more wait for the next one, which comes at once.
        const MOST_STEPS: usize = 1_000;
        for _ in 0..MOST_STEPS {
            if self
                .due
                .first()
                .is_some_and(|(at_ms, _, _)| *at_ms <= self.now.mono_ms)
                && let Err(damaged) = self.work()
            {
                self.damaged(damaged);
            }
            if let Some((job, memo)) = self.runnable.pop_front() {
                if let Err(damaged) = self.run(job, memo) {
                    self.damaged(damaged);
                }
            } else if self.gv_changed {
                self.gv_changed = false;
                self.watches.touch_everything();
                let described = (self.refresh_gv())
                    .and_then(|()| self.describe_myself())
                    .and_then(|()| self.describe_holdings());
                if let Err(damaged) = described {
                    self.damaged(damaged);
                }
            } else if let Some(space) = self.changed_spaces.pop_first() {
                if let SpaceId::Registry(registry) = &space {
                    self.news_of(registry);
                    self.wake_held(registry);
                }
                if let SpaceId::Registry(registry) = space
                    && !registry.is_system()
                    && let Err(damaged) = self.follow_sites(&registry)
                {
                    self.damaged(damaged);
                }
            } else if !self.wake_watches() {
                break;
            }
        }
        self.tend_views();
        self.send_deposits();
        self.send_deposited();
        self.send_pushes();
        self.hand_outside();
        if let Err(damaged) = self.settle() {
            self.damaged(damaged);
        }
        self.write_counted();
        self.save_spaces();
    }

    // Small things that everybody needs.

    pub(crate) fn send(&mut self, to: &ServerName, message: PeerMessage) {
        let message = self.with_lives(message);
        self.ledger.emit(Effect::Send {
            to: to.clone(),
            message,
        });
    }

    pub(crate) fn timer(&mut self, after_ms: u64, timer: Timer) {
        self.timer_at(self.now.mono_ms.saturating_add(after_ms), timer);
    }

    pub(crate) fn timer_at(&mut self, at_ms: u64, timer: Timer) {
        self.timers.insert((at_ms, timer));
    }

    pub(crate) fn forget_timer(&mut self, at_ms: u64, timer: Timer) {
        self.timers.remove(&(at_ms, timer));
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    pub(crate) fn random_u128(&mut self) -> u128 {
        (u128::from(self.rng.next_u64()) << 64) | u128::from(self.rng.next_u64())
    }

    pub(crate) fn random_below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    pub(crate) fn save_clock(&mut self, bound: Hlc) {
        self.ledger
            .put(Table::Meta, META_CLOCK.to_vec(), codec::encode(&bound));
    }

    pub(crate) fn space_changed(&mut self, space: &SpaceId) {
        self.changed_spaces.insert(space.clone());
    }

    pub(crate) fn note_info(&mut self, text: String, message: Option<MessageId>) {
        self.ledger.emit(Effect::Note(Note {
            level: NoteLevel::Info,
            text,
            message,
        }));
    }

    /// Something that a person must act on.
    pub(crate) fn alarm(&mut self, text: String) {
        if self.alarms.back() != Some(&text) {
            self.alarms.push_back(text.clone());
            if self.alarms.len() > MOST_ALARMS {
                self.alarms.pop_front();
            }
            self.ledger.emit(Effect::Note(Note {
                level: NoteLevel::Error,
                text,
                message: None,
            }));
        }
    }
}
