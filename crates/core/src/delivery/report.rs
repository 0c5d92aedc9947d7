//! An explanation to the sender when a recipient can't be served (RFC 3464), and
//! what becomes of explanations that can't be delivered.
//!
//! Guards P1 (lost is never silent). Never a bounce for a bounce: what has no
//! return path goes to `deadletter@ms`, and if that leads nowhere it is kept for
//! the operator.

use std::collections::BTreeMap;

use grapevine_model::{
    BodyInfo, CustodyRecord, Envelope, EnvelopeRecipient, HeldPost, Hlc, MessageId, Name, Notify,
    RegistryName, ReportReason, ReportTells, ReturnContent, Speaker, Submission,
};

use crate::delivery::custody::{OutsideEnd, Pending, Stage};
use crate::effect::{Effect, ReportKind, ReportLine, ReportOrder};
use crate::server::Server;
use crate::tables::Damaged;

/// A report that was ordered is handed in within this, or it is ordered again.
pub(super) const REPORT_WITHIN_MS: u64 = 60_000;

impl Server {
    /// Orders a report about all recipients of a message that are due for one.
    pub(crate) fn order_report(&mut self, message: MessageId) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(());
        };
        let record = custody.row.record.clone();
        let Some(return_path) = record.envelope.return_path.clone() else {
            return self.dead_letters(message);
        };
        // What fails of a list is its owners' business, who can mend it; by whom it is to be heard.
        let mut reports: BTreeMap<Name, (Vec<ReportLine>, Vec<String>)> = BTreeMap::new();
        let mut silent = Vec::new();
        let now = self.now.mono_ms;
        for (key, pending) in &custody.row.pending {
            if custody
                .trying
                .get(key)
                .is_some_and(|t| t.reporting_until_ms > now)
            {
                continue;
            }
            let mut remote = None;
            let (delivered, status, reason) = match &pending.stage {
                Stage::Failed(status, reason) if pending.notify.failure => {
                    (false, status.clone(), reason.clone())
                }
                Stage::Failed(_, reason) => {
                    silent.push((key.clone(), reason.clone()));
                    continue;
                }
                Stage::Outside(OutsideEnd::Refused { status, by, reason })
                    if pending.notify.failure =>
                {
                    remote = Some(by.clone());
                    (false, status.clone(), reason.clone())
                }
                Stage::Outside(OutsideEnd::Refused { reason, .. }) => {
                    silent.push((key.clone(), reason.clone()));
                    continue;
                }
                Stage::Outside(OutsideEnd::Relayed { by }) => {
                    remote = Some(by.clone());
                    (true, "2.0.0".into(), "handed over".into())
                }
                Stage::Delivered => (true, "2.1.5".into(), "delivered".into()),
                Stage::Steer => continue,
            };
            let owners = pending.list.as_ref().and_then(|of| owners_of(&of.list));
            let (lines, keys) = reports
                .entry(owners.unwrap_or(return_path.clone()))
                .or_default();
            lines.push(ReportLine {
                name: pending.name.clone(),
                original: pending.original.clone(),
                delivered,
                status,
                reason,
                remote,
                note: self.suspension_note(pending.list.as_ref(), &pending.name),
            });
            keys.push(key.clone());
        }
        for (key, reason) in silent {
            self.recipient_done(message, &key, "failed, and no report was wanted", reason)?;
        }
        if let Some(custody) = self.custodies.get_mut(&message) {
            for key in reports.values().flat_map(|(_, keys)| keys) {
                if let Some(trying) = custody.trying.get_mut(key) {
                    trying.reporting_until_ms = now.saturating_add(REPORT_WITHIN_MS);
                }
            }
        }
        for (to, (lines, keys)) in reports {
            self.order_report_to(to, &record, lines, keys);
        }
        Ok(())
    }

    /// A report on its way to somebody: from nobody, so that nothing is ever reported about it.
    pub(super) fn report_submission(
        &mut self,
        to: Name,
        body: BodyInfo,
        reports: ReportReason,
    ) -> Submission {
        // A new id each time: a report composed again differs (its date, its reasons), and one id
        // never stands for two bodies.
        let id = MessageId {
            time: self.tick(Hlc(0)),
            origin: self.clock.origin(),
        };
        Submission {
            id: Some(id),
            speaker: Speaker::Server(self.config.server.clone()),
            envelope: Envelope {
                return_path: None,
                recipients: vec![EnvelopeRecipient {
                    name: to,
                    notify: Notify {
                        success: false,
                        failure: true,
                        delay: false,
                    },
                    original: None,
                    meant: None,
                }],
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body,
            reports: Some(reports),
        }
    }

    fn order_report_to(
        &mut self,
        to: Name,
        record: &CustodyRecord,
        lines: Vec<ReportLine>,
        keys: Vec<String>,
    ) {
        let told = ReportReason {
            about: record.message,
            recipients: keys,
            told: ReportTells::End,
        };
        let submission = self.report_submission(to, record.body, told);
        self.ledger.emit(Effect::Report(Box::new(ReportOrder {
            submission,
            about: record.message,
            full: record.envelope.content == ReturnContent::Full,
            envelope_id: record.envelope.envelope_id.clone(),
            accepted_ms: record.accepted_ms,
            lines,
            kind: ReportKind::Delivery,
        })));
    }

    /// The owners of a moderated group hear of a message that waits for them. It goes without a promise:
    /// what waits is in `group held`, whatever becomes of the notice.
    pub(crate) fn notify_owners(&mut self, group: &Name, post: &HeldPost) {
        let Some(owners) = owners_of(group) else {
            return;
        };
        let Some(custody) = self.custodies.get(&post.message) else {
            return;
        };
        let body = custody.row.record.body;
        let id = MessageId {
            time: self.tick(Hlc(0)),
            origin: self.clock.origin(),
        };
        let mut recipient = EnvelopeRecipient::from(owners);
        recipient.notify.delay = false;
        let submission = Submission {
            id: Some(id),
            speaker: Speaker::Server(self.config.server.clone()),
            envelope: Envelope {
                return_path: None,
                recipients: vec![recipient],
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body,
            reports: None,
        };
        self.ledger.emit(Effect::Report(Box::new(ReportOrder {
            submission,
            about: post.message,
            full: false,
            envelope_id: None,
            accepted_ms: post.since_ms,
            lines: Vec::new(),
            kind: ReportKind::Held {
                group: group.clone(),
                post: post.clone(),
            },
        })));
    }

    /// A message without a return path has recipients that can't be served.
    fn dead_letters(&mut self, message: MessageId) -> Result<(), Damaged> {
        let Ok(dead) = Name::new("deadletter", RegistryName::ms()) else {
            return Ok(());
        };
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(());
        };
        let failed: Vec<(String, Pending, String)> = custody
            .row
            .pending
            .iter()
            .filter_map(|(key, pending)| match &pending.stage {
                Stage::Failed(_, reason) => Some((key.clone(), pending.clone(), reason.clone())),
                Stage::Outside(OutsideEnd::Refused { by, reason, .. }) => {
                    let reason = format!("{by} said: {reason}");
                    Some((key.clone(), pending.clone(), reason))
                }
                Stage::Outside(OutsideEnd::Relayed { .. }) | Stage::Delivered | Stage::Steer => {
                    None
                }
            })
            .collect();
        // Nobody wants to hear of these: answers of somebody who is away.
        let (failed, unwanted): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .partition(|(_, pending, _)| pending.notify.failure);
        for (key, _, reason) in unwanted {
            self.recipient_done(message, &key, "failed, and no report was wanted", reason)?;
        }
        let has_members = self.entry(&dead).is_some_and(|e| {
            e.members(grapevine_model::GroupList::Members, None)
                .next()
                .is_some()
        });
        for (key, pending, reason) in failed {
            // What comes after a dead letter's own expansion has no further place to go.
            if pending.hops == 0 && has_members && key != dead.key() {
                let next = Pending {
                    name: dead.clone(),
                    notify: pending.notify,
                    original: None,
                    hops: 1,
                    stage: Stage::Steer,
                    meant: None,
                    list: None,
                };
                self.add_pending(message, next);
                self.recipient_done(message, &key, "sent to deadletter@ms", reason)?;
            } else {
                self.keep_dead_letter(message, &key, &pending, &reason)?;
                self.recipient_done(message, &key, "kept as dead letter", reason)?;
            }
        }
        Ok(())
    }
}

/// The address of a group's owners; none where that would be too long for a name.
pub(super) fn owners_of(group: &Name) -> Option<Name> {
    let owners = format!("owners-{}", group.simple());
    Name::new(&owners, group.registry().clone()).ok()
}
