//! What servers say to each other.

use grapevine_model::{
    Answer, Beat, DepositEnvelope, DepositFor, DepositOutcome, Hlc, Incarnation, Life, Name,
    OriginId, PeerMessage, Question, Refusal, Reply, Resolution, SpaceId, SpacePush, VersionVector,
};

use super::cell::{decode_updates, encode_updates};
use super::connect::{decode_pool_member, encode_pool_member};
use super::registry::{decode_as_of, decode_seen, encode_seen};
use super::request::list;
use super::storage::over_quota;
use super::{
    Wire, all, all_parsed, chosen, id_bytes, ids_bytes, incarnation, incarnation_bytes, message_id,
    message_ids, name, need, parsed, registry, small, texts,
};
use crate::v1;
use crate::wire::WireError;

impl From<&PeerMessage> for v1::PeerMessage {
    fn from(message: &PeerMessage) -> Self {
        let lives = match message {
            PeerMessage::About { lives, .. } => lives.as_slice(),
            _ => &[],
        };
        let bare = match message {
            PeerMessage::About { message, .. } => message.as_ref(),
            message => message,
        };
        let held_recipients = match bare {
            PeerMessage::CustodyHeld { recipients, .. } => *recipients,
            _ => None,
        };
        Self {
            message: Some(encode(message)),
            held_recipients,
            lives: lives
                .iter()
                .map(|(registry, incarnation)| v1::RegistryLife {
                    registry: registry.to_string(),
                    incarnation: incarnation_bytes(*incarnation),
                })
                .collect(),
        }
    }
}

fn encode(message: &PeerMessage) -> v1::peer_message::Message {
    use v1::peer_message::Message as Wired;
    match message {
        PeerMessage::About { message, .. } => encode(message),
        PeerMessage::Beat(beat) => Wired::Beat(v1::Beat {
            origin: beat.origin.0,
            time: beat.time.0,
            pending: beat.pending,
            accepts: beat.accepts,
            digests: beat.digests.clone(),
            seen: beat.seen.as_ref().map(Into::into),
            at: beat.at.clone().unwrap_or_default(),
        }),
        PeerMessage::Vectors(vectors) => Wired::Vectors(v1::Vectors {
            vectors: vectors
                .iter()
                .map(|(space, vector)| space_vector(space, vector))
                .collect(),
        }),
        PeerMessage::Pull { space, known } => Wired::Pull(space_vector(space, known)),
        PeerMessage::Push {
            space,
            previous,
            context,
            updates,
        } => Wired::Push(v1::Push {
            space: Some(space.into()),
            previous: Some(previous.into()),
            context: Some(context.into()),
            updates: encode_updates(updates, Some(previous.origin)),
        }),
        PeerMessage::Pushes(pushes) => Wired::Pushes(v1::Pushes {
            pushes: pushes.iter().map(push_of).collect(),
        }),
        PeerMessage::Haves(haves) => Wired::Haves(v1::Vectors {
            vectors: haves
                .iter()
                .map(|(space, vector)| space_vector(space, vector))
                .collect(),
        }),
        PeerMessage::Page {
            space,
            from,
            progress,
            complete,
            updates,
        } => Wired::Page(v1::Page {
            space: Some(space.into()),
            from: Some(from.into()),
            progress: Some(progress.into()),
            complete: *complete,
            updates: encode_updates(updates, None),
        }),
        PeerMessage::Have { space, vector } => Wired::Have(space_vector(space, vector)),
        PeerMessage::Compare { id, space, step } => Wired::Compare(v1::Compare {
            id: *id,
            space: Some(space.into()),
            step: Some(step.into()),
        }),
        PeerMessage::Refresh { space, floor } => Wired::Refresh(space_vector(space, floor)),
        PeerMessage::Fetch { space, known } => Wired::Fetch(space_vector(space, known)),
        PeerMessage::Copy {
            space,
            from,
            progress,
            complete,
            floor,
            vector,
            updates,
        } => Wired::Copy(v1::Copy {
            space: Some(space.into()),
            from: Some(from.into()),
            progress: Some(progress.into()),
            complete: *complete,
            updates: encode_updates(updates, None),
            floor: Some(floor.into()),
            vector: Some(vector.into()),
        }),
        PeerMessage::Need { messages } => Wired::Need(v1::MessageIds {
            messages: ids_bytes(messages),
        }),
        PeerMessage::Body { message, body } => Wired::Body(v1::BodyOf {
            message: id_bytes(*message),
            body: Some(body.into()),
        }),
        PeerMessage::Custody(record) => Wired::Custody(record.into()),
        PeerMessage::CustodyHeld { message, .. } => Wired::CustodyHeld(id_bytes(*message)),
        PeerMessage::CustodyHold { message, held } => Wired::CustodyHold(v1::CustodyHold {
            message: id_bytes(*message),
            held: *held,
        }),
        PeerMessage::DelayTold { message } => Wired::DelayTold(id_bytes(*message)),
        PeerMessage::CustodyLeft { origin, messages } => Wired::CustodyLeft(v1::CustodyOf {
            origin: origin.0,
            messages: ids_bytes(messages),
        }),
        PeerMessage::CustodyEnded { origin, messages } => Wired::CustodyEnded(v1::CustodyOf {
            origin: origin.0,
            messages: ids_bytes(messages),
        }),
        PeerMessage::CustodyAsk { origin, messages } => Wired::CustodyAsk(v1::CustodyOf {
            origin: origin.0,
            messages: ids_bytes(messages),
        }),
        PeerMessage::Deposit {
            message,
            body,
            inboxes,
        } => Wired::Deposit(v1::Deposit {
            message: id_bytes(*message),
            body: Some(body.into()),
            inboxes: inboxes
                .iter()
                .map(|to| v1::Inbox {
                    incarnation: incarnation_bytes(to.inbox),
                    name: to.name.to_string(),
                    sites: texts(&to.sites),
                    list: to.list.as_ref().map(Into::into),
                    envelope: to.envelope.as_ref().map(|of| v1::InboxEnvelope {
                        return_path: of.return_path.as_ref().map(ToString::to_string),
                        recipient: of.recipient.to_string(),
                    }),
                })
                .collect(),
        }),
        PeerMessage::Deposited { message, outcomes } => Wired::Deposited(v1::Deposited {
            message: id_bytes(*message),
            outcomes: outcomes.iter().map(encode_outcome).collect(),
        }),
        PeerMessage::Hand(record) => Wired::Hand(record.into()),
        PeerMessage::Handed {
            message,
            recipients,
        } => Wired::Handed(v1::Handed {
            message: id_bytes(*message),
            recipients: recipients.clone(),
        }),
        PeerMessage::OutsideAsk { messages } => Wired::OutsideAsk(v1::MessageIds {
            messages: ids_bytes(messages),
        }),
        PeerMessage::OutsideDone {
            message,
            recipients,
        } => Wired::OutsideDone(v1::Handed {
            message: id_bytes(*message),
            recipients: recipients.clone(),
        }),
        PeerMessage::Ask { id, question, seen } => Wired::Ask(v1::Ask {
            id: *id,
            question: Some(encode_question(question)),
            seen: encode_seen(seen),
        }),
        PeerMessage::Answered { id, answer } => Wired::Answered(v1::Answered {
            id: *id,
            answer: Some(encode_answer(answer)),
        }),
        PeerMessage::Logins(logins) => Wired::Logins(v1::Logins {
            logins: logins.iter().map(Into::into).collect(),
        }),
        PeerMessage::Forward {
            id,
            speaker,
            request,
            seen,
            nothing_at,
        } => Wired::Forward(v1::Forward {
            id: *id,
            speaker: Some(speaker.into()),
            request: Some(request.into()),
            seen: encode_seen(seen),
            nothing_at: texts(nothing_at),
        }),
        PeerMessage::Forwarded { id, result, as_of } => Wired::Forwarded(v1::Forwarded {
            id: *id,
            as_of: as_of.as_ref().map(Into::into),
            result: Some(match result {
                Ok(reply) => v1::forwarded::Result::Reply(reply.into()),
                Err(refusal) => v1::forwarded::Result::Refusal(refusal.into()),
            }),
        }),
    }
}

impl TryFrom<v1::PeerMessage> for PeerMessage {
    type Error = WireError;

    fn try_from(message: v1::PeerMessage) -> Wire<Self> {
        let lives: Vec<_> = message
            .lives
            .into_iter()
            .map(|life| Ok((registry(&life.registry)?, incarnation(&life.incarnation)?)))
            .collect::<Wire<_>>()?;
        let held_recipients = message.held_recipients;
        let message = Self::try_from(chosen(message.message, "message")?)?;
        let message = match message {
            PeerMessage::CustodyHeld { message, .. } => Self::CustodyHeld {
                message,
                recipients: held_recipients,
            },
            message => message,
        };
        Ok(match message {
            // A body is about a message only, and the frames look for it.
            PeerMessage::Body { .. } => message,
            message if lives.is_empty() => message,
            message => Self::About {
                lives,
                message: Box::new(message),
            },
        })
    }
}

impl TryFrom<v1::peer_message::Message> for PeerMessage {
    type Error = WireError;

    fn try_from(message: v1::peer_message::Message) -> Wire<Self> {
        use v1::peer_message::Message as Wired;
        Ok(match message {
            Wired::Beat(beat) => Self::Beat(Beat {
                origin: OriginId(beat.origin),
                time: Hlc(beat.time),
                pending: beat.pending,
                accepts: beat.accepts,
                digests: beat.digests,
                seen: beat.seen.map(Into::into),
                at: Some(beat.at).filter(|at| !at.is_empty()),
            }),
            Wired::Vectors(list) => Self::Vectors(
                list.vectors
                    .into_iter()
                    .map(of_space)
                    .collect::<Wire<_>>()?,
            ),
            Wired::Pull(pull) => {
                let (space, known) = of_space(pull)?;
                Self::Pull { space, known }
            }
            Wired::Push(push) => {
                let SpacePush {
                    space,
                    previous,
                    context,
                    updates,
                } = of_push(push)?;
                Self::Push {
                    space,
                    previous,
                    context,
                    updates,
                }
            }
            Wired::Pushes(pushes) => {
                let pushes = pushes.pushes.into_iter().map(of_push);
                Self::Pushes(pushes.collect::<Wire<_>>()?)
            }
            Wired::Haves(haves) => {
                let haves = haves.vectors.into_iter().map(of_space);
                Self::Haves(haves.collect::<Wire<_>>()?)
            }
            Wired::Page(page) => Self::Page {
                space: need(page.space, "a space")?.try_into()?,
                from: need(page.from, "a vector")?.try_into()?,
                progress: need(page.progress, "a vector")?.try_into()?,
                complete: page.complete,
                updates: decode_updates(page.updates, None)?,
            },
            Wired::Have(have) => {
                let (space, vector) = of_space(have)?;
                Self::Have { space, vector }
            }
            Wired::Compare(compare) => Self::Compare {
                id: compare.id,
                space: need(compare.space, "a space")?.try_into()?,
                step: chosen(compare.step, "step of a comparison")?.try_into()?,
            },
            Wired::Refresh(refresh) => {
                let (space, floor) = of_space(refresh)?;
                Self::Refresh { space, floor }
            }
            Wired::Fetch(fetch) => {
                let (space, known) = of_space(fetch)?;
                Self::Fetch { space, known }
            }
            Wired::Copy(copy) => Self::Copy {
                space: need(copy.space, "a space")?.try_into()?,
                from: need(copy.from, "a vector")?.try_into()?,
                progress: need(copy.progress, "a vector")?.try_into()?,
                complete: copy.complete,
                floor: need(copy.floor, "a vector")?.try_into()?,
                vector: need(copy.vector, "a vector")?.try_into()?,
                updates: decode_updates(copy.updates, None)?,
            },
            Wired::Need(list) => Self::Need {
                messages: message_ids(&list.messages)?,
            },
            Wired::Body(of) => Self::Body {
                message: message_id(&of.message)?,
                body: need(of.body, "a body's measure")?.try_into()?,
            },
            Wired::Custody(record) => Self::Custody(record.try_into()?),
            Wired::CustodyHeld(id) => Self::CustodyHeld {
                message: message_id(&id)?,
                recipients: None,
            },
            Wired::CustodyHold(of) => Self::CustodyHold {
                message: message_id(&of.message)?,
                held: of.held,
            },
            Wired::DelayTold(id) => Self::DelayTold {
                message: message_id(&id)?,
            },
            Wired::CustodyLeft(of) => Self::CustodyLeft {
                origin: OriginId(of.origin),
                messages: message_ids(&of.messages)?,
            },
            Wired::CustodyEnded(of) => Self::CustodyEnded {
                origin: OriginId(of.origin),
                messages: message_ids(&of.messages)?,
            },
            Wired::CustodyAsk(of) => Self::CustodyAsk {
                origin: OriginId(of.origin),
                messages: message_ids(&of.messages)?,
            },
            Wired::Deposit(deposit) => Self::Deposit {
                message: message_id(&deposit.message)?,
                body: need(deposit.body, "a body's measure")?.try_into()?,
                inboxes: deposit
                    .inboxes
                    .iter()
                    .map(decode_inbox)
                    .collect::<Wire<_>>()?,
            },
            Wired::Deposited(deposited) => Self::Deposited {
                message: message_id(&deposited.message)?,
                outcomes: deposited
                    .outcomes
                    .into_iter()
                    .map(decode_outcome)
                    .collect::<Wire<_>>()?,
            },
            Wired::Hand(record) => Self::Hand(record.try_into()?),
            Wired::Handed(handed) => Self::Handed {
                message: message_id(&handed.message)?,
                recipients: handed.recipients,
            },
            Wired::OutsideAsk(list) => Self::OutsideAsk {
                messages: message_ids(&list.messages)?,
            },
            Wired::OutsideDone(done) => Self::OutsideDone {
                message: message_id(&done.message)?,
                recipients: done.recipients,
            },
            Wired::Ask(ask) => Self::Ask {
                id: ask.id,
                question: decode_question(chosen(ask.question, "question")?)?,
                seen: decode_seen(ask.seen)?,
            },
            Wired::Answered(answered) => Self::Answered {
                id: answered.id,
                answer: decode_answer(chosen(answered.answer, "answer")?)?,
            },
            Wired::Logins(logins) => Self::Logins(all(logins.logins)?),
            Wired::Forward(forward) => Self::Forward {
                id: forward.id,
                speaker: need(forward.speaker, "a speaker")?.try_into()?,
                request: need(forward.request, "a request")?.try_into()?,
                seen: decode_seen(forward.seen)?,
                nothing_at: all_parsed(&forward.nothing_at)?,
            },
            Wired::Forwarded(forwarded) => Self::Forwarded {
                id: forwarded.id,
                result: decode_result(chosen(forwarded.result, "result")?)?,
                as_of: decode_as_of(forwarded.as_of)?,
            },
        })
    }
}

fn space_vector(space: &SpaceId, vector: &VersionVector) -> v1::SpaceVector {
    v1::SpaceVector {
        space: Some(space.into()),
        vector: Some(vector.into()),
    }
}

fn push_of(push: &SpacePush) -> v1::Push {
    v1::Push {
        space: Some((&push.space).into()),
        previous: Some((&push.previous).into()),
        context: Some((&push.context).into()),
        updates: encode_updates(&push.updates, Some(push.previous.origin)),
    }
}

fn of_push(push: v1::Push) -> Wire<SpacePush> {
    let previous: grapevine_model::Stamp = need(push.previous, "the write before")?.into();
    Ok(SpacePush {
        space: need(push.space, "a space")?.try_into()?,
        previous,
        // The first servers did not say it, and forgot no deletion.
        context: (push.context.map(TryInto::try_into).transpose()?).unwrap_or_default(),
        updates: decode_updates(push.updates, Some(previous.origin))?,
    })
}

fn of_space(of: v1::SpaceVector) -> Wire<(SpaceId, VersionVector)> {
    Ok((
        need(of.space, "a space")?.try_into()?,
        need(of.vector, "a vector")?.try_into()?,
    ))
}

fn decode_inbox(inbox: &v1::Inbox) -> Wire<DepositFor> {
    Ok(DepositFor {
        inbox: incarnation(&inbox.incarnation)?,
        name: name(&inbox.name)?,
        sites: all_parsed(&inbox.sites)?,
        list: inbox.list.clone().map(TryInto::try_into).transpose()?,
        envelope: inbox.envelope.as_ref().map(decode_envelope).transpose()?,
    })
}

fn decode_envelope(envelope: &v1::InboxEnvelope) -> Wire<DepositEnvelope> {
    Ok(DepositEnvelope {
        return_path: envelope.return_path.as_deref().map(name).transpose()?,
        recipient: name(&envelope.recipient)?,
    })
}

fn encode_outcome((owner, outcome): &(Incarnation, DepositOutcome)) -> v1::DepositOutcome {
    use v1::deposit_outcome::Outcome as Wired;
    v1::DepositOutcome {
        incarnation: incarnation_bytes(*owner),
        outcome: Some(match outcome {
            DepositOutcome::Stored { copies } => Wired::StoredCopies((*copies).into()),
            DepositOutcome::NotHere => Wired::NotHere(v1::Nothing {}),
            DepositOutcome::OverQuota { why, policy } => Wired::OverQuota(v1::OverQuota {
                why: why.clone(),
                policy: v1::OverQuotaPolicy::from(*policy).into(),
            }),
            DepositOutcome::Later(why) => Wired::Later(why.clone()),
            DepositOutcome::Rejected { why } => Wired::Rejected(why.clone()),
        }),
    }
}

fn decode_outcome(of: v1::DepositOutcome) -> Wire<(Incarnation, DepositOutcome)> {
    use v1::deposit_outcome::Outcome as Wired;
    Ok((
        incarnation(&of.incarnation)?,
        match chosen(of.outcome, "outcome of a deposit")? {
            Wired::StoredCopies(copies) => DepositOutcome::Stored {
                copies: small(copies)?,
            },
            Wired::NotHere(_) => DepositOutcome::NotHere,
            Wired::OverQuota(full) => DepositOutcome::OverQuota {
                why: full.why,
                policy: over_quota(full.policy)?,
            },
            Wired::Later(why) => DepositOutcome::Later(why),
            Wired::Rejected(why) => DepositOutcome::Rejected { why },
        },
    ))
}

fn encode_question(question: &Question) -> v1::ask::Question {
    match question {
        Question::Resolve(name) => v1::ask::Question::Resolve(name.to_string()),
        Question::IsIn {
            group,
            meant,
            list,
            who,
            incarnation,
        } => v1::ask::Question::IsIn(v1::IsIn {
            group: group.to_string(),
            list: v1::GroupList::from(*list).into(),
            who: who.to_string(),
            incarnation: incarnation.map(incarnation_bytes),
            meant: meant.map(incarnation_bytes),
        }),
        Question::ListedIn {
            registry,
            list,
            who,
            after,
        } => v1::ask::Question::ListedIn(v1::ListedIn {
            registry: registry.to_string(),
            list: v1::GroupList::from(*list).into(),
            who: who
                .iter()
                .map(|(member, incarnation)| v1::Listee {
                    member: member.to_string(),
                    incarnation: incarnation.map(incarnation_bytes),
                })
                .collect(),
            after: after.clone(),
        }),
        Question::Living {
            registry,
            incarnations,
        } => v1::ask::Question::Living(v1::Living {
            registry: registry.to_string(),
            incarnations: incarnations
                .iter()
                .copied()
                .map(incarnation_bytes)
                .collect(),
        }),
        Question::Sites { name, incarnation } => {
            v1::ask::Question::Sites(encode_pool_member(name, *incarnation))
        }
    }
}

fn decode_question(question: v1::ask::Question) -> Wire<Question> {
    Ok(match question {
        v1::ask::Question::Resolve(which) => Question::Resolve(name(&which)?),
        v1::ask::Question::IsIn(is_in) => Question::IsIn {
            group: name(&is_in.group)?,
            meant: is_in.meant.as_deref().map(incarnation).transpose()?,
            list: list(is_in.list)?,
            who: name(&is_in.who)?,
            incarnation: is_in.incarnation.as_deref().map(incarnation).transpose()?,
        },
        v1::ask::Question::ListedIn(listed) => Question::ListedIn {
            registry: registry(&listed.registry)?,
            list: list(listed.list)?,
            who: listed
                .who
                .iter()
                .map(|who| {
                    let is = who.incarnation.as_deref().map(incarnation).transpose()?;
                    Ok((parsed(&who.member)?, is))
                })
                .collect::<Wire<_>>()?,
            after: listed.after,
        },
        v1::ask::Question::Living(living) => Question::Living {
            registry: registry(&living.registry)?,
            incarnations: living
                .incarnations
                .iter()
                .map(|bytes| incarnation(bytes))
                .collect::<Wire<_>>()?,
        },
        v1::ask::Question::Sites(member) => {
            let (name, incarnation) = decode_pool_member(&member)?;
            Question::Sites { name, incarnation }
        }
    })
}

fn encode_answer(answer: &Answer) -> v1::answered::Answer {
    use v1::answered::Answer as Wired;
    match answer {
        Answer::Resolved(Resolution::Individual {
            name,
            incarnation,
            sites,
            forward,
            quota,
            created_ms,
        }) => Wired::Individual(v1::ResolvedIndividual {
            name: name.to_string(),
            incarnation: incarnation_bytes(*incarnation),
            sites: texts(sites),
            forward: texts(forward),
            quota: Some(quota.into()),
            created_ms: *created_ms,
        }),
        Answer::Resolved(Resolution::Group {
            name,
            incarnation,
            posting,
            posting_meant,
        }) => Wired::Group(v1::ResolvedGroup {
            name: name.to_string(),
            incarnation: incarnation_bytes(*incarnation),
            posting: Some(posting.into()),
            posting_meant: posting_meant.map(incarnation_bytes).unwrap_or_default(),
        }),
        Answer::Resolved(Resolution::NoSuch) => Wired::NoSuch(v1::Nothing {}),
        Answer::Level { found, elsewhere } => Wired::Level(v1::Level {
            found: *found,
            elsewhere: elsewhere.iter().map(|(name, _)| name.to_string()).collect(),
            elsewhere_meant: elsewhere
                .iter()
                .map(|(_, meant)| meant.map(incarnation_bytes).unwrap_or_default())
                .collect(),
        }),
        Answer::Groups { groups, next } => Wired::Groups(v1::Groups {
            groups: groups
                .iter()
                .map(|(name, incarnation)| v1::ResolvedGroup {
                    name: name.to_string(),
                    incarnation: incarnation_bytes(*incarnation),
                    posting: None,
                    posting_meant: Vec::new(),
                })
                .collect(),
            next: next.clone(),
        }),
        Answer::Lives(lives) => Wired::Lives(v1::Lives {
            lives: lives.iter().map(encode_life).collect(),
        }),
        Answer::Sites { found, elsewhere } => Wired::Sites(v1::PoolSites {
            found: found.iter().map(Into::into).collect(),
            elsewhere: elsewhere
                .iter()
                .map(|(name, incarnation)| encode_pool_member(name, *incarnation))
                .collect(),
        }),
        Answer::Unavailable => Wired::Unavailable(v1::Nothing {}),
    }
}

fn decode_answer(answer: v1::answered::Answer) -> Wire<Answer> {
    use v1::answered::Answer as Wired;
    Ok(match answer {
        Wired::Individual(individual) => Answer::Resolved(Resolution::Individual {
            name: name(&individual.name)?,
            incarnation: incarnation(&individual.incarnation)?,
            sites: all_parsed(&individual.sites)?,
            forward: all_parsed(&individual.forward)?,
            quota: individual.quota.map(Into::into).unwrap_or_default(),
            created_ms: individual.created_ms,
        }),
        Wired::Group(group) => Answer::Resolved(Resolution::Group {
            name: name(&group.name)?,
            incarnation: incarnation(&group.incarnation)?,
            posting: group
                .posting
                .map(TryInto::try_into)
                .transpose()?
                .unwrap_or_default(),
            posting_meant: match group.posting_meant.as_slice() {
                [] => None,
                meant => Some(incarnation(meant)?),
            },
        }),
        Wired::NoSuch(_) => Answer::Resolved(Resolution::NoSuch),
        Wired::Level(level) => Answer::Level {
            found: level.found,
            elsewhere: elsewhere(&level)?,
        },
        Wired::Groups(page) => Answer::Groups {
            groups: page
                .groups
                .iter()
                .map(|group| Ok((name(&group.name)?, incarnation(&group.incarnation)?)))
                .collect::<Wire<_>>()?,
            next: page.next,
        },
        Wired::Lives(lives) => Answer::Lives(
            lives
                .lives
                .into_iter()
                .map(decode_life)
                .collect::<Wire<_>>()?,
        ),
        Wired::Sites(sites) => Answer::Sites {
            found: all(sites.found)?,
            elsewhere: sites
                .elsewhere
                .iter()
                .map(decode_pool_member)
                .collect::<Wire<_>>()?,
        },
        Wired::Unavailable(_) => Answer::Unavailable,
    })
}

fn encode_life(life: &Life) -> v1::Life {
    use v1::life::Life as Wired;
    v1::Life {
        life: Some(match life {
            Life::Lives(name) => Wired::Lives(name.to_string()),
            Life::Aside => Wired::Aside(v1::Nothing {}),
            Life::Gone => Wired::Gone(v1::Nothing {}),
            Life::Unheard => Wired::Unheard(v1::Nothing {}),
            Life::Absent => Wired::Absent(v1::Nothing {}),
        }),
    }
}

fn decode_life(life: v1::Life) -> Wire<Life> {
    use v1::life::Life as Wired;
    Ok(match chosen(life.life, "life of an entry")? {
        Wired::Lives(is) => Life::Lives(name(&is)?),
        Wired::Aside(_) => Life::Aside,
        Wired::Gone(_) => Life::Gone,
        Wired::Unheard(_) => Life::Unheard,
        Wired::Absent(_) => Life::Absent,
    })
}

fn decode_result(result: v1::forwarded::Result) -> Wire<Result<Reply, Refusal>> {
    Ok(match result {
        v1::forwarded::Result::Reply(reply) => Ok(reply.try_into()?),
        v1::forwarded::Result::Refusal(refusal) => Err(refusal.into()),
    })
}

/// Nested groups with what they meant, where that is said.
fn elsewhere(level: &v1::Level) -> Wire<Vec<(Name, Option<Incarnation>)>> {
    let meant = level.elsewhere_meant.iter().map(Vec::as_slice);
    let meant = meant.chain(std::iter::repeat(&[][..]));
    let of = |(group, meant): (&String, &[u8])| {
        let meant = (!meant.is_empty())
            .then(|| incarnation(meant))
            .transpose()?;
        Ok((name(group)?, meant))
    };
    level.elsewhere.iter().zip(meant).map(of).collect()
}
