//! How cells are told to whoever watches: as events, with names and values as people know them.
//!
//! Only fields named here are ever shown: a field that is not known here may be a secret.

use grapevine_model::{
    Cell, CellKey, Field, Happened, Incarnation, PostingRule, Quota, Update, VersionVector,
    WatchEvent,
};

use crate::codec::{self, Identity, Listed};
use crate::registry::database::Database;

/// A cell as an event; none for what is not shown.
pub(super) fn event_of(database: &Database, key: &CellKey, cell: &Cell) -> Option<WatchEvent> {
    let incarnation = Incarnation(key.item);
    let entry = database.entry(incarnation);
    let event = |name, what| WatchEvent {
        name,
        incarnation,
        stamp: cell.stamp,
        what,
    };
    if key.field == Field::Identity.number() {
        return Some(match &cell.value {
            None => event(database.former_name(incarnation), Happened::Deleted),
            Some(value) => {
                let kind = Identity::read(value).ok()?.kind;
                event(entry?.name(), Happened::Created { kind })
            }
        });
    }
    // What was said of an entry that is gone is no news.
    let name = entry?.name();
    let what = match (shape(key.field)?, &cell.value) {
        (Shape::One(field, shown), Some(value)) => match shown(value)? {
            Shown::Value(value) => Happened::Set {
                field: field.to_owned(),
                value,
            },
            Shown::Nothing => Happened::Cleared {
                field: field.to_owned(),
            },
        },
        (Shape::One(field, _), None) => Happened::Cleared {
            field: field.to_owned(),
        },
        (Shape::Elements(list) | Shape::Members(list), None) => Happened::Removed {
            list: list.to_owned(),
            item: String::from_utf8(key.element.clone()).ok()?,
        },
        (Shape::Elements(list), Some(_)) => Happened::Added {
            list: list.to_owned(),
            item: String::from_utf8(key.element.clone()).ok()?,
        },
        (Shape::Members(list), Some(value)) => Happened::Added {
            list: list.to_owned(),
            item: codec::decode::<Listed>(value).ok()?.spelling,
        },
    };
    Some(event(name, what))
}

/// What came before the creation of its entry, by another server's writes, could not be told when it
/// came: it is told with the creation.
pub(super) fn told_too_early(
    database: &Database,
    update: &Update,
    told: &VersionVector,
) -> Vec<WatchEvent> {
    if update.key.field != Field::Identity.number() || update.cell.value.is_none() {
        return Vec::new();
    }
    database
        .cells_after(Some(Incarnation(update.key.item)), None)
        .filter(|(key, cell)| {
            key.field != Field::Identity.number() && cell.value.is_some() && told.covers(cell.dot)
        })
        .filter_map(|(key, cell)| event_of(database, key, cell))
        .collect()
}

/// How a field is shown.
enum Shape {
    /// One value.
    One(&'static str, fn(&[u8]) -> Option<Shown>),
    /// A list whose items are the elements.
    Elements(&'static str),
    /// A list of members.
    Members(&'static str),
}

/// What a field's value is as text.
enum Shown {
    Value(String),
    /// As if nothing were said.
    Nothing,
}

fn text(value: &[u8]) -> Option<Shown> {
    String::from_utf8(value.to_vec()).ok().map(Shown::Value)
}

/// As on the command line: a word, or the name of a group whose members may.
fn posting(value: &[u8]) -> Option<Shown> {
    let rule = match codec::decode::<PostingRule>(value).ok()? {
        PostingRule::Anyone => "anyone".to_owned(),
        PostingRule::Authenticated => "authenticated".to_owned(),
        PostingRule::Members => "members".to_owned(),
        PostingRule::Owners => "owners".to_owned(),
        PostingRule::Moderated => "moderated".to_owned(),
        PostingRule::Group(group) => group.to_string(),
    };
    Some(Shown::Value(rule))
}

fn quota(value: &[u8]) -> Option<Shown> {
    let quota = codec::decode::<Quota>(value).ok()?;
    let parts = [("octets", quota.octets), ("messages", quota.messages)];
    let parts: Vec<String> = parts
        .iter()
        .filter_map(|(of, most)| most.map(|most| format!("{of}={most}")))
        .collect();
    Some(match parts.as_slice() {
        [] => Shown::Nothing,
        parts => Shown::Value(parts.join(" ")),
    })
}

/// What of a cell's field may be seen by whoever may see its entry.
fn shape(field: u16) -> Option<Shape> {
    let shown = [
        (Field::Remark, Shape::One("remark", text)),
        (Field::Posting, Shape::One("posting", posting)),
        (Field::Quota, Shape::One("quota", quota)),
        (Field::FormerName, Shape::Elements("former")),
        (Field::InboxSite, Shape::Elements("sites")),
        (Field::Alias, Shape::Elements("aliases")),
        (Field::Forward, Shape::Elements("forward")),
        (Field::ConnectSite, Shape::Elements("connect-sites")),
        (Field::Member, Shape::Members("members")),
        (Field::Owner, Shape::Members("owners")),
        (Field::Friend, Shape::Members("friends")),
    ];
    shown
        .into_iter()
        .find(|(known, _)| known.number() == field)
        .map(|(_, shape)| shape)
}
