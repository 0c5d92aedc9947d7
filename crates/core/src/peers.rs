//! The other servers, as far as they are heard: who is up, what each of them says, and the beat.
//!
//! Must never take a word from a server that is not, or no longer, in `gv`, and never wait for one.

use grapevine_model::{
    Beat, Door, Hlc, MessageId, OriginId, PeerMessage, ServerInfo, ServerName, ServerRole, SpaceId,
};

use crate::effect::Effect;
use crate::registry::connect::MOST_AHEAD_MS;
use crate::registry::directory::Memo;
use crate::registry::request::{Job, ReplyTo};
use crate::replication::refresh::CopyPart;
use crate::server::{Server, Timer};
use crate::tables::Damaged;

/// Time-outs of lesser matters (orphans, history, mending) come with every so manyth beat.
const SWEEP_BEATS: u64 = 5;
/// Every so manyth of these sweeps looks for inbox sites to be mended, which walks the registries.
const MEND_SWEEPS: u64 = 12;

/// A host's name (RFC 1035: 253 octets), a colon, and a port.
const MAX_ADDRESS_BYTES: usize = 259;

/// Another server, as far as it is heard.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) heard_ms: Option<u64>,
    pub(crate) lost: bool,
    pub(crate) origin: Option<OriginId>,
    pub(crate) pending: u64,
    pub(crate) accepts: bool,
    pub(crate) behind: u64,
    /// With which space the search for differing ones goes on; none for the first.
    pub(crate) compared: Option<SpaceId>,
    /// How far its clock is ahead of this one, as far as that is followed.
    pub(crate) ahead_ms: u64,
    /// For how long it had been silent when this server started, by this server's own time.
    pub(crate) silent_before_ms: u64,
    /// How much of its silence is on disk.
    pub(crate) silence_saved_ms: u64,
    /// Where it says that it is reached, while its record says something else.
    pub(crate) at: Option<String>,
}

impl Peer {
    /// Milliseconds without a word, counted from this server's start at most.
    pub(crate) fn silent_ms(&self, now_ms: u64, started_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms.unwrap_or(started_ms))
    }

    /// The same over restarts of this server; only time in which it ran counts.
    pub(crate) fn whole_silence_ms(&self, now_ms: u64, started_ms: u64) -> u64 {
        self.silent_ms(now_ms, started_ms)
            .saturating_add(self.silent_before_ms)
    }
}

impl Server {
    pub(crate) fn take(
        &mut self,
        from: &ServerName,
        message: PeerMessage,
        staged: Option<crate::effect::Staged>,
    ) -> Result<(), Damaged> {
        if !self.peers.contains_key(from) {
            // Not, or no longer, in `gv`.
            if let Some(staged) = staged {
                self.ledger.emit_now(Effect::Discard {
                    staged: staged.token,
                });
            }
            return Ok(());
        }
        self.heard(from);
        let Some(message) = self.admit_message(from, message) else {
            return Ok(());
        };
        match message {
            // One says it once.
            PeerMessage::About { .. } => Ok(()),
            PeerMessage::Beat(beat) => self.take_beat(from, beat),
            PeerMessage::Vectors(vectors) => self.take_vectors(from, vectors),
            PeerMessage::Pull { space, known } => self.take_pull(from, &space, known),
            PeerMessage::Push {
                space,
                previous,
                context,
                updates,
            } => self.take_push(from, space, previous, &context, updates),
            PeerMessage::Pushes(pushes) => {
                for push in pushes {
                    self.take_push(from, push.space, push.previous, &push.context, push.updates)?;
                }
                Ok(())
            }
            PeerMessage::Haves(haves) => {
                for (space, vector) in haves {
                    self.note_have(from, &space, vector);
                }
                Ok(())
            }
            PeerMessage::Page {
                space,
                from: base,
                progress,
                complete,
                updates,
            } => self.take_page(from, space, base, progress, complete, updates),
            PeerMessage::Compare { id, space, step } => self.take_compare(from, id, space, step),
            PeerMessage::Have { space, vector } => {
                self.note_have(from, &space, vector);
                Ok(())
            }
            PeerMessage::Refresh { space, floor } => {
                self.take_refresh(from, &space, &floor);
                Ok(())
            }
            PeerMessage::Fetch { space, known } => self.take_fetch(from, &space, known),
            PeerMessage::Copy {
                space,
                from: base,
                progress,
                complete,
                floor,
                vector,
                updates,
            } => {
                let part = CopyPart {
                    base,
                    progress,
                    complete,
                    floor,
                    vector,
                    updates,
                };
                self.take_copy(from, space, part)
            }
            PeerMessage::Need { messages } => {
                self.take_need(from, messages);
                Ok(())
            }
            PeerMessage::Body { message, body } => self.take_body(message, body, staged),
            PeerMessage::Custody(record) => self.take_custody_record(from, record),
            PeerMessage::CustodyHeld {
                message,
                recipients,
            } => {
                self.take_custody_held(from, message, recipients);
                Ok(())
            }
            PeerMessage::CustodyHold { message, held } => {
                self.take_custody_hold(from, message, held);
                Ok(())
            }
            PeerMessage::DelayTold { message } => {
                self.take_delay_told(message);
                Ok(())
            }
            PeerMessage::CustodyLeft { origin, messages } => {
                self.take_custody_left(from, origin, messages)
            }
            PeerMessage::CustodyEnded { origin, messages } => {
                self.take_custody_ended(from, origin, messages)
            }
            PeerMessage::CustodyAsk { origin, messages } => {
                self.take_custody_ask(from, origin, messages);
                Ok(())
            }
            PeerMessage::Deposit {
                message,
                body,
                inboxes,
            } => self.take_deposit(from, message, body, inboxes),
            PeerMessage::Deposited { message, outcomes } => {
                self.take_deposited(from, message, outcomes);
                Ok(())
            }
            PeerMessage::Hand(record) => self.take_hand(from, record),
            PeerMessage::Handed {
                message,
                recipients,
            } => self.take_handed(from, message, recipients),
            PeerMessage::OutsideAsk { messages } => self.take_outside_ask(from, messages),
            PeerMessage::OutsideDone {
                message,
                recipients,
            } => self.take_outside_done(from, message, recipients),
            PeerMessage::Ask { id, question, seen } => self.run(
                Job::Question {
                    from: from.clone(),
                    id,
                    question,
                },
                Memo::after(seen),
            ),
            PeerMessage::Answered { id, answer } => {
                self.take_answer(from, id, answer);
                Ok(())
            }
            PeerMessage::Logins(logins) => {
                self.take_logins(logins);
                Ok(())
            }
            PeerMessage::Forward {
                id,
                speaker,
                request,
                seen,
                nothing_at,
            } => {
                if self.doubled(from, id, &request) {
                    return Ok(());
                }
                let to = ReplyTo::Peer(from.clone(), id);
                self.run(
                    Job::Request {
                        to,
                        speaker,
                        request,
                    },
                    Memo::after(seen).nothing_at(nothing_at),
                )
            }
            PeerMessage::Forwarded { id, result, as_of } => {
                self.take_forwarded(from, id, result, as_of);
                Ok(())
            }
        }
    }

    /// Whether a server is heard.
    pub(crate) fn is_up(&self, server: &ServerName) -> bool {
        self.peers.get(server).is_some_and(|peer| {
            !peer.lost
                && peer.heard_ms.is_some_and(|heard| {
                    self.now.mono_ms.saturating_sub(heard) <= self.config.times.silent_ms
                })
        })
    }

    /// Whether a server is not known to be up or down yet, because this one has only just started. Nobody is told "one
    /// copy only" because of a restart.
    pub(crate) fn is_awaited(&self, server: &ServerName) -> bool {
        let run_ms = self.now.mono_ms.saturating_sub(self.started_ms);
        let unheard = |peer: &Peer| peer.heard_ms.is_none() && !peer.lost;
        run_ms < self.config.times.second_copy_ms && self.peers.get(server).is_some_and(unheard)
    }

    /// Whether one of these can be expected to make a second copy.
    pub(crate) fn any_may_copy(&self, servers: &[ServerName]) -> bool {
        servers.iter().any(|s| self.is_up(s) || self.is_awaited(s))
    }

    pub(crate) fn heard(&mut self, from: &ServerName) {
        let was_up = self.is_up(from);
        let now = self.now.mono_ms;
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        peer.heard_ms = Some(now);
        peer.lost = false;
        peer.accepts |= !was_up;
        self.end_silence(from);
        if !was_up {
            self.note_info(format!("{from} is here"), None);
            self.send_beat(from);
            let messages: Vec<MessageId> = self.custodies.keys().copied().collect();
            for message in messages {
                self.wake(message);
            }
            self.wake_all_pages();
        }
    }

    pub(crate) fn peer_lost(&mut self, server: &ServerName) {
        let was_up = self.is_up(server);
        if let Some(peer) = self.peers.get_mut(server) {
            peer.lost = true;
        }
        self.pushes.lost(server);
        if was_up {
            self.note_info(format!("{server} is lost"), None);
            self.compare_lost(server);
            for state in self.spaces.values_mut() {
                // What was on its way is gone: the next session begins at once.
                state.pulling.remove(server);
                state.paged_ms.remove(server);
            }
            self.ask_others_than(server);
            self.pass_to_others_than(server);
            // Whoever waits for a second disk that cannot come any more hears so at once.
            let ids: Vec<u64> = self
                .waiters
                .iter()
                .filter(|(_, w)| !self.any_may_copy(&self.partners(&w.space)))
                .map(|(id, _)| *id)
                .collect();
            for id in ids {
                self.waiter_is_due(id);
            }
            let accepting: Vec<MessageId> = self
                .custodies
                .iter()
                .filter(|(_, c)| c.deputy.as_ref() == Some(server) && !c.held)
                .map(|(m, _)| *m)
                .collect();
            for message in accepting {
                self.accept_is_late(message);
            }
        }
    }

    pub(crate) fn beat(&mut self) {
        self.timer(self.config.times.beat_ms, Timer::Beat);
        self.beats = self.beats.wrapping_add(1);
        let peers: Vec<ServerName> = self.peers.keys().cloned().collect();
        for peer in peers {
            self.send_beat(&peer);
        }
        self.forget_awaited();
        self.tell_of_delays();
        let mut done = self.look_after_custody().and_then(|()| self.refill_on());
        if self.beats.is_multiple_of(SWEEP_BEATS) {
            self.ask_about_sites();
            self.end_needless_refreshes();
            self.plan_compares(self.config.times.beat_ms.saturating_mul(SWEEP_BEATS));
            // Who is heard, and what has expired, shows without any change too.
            self.zones_are_due();
            done = done
                .and_then(|()| self.remove_orphans())
                .and_then(|()| self.forget_history())
                .and_then(|()| self.forget_outside_done())
                .and_then(|()| self.release_quarantined())
                .map(|()| self.forget_taken_over())
                .map(|()| self.forget_unused_views())
                .and_then(|()| self.remove_expired_sites())
                .and_then(|()| self.keep_in_maildrop())
                .and_then(|()| self.forget_retained())
                .and_then(|()| self.reap())
                .and_then(|()| self.tend_keys())
                .and_then(|()| self.follow_astray())
                .and_then(|()| self.begin_round())
                .and_then(|()| self.leave_when_empty());
            // On a signal, and now and then without one: who is to mend changes with who is up.
            let unasked = self.beats.is_multiple_of(SWEEP_BEATS * MEND_SWEEPS);
            if std::mem::take(&mut self.mend_needed) || unasked {
                done = done
                    .and_then(|()| self.adopt_stranded())
                    .and_then(|()| self.name_all_holders())
                    .and_then(|()| self.mend());
            }
        }
        if let Err(damaged) = done {
            self.damaged(damaged);
        }
    }

    pub(crate) fn send_beat(&mut self, to: &ServerName) {
        let beat = Beat {
            origin: self.clock.origin(),
            // Not the hybrid clock: that runs ahead after a restart, and no lease ends by it.
            time: Hlc::at_ms(self.now.wall_ms),
            pending: self.custodies.len() as u64,
            accepts: self.role() == ServerRole::Full
                && !self.disk_nearly_full
                && !self.origins.displaced,
            seen: self.last_of(to),
            digests: self.digests.get(to).cloned().unwrap_or_default(),
            at: match self.is_up(to) {
                true => None,
                false => self.rpc_door(&self.config.server).map(str::to_owned),
            },
        };
        self.send(to, PeerMessage::Beat(beat));
    }

    /// A server that took another address says so itself: its record can't come before it is reached.
    fn reached_at(&mut self, server: &ServerName, at: String) {
        let on_record = self.rpc_door(server) == Some(at.as_str());
        let at = Some(at).filter(|at| !on_record && at.len() <= MAX_ADDRESS_BYTES);
        if let Some(peer) = self.peers.get_mut(server)
            && peer.at != at
        {
            peer.at = at;
            self.tell_servers();
        }
    }

    fn rpc_door(&self, server: &ServerName) -> Option<&str> {
        let doors = &self.servers.get(server)?.doors;
        doors.get(&Door::Rpc).map(String::as_str)
    }

    /// Who the servers are, and where each is reached.
    pub(crate) fn tell_servers(&mut self) {
        let mut servers: Vec<ServerInfo> = self.servers.values().cloned().collect();
        for server in &mut servers {
            let Some(peer) = self.peers.get_mut(&server.name) else {
                continue;
            };
            // The record has come.
            peer.at = (peer.at.take()).filter(|at| server.doors.get(&Door::Rpc) != Some(at));
            if let Some(at) = peer.at.clone() {
                server.doors.insert(Door::Rpc, at);
            }
        }
        self.ledger.emit_now(Effect::Servers(servers));
    }

    fn take_beat(&mut self, from: &ServerName, beat: Beat) -> Result<(), Damaged> {
        let ahead_ms = beat.time.wall_ms().saturating_sub(self.now.wall_ms);
        let ahead_ms = if ahead_ms <= MOST_AHEAD_MS {
            ahead_ms
        } else {
            0
        };
        let mut before_life = None;
        if let Some(peer) = self.peers.get_mut(from) {
            before_life = peer.origin.replace(beat.origin);
            peer.pending = beat.pending;
            peer.accepts = beat.accepts;
            peer.ahead_ms = ahead_ms;
        }
        if let Some(at) = beat.at {
            self.reached_at(from, at);
        }
        self.life_heard(before_life, beat.origin);
        self.compare_digests(from, &beat.digests);
        match beat.seen {
            Some(seen) => self.take_seen(from, seen),
            None => Ok(()),
        }
    }
}
