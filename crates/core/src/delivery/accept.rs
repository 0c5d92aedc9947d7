//! The yes: a message is durable here and at a deputy before its sender hears it.
//!
//! Guards P1 and P2. A submission that brings its id and comes again is the same
//! message; the same id with another body is refused.

use grapevine_model::{
    CustodyRecord, EnvelopeRecipient, ErrorKind, Hlc, MessageId, Refusal, Reply, ReportReason,
    ReportTells, RequestId, ServerName, ServerRole, Speaker, Submission,
};

use crate::config::Alone;
use crate::delivery::custody::{CustodyRow, Pending, recipient_key};
use crate::effect::{Effect, Staged};
use crate::registry::directory::Memo;
use crate::registry::request::{ReplyTo, Stop};
use crate::server::{Server, Timer};
use crate::tables::Damaged;

/// So many servers are asked to be the deputy before a message is accepted alone: the first one
/// may have died a moment ago, and nobody has noticed yet.
const DEPUTIES_ASKED: u64 = 2;

impl Server {
    /// Accepts a message, or refuses it; may have to ask about the sender's rights first.
    pub(crate) fn try_submit(
        &mut self,
        memo: &Memo,
        id: RequestId,
        submission: &Submission,
        staged: Staged,
    ) -> Result<(), Stop> {
        let to = ReplyTo::Client(id);
        let refusal = match self.check_envelope(memo, &submission.speaker, &submission.envelope)? {
            Ok(()) => self.check_submission(submission, staged)?,
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            self.ledger.emit(Effect::Discard {
                staged: staged.token,
            });
            self.reply(to, Err(refusal));
            return Ok(());
        }
        let message = match submission.id {
            Some(message) => message,
            None => MessageId {
                time: self.tick(Hlc(0)),
                origin: self.clock.origin(),
            },
        };
        if self.custodies.contains_key(&message) {
            self.submitted_again(to, message, submission, staged)?;
        } else if self.was_accepted(message)? {
            self.ledger.emit(Effect::Discard {
                staged: staged.token,
            });
            self.reply(to, Ok(Reply::Accepted { message, copies: 2 }));
        } else {
            self.adopt(message, staged)?;
            let record = CustodyRecord {
                message,
                custodian: self.config.server.clone(),
                origin: self.clock.origin(),
                body: staged.body,
                envelope: submission.envelope.clone(),
                accepted_ms: self.now.wall_ms,
                poster: submission.speaker.clone(),
            };
            // The recipients that a report answers for are done in this turn: it must not be refused.
            let alone = match &submission.reports {
                Some(_) => Alone::Accept,
                None => self.alone_for_envelope(&submission.envelope),
            };
            self.accept(record, alone, Some(to), None)?;
        }
        if let Some(reports) = &submission.reports {
            self.report_is_in(message, reports)?;
        }
        Ok(())
    }

    /// A report is in custody here: what it tells is told.
    fn report_is_in(&mut self, report: MessageId, reports: &ReportReason) -> Result<(), Damaged> {
        let about = reports.about;
        if let Some(custody) = self.custodies.get_mut(&report) {
            custody.about = Some(about);
        }
        match reports.told {
            ReportTells::End => {
                if let Some(custody) = self.custodies.get_mut(&about) {
                    custody.reported_by.push(report);
                }
                for key in &reports.recipients {
                    self.recipient_done(about, key, "reported", format!("report {report}"))?;
                }
            }
            ReportTells::Delay => self.delay_was_told(about),
        }
        self.saving.insert(about);
        Ok(())
    }

    /// The message is in custody here: a retry, or a part of it was handed to this server before.
    fn submitted_again(
        &mut self,
        to: ReplyTo,
        message: MessageId,
        submission: &Submission,
        staged: Staged,
    ) -> Result<(), Damaged> {
        self.ledger.emit(Effect::Discard {
            staged: staged.token,
        });
        if !self.was_accepted(message)? {
            for recipient in &submission.envelope.recipients {
                self.add_pending(message, Pending::of(recipient));
            }
            if let Some(custody) = self.custodies.get_mut(&message) {
                // Its deputy answers for what was handed over, too.
                let handed = std::mem::replace(
                    &mut custody.row.record.envelope,
                    submission.envelope.clone(),
                );
                let whole = &mut custody.row.record.envelope.recipients;
                for recipient in handed.recipients {
                    let key = recipient_key(&recipient.name, recipient.meant);
                    let same = |r: &EnvelopeRecipient| recipient_key(&r.name, r.meant) == key;
                    if !whole.iter().any(same) {
                        whole.push(recipient);
                    }
                }
                custody.touch();
                let record = custody.row.record.clone();
                self.remember_accepted(&record, true);
                self.save_custody(message);
            }
            // The deputy knows of a part only: it is told of the whole.
            self.find_deputy(message)?;
        }
        if let Some(custody) = self.custodies.get_mut(&message) {
            if custody.held {
                self.reply(to, Ok(Reply::Accepted { message, copies: 2 }));
            } else {
                custody.waiting.push(to);
                self.await_deputy(message);
            }
        }
        Ok(())
    }

    fn check_submission(
        &self,
        submission: &Submission,
        staged: Staged,
    ) -> Result<Option<Refusal>, Damaged> {
        let system = matches!(submission.speaker, Speaker::Server(_));
        if self.disk_nearly_full && !system {
            return Ok(Some(Refusal::unavailable(
                "the disk of this server is nearly full; try another server, or later",
            )));
        }
        if self.role() == ServerRole::Retiring && !system {
            return Ok(Some(Refusal::unavailable(
                "this server is being retired; use another one",
            )));
        }
        if staged.body.len > grapevine_model::MAX_MESSAGE_BYTES {
            return Ok(Some(Refusal::new(
                ErrorKind::TooLarge,
                format!(
                    "a message has at most {} octets",
                    grapevine_model::MAX_MESSAGE_BYTES
                ),
            )));
        }
        let Some(message) = submission.id else {
            return Ok(None);
        };
        let limit_ms = self.now.wall_ms.saturating_add(self.config.times.drift_ms);
        if !message.origin.is_client() && !system {
            return Ok(Some(Refusal::invalid(
                "a message id that a client brings has the top bit of its origin set",
            )));
        }
        if message.time.wall_ms() > limit_ms {
            return Ok(Some(Refusal::invalid(
                "the time of this message id is too far ahead: check this machine's clock",
            )));
        }
        Ok(match self.message_row(message)? {
            Some(row) if row.body != staged.body => {
                Some(Refusal::conflict("another message has this id"))
            }
            Some(_) | None => None,
        })
    }

    /// Takes custody of a message whose body is here, and looks for a deputy.
    pub(crate) fn accept(
        &mut self,
        record: CustodyRecord,
        alone: Alone,
        to: Option<ReplyTo>,
        handed_by: Option<(ServerName, Vec<String>)>,
    ) -> Result<(), Damaged> {
        let message = record.message;
        let pending = record.envelope.recipients.iter().map(Pending::of);
        let pending = pending.map(|p| (p.key(), p)).collect();
        self.remember_accepted(&record, handed_by.is_none());
        self.take_custody(CustodyRow {
            record,
            pending,
            passed: Default::default(),
        })?;
        if let Some(custody) = self.custodies.get_mut(&message) {
            custody.alone = alone;
            custody.promised = false;
            custody.fresh = true;
            custody.waiting.extend(to);
            custody.handed_by.extend(handed_by);
        }
        self.find_deputy(message)?;
        self.await_deputy(message);
        // What can be deposited at once goes into the same commit: accepting is depositing.
        self.work()?;
        Ok(())
    }

    /// Sees that whoever waits for the yes gets an answer in time.
    pub(crate) fn await_deputy(&mut self, message: MessageId) {
        let Some(custody) = self.custodies.get(&message) else {
            return;
        };
        if custody.waiting.is_empty() && custody.handed_by.is_empty() {
            return;
        }
        let early = self.planted_accept_before_deputy;
        if custody.held || early {
            self.say_yes(message, 2);
        } else if custody.deputy.is_none() && !self.peers.keys().any(|peer| self.is_awaited(peer)) {
            self.accept_alone(message);
        } else {
            let wait_ms = self.config.times.second_copy_ms / DEPUTIES_ASKED;
            self.timer(wait_ms, Timer::Accept(message));
        }
    }

    /// The deputy did not answer in time.
    pub(crate) fn accept_is_late(&mut self, message: MessageId) {
        let Some(custody) = self.custodies.get_mut(&message) else {
            return;
        };
        if custody.held {
            return;
        }
        // Another one may do; the silent one may have it too, which harms nobody.
        custody.silent.extend(custody.deputy.take());
        let silent = custody.silent.clone();
        let waits = !custody.waiting.is_empty() || !custody.handed_by.is_empty();
        let another = self.peers.iter().any(|(server, peer)| {
            let up = peer.accepts && self.is_up(server) && !silent.contains(server);
            up || self.is_awaited(server)
        });
        if waits && another && (silent.len() as u64) < DEPUTIES_ASKED {
            if let Err(damaged) = self.find_deputy(message) {
                self.damaged(damaged);
            }
            self.await_deputy(message);
        } else {
            self.accept_alone(message);
        }
    }

    fn accept_alone(&mut self, message: MessageId) {
        let alone = self.custodies.get(&message).map(|custody| custody.alone);
        match alone.unwrap_or(Alone::Accept) {
            Alone::Accept => self.say_yes(message, 1),
            Alone::Refuse => {
                let Some(custody) = self.custodies.get_mut(&message) else {
                    return;
                };
                let waiting = std::mem::take(&mut custody.waiting);
                let handed = std::mem::take(&mut custody.handed_by);
                if waiting.is_empty() && handed.is_empty() {
                    return;
                }
                if !custody.promised {
                    custody.row.pending.clear();
                    custody.trying.clear();
                    custody.touch();
                    self.saving.insert(message);
                }
                self.forget_accepted(message);
                for to in waiting {
                    let why = "no second server can be reached, and this one does not accept mail alone; try again later";
                    self.reply(to, Err(Refusal::unavailable(why)));
                }
            }
        }
    }

    /// Whether there is, or will be again, a server that can be a deputy of this one.
    fn may_have_a_deputy(&self) -> bool {
        let me = &self.config.server;
        let mut others = self.servers.iter().filter(|(server, _)| *server != me);
        others.any(|(_, info)| info.role == ServerRole::Full)
    }

    /// Everybody who waits for this message hears yes. Servers that handed it over hear it of two copies only: their own
    /// copies may be two, and they go with that word. Until then they keep them, or until all is done here.
    pub(crate) fn say_yes(&mut self, message: MessageId, copies: u8) {
        let is_safe = copies >= 2 || !self.may_have_a_deputy();
        let Some(custody) = self.custodies.get_mut(&message) else {
            return;
        };
        let waiting = std::mem::take(&mut custody.waiting);
        let handed = match is_safe {
            true => std::mem::take(&mut custody.handed_by),
            false => Vec::new(),
        };
        custody.promised = true;
        let outside = std::mem::take(&mut custody.awaits_yes);
        // What is not delivered before the yes has waited for it.
        let waited = outside || custody.alone == Alone::Refuse;
        let ended = custody.row.pending.is_empty();
        // What it reports on is over when the report is on a second disk, not when it is taken alone.
        let about = custody.about.filter(|_| custody.held);
        if !waiting.is_empty() {
            let text = format!(
                "accepted with {copies} {}",
                if copies == 1 { "copy" } else { "copies" }
            );
            self.note_info(text, Some(message));
        }
        for to in waiting {
            self.reply(to, Ok(Reply::Accepted { message, copies }));
        }
        for (server, recipients) in handed {
            self.say_handed(&server, message, recipients);
        }
        if ended {
            self.saving.insert(message);
        }
        self.saving.extend(about);
        if waited {
            self.wake(message);
        }
    }
}
