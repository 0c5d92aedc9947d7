//! Cells, spaces and version vectors.
//!
//! Replication is measured by its bytes, so a list of updates leaves out what repeats:
//! see `Update` in cell.proto for the rules. Reading follows the same chain.
//!
//! A cell over the limits of the model is read like any other (a frame's limit bounds it): the core
//! keeps that one apart, because a frame that was refused for it would come again for ever, and
//! hold up all that came with it.

use grapevine_model::{
    Cell, CellKey, Hlc, MessageId, OriginId, SpaceId, Stamp, Update, VersionVector,
};

use super::{Wire, chosen, incarnation, incarnation_bytes, need, number, registry};
use crate::v1;
use crate::wire::WireError;

impl From<&Stamp> for v1::Stamp {
    fn from(stamp: &Stamp) -> Self {
        Self {
            time: stamp.time.0,
            origin: stamp.origin.0,
        }
    }
}

impl From<v1::Stamp> for Stamp {
    fn from(stamp: v1::Stamp) -> Self {
        Self {
            time: Hlc(stamp.time),
            origin: OriginId(stamp.origin),
        }
    }
}

impl From<&SpaceId> for v1::Space {
    fn from(space: &SpaceId) -> Self {
        Self {
            space: Some(match space {
                SpaceId::Registry(registry) => v1::space::Space::Registry(registry.to_string()),
                SpaceId::Mailbox(owner) => v1::space::Space::Mailbox(incarnation_bytes(*owner)),
            }),
        }
    }
}

impl TryFrom<v1::Space> for SpaceId {
    type Error = WireError;

    fn try_from(space: v1::Space) -> Wire<Self> {
        Ok(match chosen(space.space, "space")? {
            v1::space::Space::Registry(name) => Self::Registry(registry(&name)?),
            v1::space::Space::Mailbox(owner) => Self::Mailbox(incarnation(&owner)?),
        })
    }
}

impl From<&VersionVector> for v1::VersionVector {
    fn from(vector: &VersionVector) -> Self {
        let (origins, times) = vector
            .iter()
            .map(|(origin, time)| (origin.0, time.0))
            .unzip();
        Self { origins, times }
    }
}

impl TryFrom<v1::VersionVector> for VersionVector {
    type Error = WireError;

    fn try_from(vector: v1::VersionVector) -> Wire<Self> {
        if vector.origins.len() != vector.times.len() {
            return Err(WireError::invalid("a vector has as many times as origins"));
        }
        Ok(vector
            .origins
            .into_iter()
            .map(OriginId)
            .zip(vector.times.into_iter().map(Hlc))
            .collect())
    }
}

/// What the updates before have said.
struct Chain {
    item: Option<u128>,
    origin: Option<OriginId>,
}

impl Chain {
    fn from_origin(origin: Option<OriginId>) -> Self {
        Self { item: None, origin }
    }

    /// None if the origin is the one given last.
    fn leave_out(&mut self, origin: OriginId) -> Option<u64> {
        (self.origin.replace(origin) != Some(origin)).then_some(origin.0)
    }

    /// The origin given, else the one given last.
    fn fill_in(&mut self, origin: Option<u64>) -> Wire<OriginId> {
        let origin = need(origin.map(OriginId).or(self.origin), "an origin")?;
        self.origin = Some(origin);
        Ok(origin)
    }
}

/// A list of updates; `origin` is what stands for the origin given last before the first one.
pub(super) fn encode_updates(updates: &[Update], origin: Option<OriginId>) -> Vec<v1::Update> {
    let mut chain = Chain::from_origin(origin);
    updates
        .iter()
        .map(|update| encode_update(update, &mut chain))
        .collect()
}

/// The list again.
pub(super) fn decode_updates(
    updates: Vec<v1::Update>,
    origin: Option<OriginId>,
) -> Wire<Vec<Update>> {
    let mut chain = Chain::from_origin(origin);
    updates
        .into_iter()
        .map(|update| decode_update(update, &mut chain))
        .collect()
}

fn encode_update(update: &Update, chain: &mut Chain) -> v1::Update {
    let Update { key, cell } = update;
    let item = chain.item.replace(key.item) != Some(key.item);
    let (time, origin) = if cell.stamp == item_stamp(key.item) {
        (None, None)
    } else {
        (Some(cell.stamp.time.0), chain.leave_out(cell.stamp.origin))
    };
    let (dot_time, dot_origin) = if cell.dot == cell.stamp {
        (None, None)
    } else {
        (Some(cell.dot.time.0), chain.leave_out(cell.dot.origin))
    };
    v1::Update {
        item: item.then(|| key.item.to_be_bytes().to_vec()),
        field: key.field.into(),
        element: key.element.clone(),
        time,
        origin,
        dot_time,
        dot_origin,
        value: cell.value.clone(),
    }
}

fn decode_update(update: v1::Update, chain: &mut Chain) -> Wire<Update> {
    let item = update.item.as_deref().map(number).transpose()?;
    let item = need(item.or(chain.item), "a cell's item")?;
    chain.item = Some(item);
    let stamp = match update.time {
        Some(time) => Stamp {
            time: Hlc(time),
            origin: chain.fill_in(update.origin)?,
        },
        None => item_stamp(item),
    };
    let dot = match update.dot_time {
        Some(time) => Stamp {
            time: Hlc(time),
            origin: chain.fill_in(update.dot_origin)?,
        },
        None => stamp,
    };
    Ok(Update {
        key: CellKey {
            item,
            field: u16::try_from(update.field)
                .map_err(|_| WireError::invalid("a field's number is above 65535"))?,
            element: update.element,
        },
        cell: Cell {
            stamp,
            dot,
            value: update.value,
        },
    })
}

/// The stamp of a deposit: the message's own id.
fn item_stamp(item: u128) -> Stamp {
    let MessageId { time, origin } = MessageId::from_u128(item);
    Stamp { time, origin }
}

#[cfg(test)]
mod tests {
    use grapevine_model::{MAX_CELL_ELEMENT_BYTES, MAX_CELL_VALUE_BYTES};
    use prost::Message;

    use super::*;

    fn stamp(time: u64, origin: u64) -> Stamp {
        Stamp {
            time: Hlc(time),
            origin: OriginId(origin),
        }
    }

    #[test]
    fn what_repeats_costs_nothing() {
        let id = MessageId {
            time: Hlc(u64::MAX / 3),
            origin: OriginId(u64::MAX / 5),
        };
        let deposit = Update {
            key: CellKey {
                item: id.to_u128(),
                field: 1000,
                element: vec![],
            },
            cell: Cell {
                stamp: item_stamp(id.to_u128()),
                dot: stamp(u64::MAX / 7, 9),
                value: Some(vec![7; 40]),
            },
        };
        let sent = encode_updates(std::slice::from_ref(&deposit), Some(OriginId(9)));
        // Item 18, field 3, the dot's time 9, value 42.
        assert_eq!(sent[0].encoded_len(), 72);
        assert_eq!(
            decode_updates(sent, Some(OriginId(9))),
            Ok(vec![deposit.clone()])
        );

        let member = Update {
            key: CellKey {
                item: 1,
                field: 8,
                element: b"needham@pa".to_vec(),
            },
            cell: Cell {
                stamp: stamp(5, 9),
                dot: stamp(5, 9),
                value: Some(vec![]),
            },
        };
        let sent = encode_updates(&[member.clone(), member], None);
        // Field 2, element 12, time 9, value 2; the first also item 18 and origin 9.
        assert_eq!(sent[0].encoded_len(), 52);
        assert_eq!(sent[1].encoded_len(), 25);
    }

    #[test]
    fn what_is_left_out_must_have_been_said() {
        let lonely = v1::Update {
            item: Some(vec![0; 16]),
            time: Some(1),
            ..v1::Update::default()
        };
        assert!(decode_updates(vec![lonely.clone()], None).is_err());
        assert!(decode_updates(vec![lonely.clone()], Some(OriginId(1))).is_ok());
        let lonely = v1::Update {
            item: None,
            ..lonely
        };
        assert!(decode_updates(vec![lonely], Some(OriginId(1))).is_err());
    }

    #[test]
    fn a_cell_keeps_its_unknown_field_and_one_over_the_limits_is_the_cores_to_keep_apart() {
        let update = v1::Update {
            item: Some(vec![0; 16]),
            field: 65_535,
            value: Some(vec![0; MAX_CELL_VALUE_BYTES]),
            element: vec![0; MAX_CELL_ELEMENT_BYTES],
            ..v1::Update::default()
        };
        let large = v1::Update {
            value: Some(vec![0; MAX_CELL_VALUE_BYTES + 1]),
            element: vec![0; MAX_CELL_ELEMENT_BYTES + 1],
            ..update.clone()
        };
        let read = decode_updates(vec![update.clone(), large, update.clone()], None).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].key.field, 65_535);
        assert_eq!(read[0], read[2]);
        assert_eq!(read[1].key.element.len(), MAX_CELL_ELEMENT_BYTES + 1);
        // Without its key or its stamp nobody could say what was left out.
        for broken in [
            v1::Update {
                field: 65_536,
                ..update.clone()
            },
            v1::Update {
                item: Some(vec![0; 15]),
                ..update
            },
        ] {
            assert!(decode_updates(vec![broken], None).is_err());
        }
    }
}
