//! What a mail program has to know of this server, where Mozilla's programs and others look for it (config-v1.1.xml).
//!
//! Served over HTTPS alone: whoever could change it on its way would be sent the passwords. Must never tell anything but the doors.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use grapevine_model::{Door, Name};

use crate::agent::{MailDoor, escaped};

/// Where it is looked for, first and second.
const PATHS: [&str; 2] = [
    "/.well-known/autoconfig/mail/config-v1.1.xml",
    "/mail/config-v1.1.xml",
];

/// The routes, if there is a door to tell of.
pub(crate) fn router(advertise: &BTreeMap<Door, String>, hostname: &str) -> Router {
    let (advertise, hostname) = (advertise.clone(), hostname.to_owned());
    let mut router = Router::new();
    for path in PATHS {
        let (advertise, hostname) = (advertise.clone(), hostname.clone());
        let answer = move |RawQuery(query): RawQuery| {
            let domain = domain_of(query.as_deref()).unwrap_or_else(|| hostname.clone());
            let text = document(&advertise, &domain);
            async move { ([(CONTENT_TYPE, "text/xml; charset=utf-8")], text).into_response() }
        };
        router = router.route(path, get(answer));
    }
    router
}

/// The registry in `?emailaddress=NAME`, if that is a name.
fn domain_of(query: Option<&str>) -> Option<String> {
    let pairs = query?.split('&');
    let text = pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == "emailaddress")?
        .1
        .replace("%40", "@");
    let name: Name = text.parse().ok()?;
    Some(name.registry().as_str().to_owned())
}

fn document(advertise: &BTreeMap<Door, String>, domain: &str) -> String {
    let domain = escaped(domain);
    let server = |door: Door, kind: MailDoor| {
        let (host, port) = advertise.get(&door)?.rsplit_once(':')?;
        Some(kind.xml(host, port))
    };
    let servers = [
        server(Door::Imaps, MailDoor::Imaps),
        server(Door::Pop3s, MailDoor::Pop3s),
        server(Door::Submissions, MailDoor::Submissions),
    ];
    let servers: String = servers.into_iter().flatten().collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{domain}\">\n    <domain>{domain}</domain>\n    <displayName>Grapevine</displayName>\n    <displayShortName>Grapevine</displayShortName>\n{servers}  </emailProvider>\n</clientConfig>\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_doors_that_are_open_are_told_and_a_query_can_not_break_out() {
        let advertise = BTreeMap::from([
            (Door::Imaps, "mail.example.org:993".to_owned()),
            (Door::Submissions, "mail.example.org:465".to_owned()),
            (Door::Imap, "mail.example.org:143".to_owned()),
        ]);
        let text = document(&advertise, "pa.example");
        assert!(text.contains("<port>993</port>") && text.contains("<port>465</port>"));
        assert!(!text.contains("pop3") && !text.contains("<port>143</port>"));
        assert!(text.contains("<socketType>SSL</socketType>"));
        let domain = |query| domain_of(Some(query));
        assert_eq!(
            domain("x=1&emailaddress=birrell%40pa.example").as_deref(),
            Some("pa.example")
        );
        for odd in [
            "emailaddress=",
            "emailaddress=%3Cb%3E",
            "emailaddress=a@<b>",
            "",
        ] {
            assert_eq!(domain(odd), None, "{odd}");
        }
    }
}
