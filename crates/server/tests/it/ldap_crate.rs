//! The directory asked by a client that nobody here wrote (the crate `ldap3`), over StartTLS and LDAPS, at both servers and with one killed;
//! and that a password is the same thing at this door as at the others: app passwords, and guesses that count.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use grapevine_model::{EntryChange, ErrorKind, GroupList, Name, Reply, Request};
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::grapevine::Grapevine;
use crate::logins::{by_password, call, channel, show};
use crate::wire::{Pop, Smtp};

const BASE: &str = "dc=pa,dc=example";
const BIRRELL: &str = "uid=birrell,dc=pa,dc=example";
const NEEDHAM: &str = "uid=needham,dc=pa,dc=example";
const OUTER: &str = "cn=outer^,dc=pa,dc=example";
const INNER: &str = "cn=inner^,dc=pa,dc=example";
/// Result codes (RFC 4511 appendix A).
const PROTOCOL_ERROR: u32 = 2;
const ADMIN_LIMIT: u32 = 11;
const CONFIDENTIALITY: u32 = 13;
const INVALID_DN: u32 = 34;
const CREDENTIALS: u32 = 49;
const UNWILLING: u32 = 53;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Clear,
    StartTls,
    Tls,
}

fn settings(grapevine: &Grapevine) -> LdapConnSettings {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(grapevine.dir.join("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    LdapConnSettings::new()
        .set_config(Arc::new(config))
        .set_conn_timeout(Duration::from_secs(20))
}

async fn connect(grapevine: &Grapevine, server: usize, how: How) -> Result<Ldap, LdapError> {
    let door = match how {
        How::Clear | How::StartTls => "ldap",
        How::Tls => "ldaps",
    };
    let at = grapevine.doors(server)[door].clone();
    let port = at.rsplit_once(':').unwrap().1.to_owned();
    let settings = settings(grapevine).set_starttls(how == How::StartTls);
    let url = format!("{door}://localhost:{port}");
    let (connection, ldap) = LdapConnAsync::with_settings(settings, &url).await?;
    tokio::spawn(async move {
        // It ends with the test.
        let _ended = connection.drive().await;
    });
    Ok(ldap)
}

async fn bound(grapevine: &Grapevine, server: usize, how: How) -> Ldap {
    let mut ldap = connect(grapevine, server, how).await.unwrap();
    let password = grapevine.password("birrell");
    let bind = ldap.simple_bind(BIRRELL, &password).await.unwrap();
    assert_eq!(bind.rc, 0, "{bind:?}");
    ldap
}

/// Who is found, in no order.
async fn found(ldap: &mut Ldap, filter: &str) -> BTreeSet<String> {
    let searched = ldap.search(BASE, Scope::Subtree, filter, vec!["1.1"]);
    let (entries, _) = searched.await.unwrap().success().unwrap();
    entries
        .into_iter()
        .map(|entry| SearchEntry::construct(entry).dn)
        .collect()
}

async fn code(ldap: &mut Ldap, base: &str, filter: &str) -> u32 {
    let searched = ldap.search(base, Scope::Subtree, filter, vec!["1.1"]);
    searched.await.unwrap().1.rc
}

/// Twenty people, `inner^` of the even ones, and `outer^` of `inner^` and birrell.
async fn peopled(grapevine: &Grapevine) {
    let rpc = channel(grapevine, 0);
    let registrar = || by_password("registrar", &grapevine.password("registrar"));
    let name = |simple: &str| -> Name { format!("{simple}@pa.example").parse().unwrap() };
    let mut requests = Vec::new();
    for n in 0..20 {
        requests.push(Request::IndividualCreate {
            name: name(&format!("p{n}")),
            password: None,
            sites: Vec::new(),
        });
    }
    for group in ["inner^", "outer^"] {
        requests.push(Request::GroupCreate {
            name: name(group),
            remark: String::new(),
            owners: vec![grapevine_model::Member::Name(name("registrar"))],
        });
    }
    let mut add = |group: &str, member: &str| {
        requests.push(Request::Change {
            name: name(group),
            change: EntryChange::ListAdd(
                GroupList::Members,
                grapevine_model::Member::Name(name(member)),
            ),
        });
    };
    for n in (0..20).step_by(2) {
        add("inner^", &format!("p{n}"));
    }
    add("outer^", "inner^");
    add("outer^", "birrell");
    for request in requests {
        let done = call(&rpc, registrar(), request).await;
        assert!(matches!(done, Ok(Reply::Written(_))), "{done:?}");
    }
}

async fn wait_until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let limit = tokio::time::Instant::now() + crate::grapevine::LIMIT;
    while !is().await {
        assert!(tokio::time::Instant::now() < limit, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn asks_everything(grapevine: &Grapevine, server: usize, how: How) {
    let mut ldap = bound(grapevine, server, how).await;
    // Nested groups, from the group and from the person.
    let mut even: BTreeSet<String> = (0..20)
        .step_by(2)
        .map(|n| format!("uid=p{n},{BASE}"))
        .collect();
    assert_eq!(found(&mut ldap, &format!("(memberOf={INNER})")).await, even);
    let of_p2 = found(&mut ldap, &format!("(member=uid=p2,{BASE})")).await;
    assert_eq!(of_p2, [INNER, OUTER].map(str::to_owned).into());
    even.extend([BIRRELL, INNER].map(str::to_owned));
    assert_eq!(found(&mut ldap, &format!("(memberOf={OUTER})")).await, even);
    let both = format!("(&(objectClass=posixAccount)(memberOf={OUTER})(!(uid=birrell)))");
    assert_eq!(found(&mut ldap, &both).await.len(), 10);
    for (who, rc) in [(BIRRELL, 6), (NEEDHAM, 5)] {
        let compared = ldap.compare(OUTER, "member", who).await.unwrap();
        assert_eq!(compared.0.rc, rc, "{who}");
    }
    // Pages, each asked for by the client itself.
    let adapters: Vec<Box<dyn Adapter<_, _>>> =
        vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(3))];
    let mut stream = ldap
        .streaming_search_with(
            adapters,
            BASE,
            Scope::Subtree,
            "(objectClass=inetOrgPerson)",
            vec!["uid", "mail"],
        )
        .await
        .unwrap();
    let mut people = Vec::new();
    while let Some(entry) = stream.next().await.unwrap() {
        let entry = SearchEntry::construct(entry);
        let uid = &entry.attrs["uid"][0];
        assert!(entry.attrs["mail"].contains(&format!("{uid}@pa.example")));
        people.push(uid.clone());
    }
    assert_eq!(stream.finish().await.rc, 0);
    let different: BTreeSet<&String> = people.iter().collect();
    assert_eq!((people.len(), different.len()), (23, 23), "{people:?}");
    // The schema, where the root says that it is.
    let root = ldap.search("", Scope::Base, "(objectClass=*)", vec!["*", "+"]);
    let (root, _) = root.await.unwrap().success().unwrap();
    let root = SearchEntry::construct(root.into_iter().next().unwrap());
    let schema = &root.attrs["subschemaSubentry"][0];
    let schema = ldap.search(schema, Scope::Base, "(objectClass=subschema)", vec!["+"]);
    let (schema, _) = schema.await.unwrap().success().unwrap();
    let schema = SearchEntry::construct(schema.into_iter().next().unwrap());
    assert!(schema.attrs["attributeTypes"].len() > 20);
    ldap.unbind().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_crate_searches_compares_and_pages_over_both_kinds_of_tls_with_a_server_killed()
{
    let grapevine = Grapevine::up(2);
    peopled(&grapevine).await;
    wait_until("the groups at the other server", || async {
        let mut ldap = bound(&grapevine, 1, How::Tls).await;
        found(&mut ldap, &format!("(memberOf={OUTER})")).await.len() == 12
    })
    .await;
    for server in [0, 1] {
        for how in [How::StartTls, How::Tls] {
            asks_everything(&grapevine, server, how).await;
        }
    }
    grapevine.kill(0);
    assert!(connect(&grapevine, 0, How::Tls).await.is_err());
    for how in [How::StartTls, How::Tls] {
        asks_everything(&grapevine, 1, how).await;
    }
    grapevine.expect_no_errors();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_or_beyond_a_limit_has_its_code_and_the_connection_goes_on() {
    let grapevine = Grapevine::up(1);
    let mut clear = connect(&grapevine, 0, How::Clear).await.unwrap();
    let password = grapevine.password("birrell");
    let bind = clear.simple_bind(BIRRELL, &password).await.unwrap();
    assert_eq!(bind.rc, CONFIDENTIALITY);
    let mut ldap = bound(&grapevine, 0, How::StartTls).await;
    for base in ["birrell", "uid=\\zz,dc=pa", "=x,dc=pa", "uid=a,,dc=pa"] {
        assert_eq!(code(&mut ldap, base, "(uid=a)").await, INVALID_DN, "{base}");
    }
    let long = format!("uid={},{BASE}", "x".repeat(3_000));
    assert_eq!(code(&mut ldap, &long, "(uid=a)").await, INVALID_DN);
    let wide = format!("(|{})", "(uid=a)".repeat(1_001));
    assert_eq!(code(&mut ldap, BASE, &wide).await, ADMIN_LIMIT);
    let deep = format!("{}(uid=a){}", "(!".repeat(40), ")".repeat(40));
    assert_eq!(code(&mut ldap, BASE, &deep).await, ADMIN_LIMIT);
    let many = format!("(uid={}*)", "*a".repeat(17));
    assert_eq!(code(&mut ldap, BASE, &many).await, PROTOCOL_ERROR);
    assert_eq!(code(&mut ldap, "", "(uid=a)").await, UNWILLING);
    let deleted = ldap.delete(BIRRELL).await.unwrap();
    assert_eq!(deleted.rc, UNWILLING);
    // None of it did any harm.
    assert_eq!(found(&mut ldap, "(uid=birrell)").await.len(), 1);
    grapevine.expect_no_errors();
}

/// The code of a bind, on a connection of its own.
async fn bind(grapevine: &Grapevine, server: usize, who: &str, password: &str) -> u32 {
    let mut ldap = connect(grapevine, server, How::Tls).await.unwrap();
    ldap.simple_bind(who, password).await.unwrap().rc
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guesses_at_the_directory_count_at_the_mail_doors_and_theirs_here() {
    let grapevine = Arc::new(Grapevine::up(2));
    let (birrell, needham) = (grapevine.password("birrell"), grapevine.password("needham"));
    assert_eq!(bind(&grapevine, 1, BIRRELL, &birrell).await, 0);
    let smtp = |server, who: &'static str, password: String| {
        let grapevine = Arc::clone(&grapevine);
        tokio::task::spawn_blocking(move || {
            Smtp::stranger(&grapevine, server)
                .log_in(who, &password)
                .code
        })
    };
    // Six at the directories and four by mail: ten in all.
    for n in 0..6 {
        let wrong = format!("guess {n}");
        let said = bind(&grapevine, n % 2, BIRRELL, &wrong).await;
        assert_eq!(said, CREDENTIALS);
    }
    for n in 6..10 {
        let said = smtp(n % 2, "birrell@pa.example", format!("guess {n}")).await;
        assert_eq!(said.unwrap(), 535);
    }
    for server in 0..2 {
        assert_eq!(
            bind(&grapevine, server, BIRRELL, &birrell).await,
            CREDENTIALS
        );
        let said = smtp(server, "birrell@pa.example", birrell.clone()).await;
        assert_eq!(said.unwrap(), 535);
    }
    let rpc = channel(&grapevine, 0);
    let refused = call(&rpc, by_password("birrell", &birrell), show("birrell")).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::NotAuthenticated);
    // Ten at the directory alone shut the mail doors to another one; a third is not touched.
    for n in 0..10 {
        let wrong = format!("guess {n}");
        let said = bind(&grapevine, 0, NEEDHAM, &wrong).await;
        assert_eq!(said, CREDENTIALS);
    }
    let said = smtp(1, "needham@pa.example", needham.clone()).await;
    assert_eq!(said.unwrap(), 535);
    let registrar = grapevine.password("registrar");
    let third = format!("uid=registrar,{BASE}");
    assert_eq!(bind(&grapevine, 1, &third, &registrar).await, 0);
    grapevine.expect_no_errors();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_app_password_reads_the_directory_until_it_is_removed() {
    let grapevine = Arc::new(Grapevine::up(2));
    let rpc = channel(&grapevine, 0);
    let birrell = || by_password("birrell", &grapevine.password("birrell"));
    let who: Name = "birrell@pa.example".parse().unwrap();
    let make = Request::AppPasswordCreate {
        name: who.clone(),
        label: "address book".into(),
        expires_ms: None,
    };
    let (app, id) = match call(&rpc, birrell(), make).await.unwrap() {
        Reply::AppPassword { password, id } => (password, id),
        other => panic!("{other:?}"),
    };
    for server in 0..2 {
        wait_until("the app password at the directory", || async {
            bind(&grapevine, server, BIRRELL, &app.0).await == 0
        })
        .await;
    }
    // Of nobody else, and not in another's place.
    assert_eq!(bind(&grapevine, 0, NEEDHAM, &app.0).await, CREDENTIALS);
    let mut ldap = connect(&grapevine, 1, How::StartTls).await.unwrap();
    ldap.simple_bind(BIRRELL, &app.0).await.unwrap();
    assert_eq!(found(&mut ldap, "(uid=needham)").await.len(), 1);
    // The same one reads mail.
    let mail = {
        let (grapevine, app) = (Arc::clone(&grapevine), app.clone());
        tokio::task::spawn_blocking(move || {
            let mut pop = Pop::stranger(&grapevine, 1);
            pop.ok("USER birrell@pa.example");
            pop.command(&format!("PASS {}", app.0))
        })
    };
    assert!(mail.await.unwrap().starts_with("+OK"));
    let remove = Request::Change {
        name: who,
        change: EntryChange::AppPasswordRemove(id),
    };
    call(&rpc, birrell(), remove).await.unwrap();
    for server in 0..2 {
        wait_until("its end at the directory", || async {
            bind(&grapevine, server, BIRRELL, &app.0).await == CREDENTIALS
        })
        .await;
    }
    grapevine.expect_no_errors();
}
