//! Mail for names that a registry does not have, where somebody is to get it.

use grapevine_model::{ErrorKind, MessageId, Name, PolicyChange, Reply, Request, Speaker};

use crate::harness::{Cluster, name, server};

fn catch_all(cluster: &mut Cluster, to: Option<&str>) {
    let policy = Request::RegistryPolicy {
        registry: "pa".parse().unwrap(),
        change: PolicyChange::CatchAll(to.map(name)),
    };
    let registrar = cluster.login("registrar@pa");
    cluster.ok("s1", registrar, policy);
    cluster.pass(2_000);
}

fn at_the_door(cluster: &mut Cluster, who: &str) -> Result<Reply, ErrorKind> {
    let check = Request::CheckRecipient { name: name(who) };
    let taken = cluster.ask("s2", Speaker::Anonymous, check);
    taken.map_err(|refusal| refusal.kind)
}

/// What a trace says of each recipient: whom, and what became of it.
fn traced(cluster: &mut Cluster, message: MessageId) -> Vec<(Name, String)> {
    match cluster.ok("s2", Speaker::Operator, Request::Trace { message }) {
        Reply::Trace(trace) => {
            let recipients = trace.recipients.into_iter();
            recipients
                .map(|r| (r.name, format!("{} {}", r.state, r.reason)))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn mail_for_unknown_names_goes_to_whom_the_registry_says_and_the_trace_says_so() {
    let mut cluster = Cluster::new(2);
    assert_eq!(
        at_the_door(&mut cluster, "typo@pa"),
        Err(ErrorKind::NotFound)
    );
    catch_all(&mut cluster, Some("needham@pa"));
    assert_eq!(at_the_door(&mut cluster, "typo@pa"), Ok(Reply::Ok));
    let message = cluster.submit("s2", "birrell@pa", &["typo+x@pa", "needham@pa"], "hello");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message], "once");
    assert!(cluster.reports.is_empty());
    let told = traced(&mut cluster, message);
    let of = told.iter().find(|(who, _)| *who == name("typo+x@pa"));
    let how = &of.unwrap_or_else(|| panic!("{told:?}")).1;
    assert!(how.contains("needham@pa, who gets all such mail"), "{how}");

    catch_all(&mut cluster, None);
    assert_eq!(
        at_the_door(&mut cluster, "typo@pa"),
        Err(ErrorKind::NotFound)
    );
    cluster.submit("s2", "birrell@pa", &["typo@pa"], "again");
    cluster.pass(3_000);
    assert_eq!(cluster.reports.len(), 1);
    cluster.assert_settled();
}

#[test]
fn nothing_is_caught_that_is_a_name_an_owners_address_or_a_members() {
    let mut cluster = Cluster::new(2);
    cluster.individual("left@pa");
    cluster.individual("catcher@pa");
    cluster.group("csl^@pa", &["left@pa", "birrell@pa"], &["needham@pa"]);
    catch_all(&mut cluster, Some("catcher@pa"));
    for own in ["owners-nothing@pa", "Mailer-Daemon@pa", "typo@gv"] {
        assert_eq!(
            at_the_door(&mut cluster, own),
            Err(ErrorKind::NotFound),
            "{own}"
        );
    }
    let to = ["owners-csl^@pa", "owners-nothing@pa"];
    let owners = cluster.submit("s1", "birrell@pa", &to, "to the owners");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [owners]);
    assert_eq!(cluster.reports.len(), 1, "there is no owners-nothing");

    let delete = Request::Delete {
        name: name("left@pa"),
    };
    cluster.ok("s1", Speaker::Operator, delete);
    cluster.pass(2_000);
    cluster.submit("s1", "birrell@pa", &["csl^@pa"], "to the list");
    cluster.pass(5_000);
    assert_eq!(cluster.inbox("s1", "catcher@pa"), [], "no mail of members");
    let direct = cluster.submit("s1", "birrell@pa", &["left@pa"], "to who left");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "catcher@pa"), [direct]);
}

#[test]
fn a_group_of_another_registry_catches_and_its_rule_holds() {
    let mut cluster = Cluster::new(2);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec![server("s2")],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.group("strays@es", &["needham@pa", "birrell@pa"], &[]);
    catch_all(&mut cluster, Some("strays@es"));
    let message = cluster.submit("s1", "birrell@pa", &["typo@pa"], "hello");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
    let rule = grapevine_model::EntryChange::Posting(grapevine_model::PostingRule::Members);
    let change = Request::Change {
        name: name("strays@es"),
        change: rule,
    };
    cluster.ok("s2", Speaker::Operator, change);
    cluster.pass(65_000);
    let taken = at_the_door(&mut cluster, "typo@pa");
    assert_eq!(
        taken,
        Err(ErrorKind::NotAllowed),
        "strangers may not post there"
    );
}

#[test]
fn who_catches_is_of_this_grapevine_and_no_loop_begins_where_it_is_no_more() {
    let mut cluster = Cluster::new(2);
    let registrar = cluster.login("registrar@pa");
    for (wrong, kind) in [
        ("nobody@pa", ErrorKind::NotFound),
        ("ann@elsewhere.example", ErrorKind::Invalid),
    ] {
        let change = PolicyChange::CatchAll(Some(name(wrong)));
        let registry = "pa".parse().unwrap();
        let policy = Request::RegistryPolicy { registry, change };
        assert_eq!(
            cluster.refused("s1", registrar.clone(), policy),
            kind,
            "{wrong}"
        );
    }
    cluster.group("strays@pa", &["needham@pa"], &[]);
    catch_all(&mut cluster, Some("strays@pa"));
    let delete = Request::Delete {
        name: name("strays@pa"),
    };
    cluster.ok("s1", Speaker::Operator, delete);
    cluster.pass(2_000);
    assert_eq!(
        at_the_door(&mut cluster, "typo@pa"),
        Err(ErrorKind::NotFound)
    );
    cluster.submit("s1", "birrell@pa", &["typo@pa"], "hello");
    cluster.pass(3_000);
    let line = &cluster.reports[0].lines[0];
    assert_eq!(line.status, "5.1.1");
    assert!(
        line.reason.contains("strays@pa") && line.reason.contains("no more"),
        "{}",
        line.reason
    );
    cluster.assert_settled();
}
