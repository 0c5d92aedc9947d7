//! Connect sites: what is offered and what is found. A port, a priority or a weight that does not
//! fit is an error here, never a smaller number.

use grapevine_model::{FoundSite, Incarnation, Located, MAX_FOUND_SITES, Name, SiteOffer};

use super::{Wire, all, incarnation, incarnation_bytes, name, need, parsed};
use crate::v1;
use crate::wire::WireError;

impl From<&SiteOffer> for v1::SiteOffer {
    fn from(offer: &SiteOffer) -> Self {
        Self {
            place: offer.place.to_string(),
            priority: offer.priority.into(),
            weight: offer.weight.into(),
            note: offer.note.to_string(),
        }
    }
}

impl TryFrom<v1::SiteOffer> for SiteOffer {
    type Error = WireError;

    fn try_from(offer: v1::SiteOffer) -> Wire<Self> {
        let sixteen_bits = |number: u32, what: &str| {
            u16::try_from(number)
                .map_err(|_| WireError::invalid(format!("a {what} is at most 65535")))
        };
        Ok(Self {
            place: parsed(&offer.place)?,
            priority: sixteen_bits(offer.priority, "priority")?,
            weight: sixteen_bits(offer.weight, "weight")?,
            note: parsed(&offer.note)?,
        })
    }
}

impl From<&FoundSite> for v1::FoundSite {
    fn from(found: &FoundSite) -> Self {
        Self {
            name: found.name.to_string(),
            door: found.door.to_string(),
            offer: Some((&found.offer).into()),
            lease_ms: found.lease_ms,
        }
    }
}

impl TryFrom<v1::FoundSite> for FoundSite {
    type Error = WireError;

    fn try_from(found: v1::FoundSite) -> Wire<Self> {
        Ok(Self {
            name: name(&found.name)?,
            door: parsed(&found.door)?,
            offer: need(found.offer, "a place")?.try_into()?,
            lease_ms: found.lease_ms,
        })
    }
}

impl From<&Located> for v1::Located {
    fn from(located: &Located) -> Self {
        Self {
            sites: located.sites.iter().map(Into::into).collect(),
            partial: located.partial,
            version: located.version,
        }
    }
}

impl TryFrom<v1::Located> for Located {
    type Error = WireError;

    fn try_from(located: v1::Located) -> Wire<Self> {
        if located.sites.len() > MAX_FOUND_SITES {
            return Err(WireError::invalid("too many sites in one answer"));
        }
        Ok(Self {
            sites: all(located.sites)?,
            partial: located.partial,
            version: located.version,
        })
    }
}

pub(super) fn encode_pool_member(name: &Name, incarnation: Incarnation) -> v1::PoolMember {
    v1::PoolMember {
        name: name.to_string(),
        incarnation: incarnation_bytes(incarnation),
    }
}

pub(super) fn decode_pool_member(member: &v1::PoolMember) -> Wire<(Name, Incarnation)> {
    Ok((name(&member.name)?, incarnation(&member.incarnation)?))
}
