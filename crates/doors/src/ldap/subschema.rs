//! The schema as an entry (RFC 4512 section 4.2): what programs read to learn which attributes and classes there are.
//!
//! Made from the one list of attributes, so it can't say another thing than what searches do.

use super::schema::{Matching, Usage, rows};

/// Its name in the tree, as every entry tells it.
pub(super) const SUBSCHEMA: &str = "cn=subschema";

/// The classes that entries have, as RFC 4519, 2798, 2307 and draft-lachman-laser-ldap-mail-routing define them, with the attributes that there are here.
const OBJECT_CLASSES: &[&str] = &[
    "( 2.5.6.0 NAME 'top' ABSTRACT MUST objectClass )",
    "( 2.5.6.4 NAME 'organization' SUP top STRUCTURAL MUST o MAY description )",
    "( 1.3.6.1.4.1.1466.344 NAME 'dcObject' SUP top AUXILIARY MUST dc )",
    "( 2.5.6.6 NAME 'person' SUP top STRUCTURAL MUST ( sn $ cn ) MAY description )",
    "( 2.5.6.7 NAME 'organizationalPerson' SUP person STRUCTURAL )",
    "( 2.16.840.1.113730.3.2.2 NAME 'inetOrgPerson' SUP organizationalPerson STRUCTURAL MAY ( mail $ o $ uid ) )",
    "( 2.16.840.1.113730.3.2.147 NAME 'inetLocalMailRecipient' SUP top AUXILIARY MAY mailHost )",
    // A group may have no member that a directory can show.
    "( 2.5.6.9 NAME 'groupOfNames' SUP top STRUCTURAL MUST cn MAY ( member $ owner $ description $ mail ) )",
    "( 1.3.6.1.1.1.2.0 NAME 'posixAccount' SUP top AUXILIARY MUST ( cn $ uid $ uidNumber $ gidNumber $ homeDirectory ) MAY ( loginShell $ gecos $ description ) )",
    "( 1.3.6.1.1.1.2.2 NAME 'posixGroup' SUP top AUXILIARY MUST ( cn $ gidNumber ) MAY ( memberUid $ description ) )",
];

/// The attributes of the entry that are asked for, with their values.
pub(super) fn attributes(asked: &[String]) -> Vec<(&'static str, Vec<String>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let user = [
        ("objectClass", texts(&["top", "subentry", "subschema"])),
        ("cn", texts(&["subschema"])),
    ];
    let operational = [
        ("attributeTypes", attribute_types()),
        ("objectClasses", texts(OBJECT_CLASSES)),
        ("subschemaSubentry", texts(&[SUBSCHEMA])),
    ];
    let named = |name: &str| asked.iter().any(|asked| asked.eq_ignore_ascii_case(name));
    let all_user = asked.is_empty() || asked.iter().any(|asked| asked == "*");
    let all_operational = asked.iter().any(|asked| asked == "+");
    let user = user.into_iter().filter(|(name, _)| all_user || named(name));
    let operational = operational
        .into_iter()
        .filter(|(name, _)| all_operational || named(name));
    user.chain(operational).collect()
}

/// RFC 4512 section 4.1.2.
fn attribute_types() -> Vec<String> {
    rows()
        .map(|(name, oid, usage, matching)| {
            let rules = match matching {
                Matching::Text => {
                    "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15"
                }
                Matching::Exact => {
                    "EQUALITY caseExactMatch SUBSTR caseExactSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15"
                }
                Matching::Number => {
                    "EQUALITY integerMatch ORDERING integerOrderingMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27"
                }
                Matching::Time => {
                    "EQUALITY generalizedTimeMatch ORDERING generalizedTimeOrderingMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.24"
                }
                Matching::Dn => {
                    "EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12"
                }
            };
            // Nobody changes anything here; only of operational ones it can be said (RFC 4512 4.1.2).
            let usage = match usage {
                Usage::User => "",
                Usage::Operational => " NO-USER-MODIFICATION USAGE directoryOperation",
            };
            format!("( {oid} NAME '{name}' {rules}{usage} )")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_of_a_class_is_defined() {
        let defined = attribute_types();
        for class in OBJECT_CLASSES {
            let words = class.split([' ', '(', ')', '$']);
            let attributes = words
                .skip_while(|word| *word != "MUST" && *word != "MAY")
                .filter(|word| !word.is_empty() && *word != "MUST" && *word != "MAY");
            for attribute in attributes {
                assert!(
                    defined
                        .iter()
                        .any(|one| one.contains(&format!("NAME '{attribute}'"))),
                    "{attribute} of {class}"
                );
            }
        }
    }
}
