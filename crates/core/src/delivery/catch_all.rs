//! Who gets mail for names that a registry does not have, where its registrars have said so.
//!
//! The last thing that is tried: after entries, former names, aliases, a list's owners and a route for the
//! registry's other names. Must never catch what the system itself speaks as, nor what a list led to: a
//! list's member who is no more is its owners' business.

use grapevine_model::{MessageId, Name, Refusal, RegistryName, Resolution};

use crate::delivery::custody::Pending;
use crate::registry::directory::{Eval, Held, Memo};
use crate::registry::request::Stop;
use crate::server::Server;

/// What reports are sent as: answers of machines to it are wanted by nobody.
const MAILER: &str = "mailer-daemon";

impl Server {
    /// Whether mail for the unknown names of a registry may go there.
    pub(crate) fn may_catch_all(&self, registry: &RegistryName, to: &Name) -> Result<(), Refusal> {
        match self.held(to.registry()) {
            Held::Unknown => Err(Refusal::invalid(format!(
                "{to} is not of this Grapevine: let a group here have it as a member"
            ))),
            Held::Here if matches!(self.resolve_here(&to.without_detail()), Resolution::NoSuch) => {
                Err(Refusal::not_found(to))
            }
            Held::Here | Held::Elsewhere if registry.is_system() => Err(Refusal::not_allowed(
                format!("{registry} is the system's own"),
            )),
            Held::Here | Held::Elsewhere => Ok(()),
        }
    }

    /// Who gets mail for a name that its registry does not have, as the caller knows.
    pub(crate) fn catch_all(&self, name: &Name) -> Option<Name> {
        let to = self.policy(name.registry()).catch_all.as_ref()?;
        let own = name.group_of_owners().is_some() || name.folded() == MAILER;
        (!own).then(|| to.clone())
    }

    /// The same, and whether that one can be reached: it may be no more.
    pub(crate) fn catcher(&self, memo: &Memo, name: &Name) -> Eval<Option<Name>> {
        let Some(to) = self.catch_all(name) else {
            return Ok(None);
        };
        let there = self.resolve(memo, &to.without_detail())?;
        Ok(Some(to).filter(|_| there != Resolution::NoSuch))
    }

    /// A recipient whose name its registry does not have goes to the one who gets all such mail;
    /// false where there is none.
    pub(super) fn caught(
        &mut self,
        memo: &Memo,
        (message, key): (MessageId, &str),
        pending: &Pending,
    ) -> Result<bool, Stop> {
        if pending.list.is_some() || pending.meant.is_some() {
            return Ok(false);
        }
        let name = pending.name.without_detail();
        let Some(to) = self.catch_all(&name) else {
            return Ok(false);
        };
        if self.catcher(memo, &name)?.is_none() {
            let why = format!(
                "there is no {name}; {to}, who gets mail for such names of {}, is no more",
                name.registry()
            );
            self.recipient_failed(message, key, "5.1.1", why)?;
            return Ok(true);
        }
        let how = format!("no such name; sent to {to}, who gets all such mail");
        self.lead_on(message, key, pending, vec![to], &how)?;
        Ok(true)
    }
}
