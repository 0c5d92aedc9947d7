//! The root DSE (RFC 4512 section 5.1): what this server can do, for everybody.

use super::message::{PAGED_RESULTS, STARTTLS, WHO_AM_I};
use super::subschema::SUBSCHEMA;

/// All operational attributes (RFC 3673).
const ALL_OPERATIONAL: &str = "1.3.6.1.4.1.4203.1.5.1";

/// The attributes that are asked for, with their values.
pub(super) fn attributes(
    naming_contexts: Vec<String>,
    asked: &[String],
) -> Vec<(&'static str, Vec<String>)> {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let user = [("objectClass", texts(&["top"]))];
    let operational = [
        ("namingContexts", naming_contexts),
        ("supportedLDAPVersion", texts(&["3"])),
        ("supportedControl", texts(&[PAGED_RESULTS])),
        ("supportedExtension", texts(&[STARTTLS, WHO_AM_I])),
        ("supportedFeatures", texts(&[ALL_OPERATIONAL])),
        ("subschemaSubentry", texts(&[SUBSCHEMA])),
        ("vendorName", texts(&["Grapevine"])),
        ("vendorVersion", texts(&[env!("CARGO_PKG_VERSION")])),
    ];
    let named = |name: &str| asked.iter().any(|asked| asked.eq_ignore_ascii_case(name));
    let all_user = asked.is_empty() || asked.iter().any(|asked| asked == "*");
    let all_operational = asked.iter().any(|asked| asked == "+");
    let user = user.into_iter().filter(|(name, _)| all_user || named(name));
    let operational = operational
        .into_iter()
        .filter(|(name, _)| all_operational || named(name));
    user.chain(operational)
        .filter(|(_, values)| !values.is_empty())
        .collect()
}
