//! Filters: kept in their owner's mailbox, changed at any site, run at the deposit.

use grapevine_model::{
    EntryChange, ErrorKind, MAX_SCRIPTS, Reply, Request, ScriptText, SieveAsk, SieveReply, Speaker,
};

use crate::harness::{Cluster, name, server};

fn ask(ask: SieveAsk) -> Request {
    Request::Sieve {
        name: name("birrell@pa"),
        ask,
    }
}

fn put(script: &str, text: &str) -> Request {
    ask(SieveAsk::Put {
        script: script.parse().unwrap(),
        text: ScriptText::try_from(text.to_owned()).unwrap(),
    })
}

fn activate(script: &str) -> Request {
    ask(SieveAsk::Activate(Some(script.parse().unwrap())))
}

/// The names of the scripts, the active one with a star.
fn scripts(cluster: &mut Cluster, at: &str, speaker: &Speaker) -> Vec<String> {
    match cluster.ok(at, speaker.clone(), ask(SieveAsk::List)) {
        Reply::Sieve(SieveReply::Scripts(views)) => views
            .iter()
            .map(|view| format!("{}{}", view.script, if view.active { "*" } else { "" }))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn text(cluster: &mut Cluster, at: &str, speaker: &Speaker, script: &str) -> String {
    let get = ask(SieveAsk::Get(script.parse().unwrap()));
    match cluster.ok(at, speaker.clone(), get) {
        Reply::Sieve(SieveReply::Text(text)) => text.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_script_put_at_one_site_is_the_same_at_the_other_and_at_a_server_that_is_no_site() {
    let mut cluster = Cluster::new(3);
    let me = cluster.login("birrell@pa");
    let sites = EntryChange::Sites(vec![server("s1"), server("s2")]);
    let change = Request::Change {
        name: name("birrell@pa"),
        change: sites,
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(2_000);
    let Reply::Written(written) = cluster.ok("s3", me.clone(), put("main", "keep;")) else {
        panic!("not written")
    };
    assert_eq!(written.copies, 2, "on two disks before the yes");
    cluster.ok("s2", me.clone(), put("old", "discard;"));
    cluster.ok("s1", me.clone(), activate("main"));
    for at in ["s1", "s2", "s3"] {
        assert_eq!(scripts(&mut cluster, at, &me), ["main*", "old"], "{at}");
        assert_eq!(text(&mut cluster, at, &me, "main"), "keep;", "{at}");
    }
    // Changed on both sides of a partition: the later change stays.
    cluster.part("s1", "s2");
    cluster.pass(5_000);
    cluster.ok("s1", me.clone(), put("main", "stop;"));
    cluster.pass(1_000);
    cluster.ok("s2", me.clone(), put("main", "discard;"));
    cluster.broken.clear();
    cluster.pass(20_000);
    for at in ["s1", "s2"] {
        assert_eq!(text(&mut cluster, at, &me, "main"), "discard;", "{at}");
    }
    cluster.ok(
        "s2",
        me.clone(),
        ask(SieveAsk::Rename {
            script: "main".parse().unwrap(),
            to: "new".parse().unwrap(),
        }),
    );
    assert_eq!(scripts(&mut cluster, "s1", &me), ["new*", "old"]);
}

#[test]
fn scripts_are_changed_by_their_owner_alone_and_within_limits() {
    let mut cluster = Cluster::new(2);
    let me = cluster.login("birrell@pa");
    let other = cluster.login("needham@pa");
    for request in [put("x", "keep;"), ask(SieveAsk::List), activate("x")] {
        assert_eq!(
            cluster.refused("s1", other.clone(), request),
            ErrorKind::NotAllowed
        );
    }
    assert_eq!(
        cluster.refused("s1", me.clone(), activate("none")),
        ErrorKind::NotFound
    );
    for n in 0..MAX_SCRIPTS {
        cluster.ok("s1", me.clone(), put(&format!("n{n}"), "keep;"));
    }
    assert_eq!(
        cluster.refused("s1", me.clone(), put("one too many", "keep;")),
        ErrorKind::TooLarge
    );
    let room = |script: &str, len| {
        ask(SieveAsk::HaveSpace {
            script: script.parse().unwrap(),
            len,
        })
    };
    let fits = Reply::Sieve(SieveReply::Fits);
    assert_eq!(cluster.ok("s2", me.clone(), room("n1", 100)), fits);
    for (script, len) in [("n1", 1 << 20), ("new", 100)] {
        assert_eq!(
            cluster.refused("s2", me.clone(), room(script, len)),
            ErrorKind::TooLarge
        );
    }
    cluster.ok("s1", me.clone(), put("n1", "stop;"));
    cluster.ok("s1", me.clone(), activate("n1"));
    let delete = |script: &str| ask(SieveAsk::Delete(script.parse().unwrap()));
    assert_eq!(
        cluster.refused("s2", me.clone(), delete("n1")),
        ErrorKind::Conflict,
        "the active one stays"
    );
    cluster.ok("s2", me.clone(), ask(SieveAsk::Activate(None)));
    cluster.ok("s2", me.clone(), delete("n1"));
    assert_eq!(
        cluster.refused("s1", me.clone(), delete("n1")),
        ErrorKind::NotFound
    );
    assert_eq!(scripts(&mut cluster, "s1", &me).len(), MAX_SCRIPTS - 1);
    cluster.assert_settled();
}
