//! `maildrop@ms`: the servers open for submission, kept by each server for itself.
//!
//! A server that is let in, opens or closes its submission doors, or is retired, changes its own
//! membership and no other's.

use grapevine_model::{Door, Field, GroupList, RegistryName, ServerRole, SpaceId};

use crate::codec::{self, Listed};
use crate::registry::database::element;
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

impl Server {
    /// Joins or leaves `maildrop@ms`, as its doors and its role say.
    pub(crate) fn keep_in_maildrop(&mut self) -> Result<(), Damaged> {
        let ms = RegistryName::ms();
        let Some(me) = self.config.server.name() else {
            return Ok(());
        };
        let Ok(maildrop) = grapevine_model::Name::new("maildrop", ms.clone()) else {
            return Ok(());
        };
        let incarnation = self.entry(&me).map(|entry| entry.incarnation);
        let Some(group) = self.entry(&maildrop) else {
            return Ok(());
        };
        let doors = &self.config.info.doors;
        let open = [Door::Submission, Door::Submissions]
            .iter()
            .any(|door| doors.contains_key(door));
        let wanted = open && incarnation.is_some() && self.role() == ServerRole::Full;
        let present = group
            .listed(GroupList::Members, &me.key())
            .is_some_and(|listed| listed.incarnation == incarnation);
        let key = element(group.incarnation, Field::Member, me.key());
        // A server without doors (in a test, or at the very start) has nothing to say.
        let change = match (wanted, present) {
            (true, false) => {
                let listed = Listed {
                    spelling: me.to_string(),
                    incarnation,
                    group: false,
                };
                Change::put(key, codec::encode(&listed))
            }
            (false, true) if !doors.is_empty() => Change::delete(key),
            (true, true) | (false, _) => return Ok(()),
        };
        self.write(&SpaceId::Registry(ms), vec![change])?;
        Ok(())
    }
}
