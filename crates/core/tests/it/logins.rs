//! Tickets, app passwords, and proofs that end with the credentials they were made with.

use grapevine_core::{Effect, Input};
use grapevine_model::{
    AppPassword, Authenticated, EntryChange, ErrorKind, Incarnation, Refusal, Reply, Request,
    Secret, Source, Speaker, Ticket,
};

use crate::harness::{Cluster, name, server};

const HOUR_MS: u64 = 3_600_000;

fn authenticate(who: &str, password: &str) -> Request {
    Request::Authenticate {
        name: name(who),
        password: Secret(password.into()),
        source: Source::Local,
    }
}

/// Logs in with the first password.
fn proof(cluster: &mut Cluster, at: &str, who: &str, password: &str) -> Authenticated {
    match cluster.ok(at, Speaker::Anonymous, authenticate(who, password)) {
        Reply::Authenticated(who) => who,
        other => panic!("{other:?}"),
    }
}

fn try_issue(
    cluster: &mut Cluster,
    at: &str,
    who: &Authenticated,
    proved_ms: Option<u64>,
    life_ms: Option<u64>,
) -> Result<Ticket, Refusal> {
    let who = who.clone();
    let (id, answer) = cluster.answer_to(at, |id| Input::Issue {
        id,
        who,
        proved_ms,
        life_ms,
    });
    answer.map(|_| cluster.signed.remove(&id).unwrap())
}

fn issue(cluster: &mut Cluster, at: &str, who: &str) -> Ticket {
    let who = proof(cluster, at, who, who);
    try_issue(cluster, at, &who, None, None).unwrap()
}

fn check(cluster: &mut Cluster, at: &str, ticket: &Ticket) -> Result<Authenticated, ErrorKind> {
    let ticket = ticket.clone();
    let (_, answer) = cluster.answer_to(at, |id| Input::Ticket { id, ticket });
    match answer {
        Ok(Reply::Authenticated(who)) => Ok(who),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.kind),
    }
}

fn set_password(cluster: &mut Cluster, at: &str, who: &str, password: &str) {
    let change = EntryChange::Password(Secret(format!("hash of {password}")));
    let change = Request::Change {
        name: name(who),
        change,
    };
    cluster.ok(at, Speaker::Operator, change);
}

const DEAD: Result<Authenticated, ErrorKind> = Err(ErrorKind::NotAuthenticated);

#[test]
fn a_ticket_of_any_server_serves_at_every_server_until_it_expires() {
    let mut cluster = Cluster::new(3);
    let ticket = issue(&mut cluster, "s2", "birrell@pa");
    assert_eq!(ticket.issuer, server("s2"));
    assert_eq!(ticket.expires_ms - ticket.issued_ms, 8 * HOUR_MS);
    for at in ["s1", "s2", "s3"] {
        let who = check(&mut cluster, at, &ticket).unwrap();
        assert_eq!(who, ticket.who);
    }
    cluster.pass(8 * HOUR_MS - 60_000);
    assert!(check(&mut cluster, "s1", &ticket).is_ok());
    cluster.pass(60_000);
    assert_eq!(check(&mut cluster, "s1", &ticket), DEAD);
}

#[test]
fn a_ticket_asks_for_no_longer_life_than_is_granted_and_none_lives_beyond_thirty_days_by_renewal() {
    let mut cluster = Cluster::new(2);
    let who = proof(&mut cluster, "s1", "birrell@pa", "birrell@pa");
    let short = try_issue(&mut cluster, "s1", &who, None, Some(60_000)).unwrap();
    assert_eq!(short.expires_ms - short.issued_ms, 60_000);
    let long = try_issue(&mut cluster, "s1", &who, None, Some(u64::MAX)).unwrap();
    assert_eq!(long.expires_ms - long.issued_ms, 8 * HOUR_MS);
    let proved_ms = long.proved_ms;
    let almost = 30 * 24 * HOUR_MS - HOUR_MS;
    cluster.now.wall_ms += almost;
    let last = try_issue(&mut cluster, "s1", &who, Some(proved_ms), None).unwrap();
    assert_eq!(last.expires_ms, proved_ms + 30 * 24 * HOUR_MS);
    assert_eq!(last.proved_ms, proved_ms, "renewing is no new proof");
    assert!(check(&mut cluster, "s2", &last).is_ok());
    cluster.now.wall_ms += HOUR_MS;
    assert_eq!(check(&mut cluster, "s2", &last), DEAD);
    let refused = try_issue(&mut cluster, "s1", &who, Some(proved_ms), None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthenticated);
}

#[test]
fn a_ticket_dies_at_every_holder_with_the_password_and_with_the_individual() {
    let mut cluster = Cluster::new(2);
    let old = issue(&mut cluster, "s1", "birrell@pa");
    let other = issue(&mut cluster, "s1", "needham@pa");
    set_password(&mut cluster, "s2", "birrell@pa", "new");
    cluster.pump();
    for at in ["s1", "s2"] {
        assert_eq!(check(&mut cluster, at, &old), DEAD, "{at}");
        assert!(check(&mut cluster, at, &other).is_ok(), "{at}");
    }
    let who = proof(&mut cluster, "s1", "birrell@pa", "new");
    let new = try_issue(&mut cluster, "s1", &who, None, None).unwrap();
    assert!(check(&mut cluster, "s2", &new).is_ok());
    let delete = Request::Delete {
        name: name("birrell@pa"),
    };
    cluster.ok("s1", Speaker::Operator, delete);
    cluster.individual("birrell@pa");
    for at in ["s1", "s2"] {
        for ticket in [&old, &new] {
            assert_eq!(
                check(&mut cluster, at, ticket),
                DEAD,
                "a namesake is another"
            );
        }
    }
}

#[test]
fn a_ticket_of_another_grapevine_is_refused_and_so_is_one_from_the_future() {
    let mut cluster = Cluster::new(1);
    let ticket = issue(&mut cluster, "s1", "birrell@pa");
    let mut foreign = ticket.clone();
    foreign.grapevine = Incarnation(ticket.grapevine.0 ^ 1);
    let (_, refused) = cluster.answer_to("s1", |id| Input::Ticket {
        id,
        ticket: foreign,
    });
    let refusal = refused.unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::NotAuthenticated);
    assert!(refusal.why.contains("another Grapevine"), "{refusal}");
    let mut early = ticket.clone();
    early.issued_ms += HOUR_MS;
    assert_eq!(check(&mut cluster, "s1", &early), DEAD);
    let mut endless = ticket;
    endless.expires_ms = u64::MAX;
    assert_eq!(check(&mut cluster, "s1", &endless), DEAD);
}

/// s1 and s2 hold `pa`; s3 has only `gv`.
fn with_a_server_that_does_not_hold_pa() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.join("s3");
    cluster.pass(5_000);
    cluster
}

#[test]
fn a_server_that_does_not_hold_the_registry_asks_a_holder_and_believes_it_for_seconds() {
    let mut cluster = with_a_server_that_does_not_hold_pa();
    let ticket = issue(&mut cluster, "s3", "birrell@pa");
    assert_eq!(ticket.issuer, server("s3"));
    assert!(check(&mut cluster, "s3", &ticket).is_ok());
    cluster.effects.clear();
    assert!(check(&mut cluster, "s3", &ticket).is_ok());
    let asked = cluster.effects.iter().any(|(_, e)| {
        matches!(e, Effect::Send { message, .. } if matches!(
            message.bare(),
            grapevine_model::PeerMessage::Forward { .. }
        ))
    });
    assert!(!asked, "the holder's word is a moment old");
    set_password(&mut cluster, "s1", "birrell@pa", "new");
    // The stated bound: five seconds.
    cluster.pass(5_000);
    assert_eq!(check(&mut cluster, "s3", &ticket), DEAD);
}

#[test]
fn a_ticket_that_no_holder_can_judge_is_unavailable_and_not_wrong() {
    let mut cluster = with_a_server_that_does_not_hold_pa();
    let ticket = issue(&mut cluster, "s3", "birrell@pa");
    cluster.cut.insert(server("s3"));
    cluster.pass(10_000);
    assert_eq!(
        check(&mut cluster, "s3", &ticket),
        Err(ErrorKind::Unavailable)
    );
}

#[test]
fn a_holder_that_is_cut_off_takes_a_dead_ticket_until_contact_or_expiry() {
    for heal in [true, false] {
        let mut cluster = Cluster::new(3);
        let ticket = issue(&mut cluster, "s1", "birrell@pa");
        cluster.cut.insert(server("s3"));
        cluster.pass(10_000);
        set_password(&mut cluster, "s1", "birrell@pa", "new");
        assert_eq!(check(&mut cluster, "s2", &ticket), DEAD);
        assert!(check(&mut cluster, "s3", &ticket).is_ok(), "it can't know");
        if heal {
            cluster.cut.clear();
            cluster.pass(10_000);
        } else {
            cluster.pass(8 * HOUR_MS);
        }
        assert_eq!(check(&mut cluster, "s3", &ticket), DEAD, "heal: {heal}");
    }
}

#[test]
fn only_servers_vouch_and_clients_do_not_make_what_servers_make() {
    let mut cluster = Cluster::new(2);
    let who = proof(&mut cluster, "s1", "birrell@pa", "birrell@pa");
    let birrell = cluster.login("birrell@pa");
    let vouch = Request::Vouch { who };
    for speaker in [Speaker::Anonymous, birrell.clone()] {
        let kind = cluster.refused("s2", speaker, vouch.clone());
        assert_eq!(kind, ErrorKind::NotAllowed);
    }
    let ticket = Request::TicketCreate { life_ms: None };
    assert_eq!(cluster.refused("s1", birrell, ticket), ErrorKind::Invalid);
}

// App passwords.

const APP: &str = "gvap_phone123_0123456789abcdef";

fn app(expires_ms: Option<u64>) -> AppPassword {
    AppPassword {
        id: "phone123".into(),
        label: "phone".into(),
        digest: *blake3::hash(APP.as_bytes()).as_bytes(),
        created_ms: 0,
        expires_ms,
    }
}

fn change_app(who: &str, change: EntryChange) -> Request {
    Request::Change {
        name: name(who),
        change,
    }
}

#[test]
fn an_app_password_logs_in_without_a_slow_check_and_its_removal_ends_what_it_began() {
    let mut cluster = Cluster::new(2);
    let birrell = cluster.login("birrell@pa");
    let add = change_app("birrell@pa", EntryChange::AppPasswordAdd(app(None)));
    cluster.ok("s1", birrell.clone(), add);
    cluster.effects.clear();
    let proof = proof(&mut cluster, "s2", "birrell@pa", APP);
    assert_eq!(proof.app_password.as_deref(), Some("phone123"));
    for (who, wrong) in [
        ("birrell@pa", "gvap_phone123_0123456789abcdeX"),
        ("birrell@pa", "gvap_other_0123456789abcdef"),
        ("birrell@pa", "gvap_"),
        ("needham@pa", APP),
        ("nobody@pa", APP),
        ("nobody@elsewhere", APP),
    ] {
        let login = authenticate(who, wrong);
        let refusal = cluster.ask("s2", Speaker::Anonymous, login).unwrap_err();
        assert_eq!(refusal.why, "wrong name or password", "{who} {wrong}");
    }
    let slow = |(_, effect): &(_, Effect)| matches!(effect, Effect::Verify { .. });
    assert!(
        !cluster.effects.iter().any(slow),
        "no Argon2 for any of them"
    );
    // It gives no ticket, and outlives a changed password.
    let refused = try_issue(&mut cluster, "s2", &proof, None, None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAllowed);
    set_password(&mut cluster, "s1", "birrell@pa", "new");
    let vouch = Request::Vouch { who: proof };
    let server_2 = Speaker::Server(server("s2"));
    cluster.ok("s2", server_2.clone(), vouch.clone());
    let remove = EntryChange::AppPasswordRemove("phone123".into());
    cluster.ok("s2", birrell, change_app("birrell@pa", remove));
    for at in ["s1", "s2"] {
        let login = authenticate("birrell@pa", APP);
        let kind = cluster.refused(at, Speaker::Anonymous, login);
        assert_eq!(kind, ErrorKind::NotAuthenticated);
        let kind = cluster.refused(at, server_2.clone(), vouch.clone());
        assert_eq!(kind, ErrorKind::NotAuthenticated);
    }
}

#[test]
fn app_passwords_are_added_by_their_owner_alone_listed_without_digests_and_removed_by_registrars() {
    let mut cluster = Cluster::new(2);
    let (birrell, needham) = (cluster.login("birrell@pa"), cluster.login("needham@pa"));
    let registrar = cluster.login("registrar@pa");
    let add = change_app("birrell@pa", EntryChange::AppPasswordAdd(app(None)));
    for stranger in [&needham, &registrar, &Speaker::Anonymous] {
        let kind = cluster.refused("s1", stranger.clone(), add.clone());
        assert_eq!(kind, ErrorKind::NotAllowed);
    }
    cluster.ok("s1", birrell.clone(), add);
    let list = Request::AppPasswords {
        name: name("birrell@pa"),
    };
    for may in [&birrell, &registrar] {
        match cluster.ok("s2", may.clone(), list.clone()) {
            Reply::AppPasswords(list) => assert_eq!(list[0].label, "phone"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        cluster.refused("s2", needham.clone(), list),
        ErrorKind::NotAllowed
    );
    let remove = change_app(
        "birrell@pa",
        EntryChange::AppPasswordRemove("phone123".into()),
    );
    assert_eq!(
        cluster.refused("s1", needham, remove.clone()),
        ErrorKind::NotAllowed
    );
    cluster.ok("s1", registrar, remove);
    let login = authenticate("birrell@pa", APP);
    cluster.refused("s1", Speaker::Anonymous, login);
}

#[test]
fn an_app_password_expires_and_there_are_not_too_many() {
    let mut cluster = Cluster::new(1);
    let birrell = cluster.login("birrell@pa");
    let until = cluster.now.wall_ms + 60_000;
    let add = change_app("birrell@pa", EntryChange::AppPasswordAdd(app(Some(until))));
    cluster.ok("s1", birrell.clone(), add);
    proof(&mut cluster, "s1", "birrell@pa", APP);
    cluster.pass(60_000);
    let login = authenticate("birrell@pa", APP);
    cluster.refused("s1", Speaker::Anonymous, login);
    // The expired one makes room.
    for n in 0..33 {
        let mut more = app(None);
        more.id = format!("id{n}");
        let add = change_app("birrell@pa", EntryChange::AppPasswordAdd(more));
        if n < 32 {
            cluster.ok("s1", birrell.clone(), add);
        } else {
            let kind = cluster.refused("s1", birrell.clone(), add);
            assert_eq!(kind, ErrorKind::TooLarge);
        }
    }
}

#[test]
fn a_login_that_was_being_checked_while_the_password_changed_is_refused() {
    let mut cluster = Cluster::new(1);
    let at = server("s1");
    let id = grapevine_model::RequestId(1 << 40);
    let request = authenticate("birrell@pa", "birrell@pa");
    let now = cluster.now;
    let node = cluster.nodes.get_mut(&at).unwrap();
    node.server.handle(
        now,
        Input::Request {
            id,
            speaker: Speaker::Anonymous,
            request,
            seen: Vec::new(),
        },
    );
    node.server.flush();
    let ticket = std::iter::from_fn(|| node.server.poll_effect())
        .find_map(|effect| match effect {
            Effect::Verify { ticket, .. } => Some(ticket),
            _ => None,
        })
        .unwrap();
    set_password(&mut cluster, "s1", "birrell@pa", "new");
    let verified = Input::Verified {
        ticket,
        right: true,
        rehashed: None,
        scram: None,
    };
    let now = cluster.now;
    cluster
        .nodes
        .get_mut(&at)
        .unwrap()
        .server
        .handle(now, verified);
    cluster.pump();
    let refusal = cluster.replies.remove(&id).unwrap().unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::NotAuthenticated);
}

/// Begins a login and gives the ticket of its slow check.
fn begin_login(cluster: &mut Cluster, at: &str, id: u64, password: &str) -> u64 {
    let request = authenticate("birrell@pa", password);
    let now = cluster.now;
    let node = cluster.nodes.get_mut(&server(at)).unwrap();
    node.server.handle(
        now,
        Input::Request {
            id: grapevine_model::RequestId(id),
            speaker: Speaker::Anonymous,
            request,
            seen: Vec::new(),
        },
    );
    node.server.flush();
    std::iter::from_fn(|| node.server.poll_effect())
        .find_map(|effect| match effect {
            Effect::Verify { ticket, .. } => Some(ticket),
            _ => None,
        })
        .unwrap()
}

fn end_login(cluster: &mut Cluster, at: &str, ticket: u64, rehashed: &str) {
    let now = cluster.now;
    let verified = Input::Verified {
        ticket,
        right: true,
        rehashed: Some(Secret(rehashed.into())),
        scram: None,
    };
    let node = cluster.nodes.get_mut(&server(at)).unwrap();
    node.server.handle(now, verified);
    cluster.pump();
}

#[test]
fn a_password_hashed_anew_leaves_tickets_alive_and_never_beats_a_changed_one() {
    let mut cluster = Cluster::new(2);
    let old = issue(&mut cluster, "s1", "birrell@pa");
    set_password(&mut cluster, "s1", "birrell@pa", "second");
    let who = proof(&mut cluster, "s1", "birrell@pa", "second");
    let ticket = try_issue(&mut cluster, "s1", &who, None, None).unwrap();
    let check_1 = begin_login(&mut cluster, "s1", 1 << 40, "second");
    // The new hash, in this harness, is of another text: so it is seen that it was taken.
    end_login(&mut cluster, "s1", check_1, "hash of rehashed");
    assert!(check(&mut cluster, "s2", &ticket).is_ok());
    assert_eq!(check(&mut cluster, "s2", &old), DEAD);
    proof(&mut cluster, "s2", "birrell@pa", "rehashed");
    // Cut off from each other: one side changes the password, later the other one hashes the old anew.
    cluster.cut.insert(server("s2"));
    cluster.pass(10_000);
    set_password(&mut cluster, "s1", "birrell@pa", "third");
    cluster.pass(10_000);
    let check_2 = begin_login(&mut cluster, "s2", 2 << 40, "rehashed");
    end_login(&mut cluster, "s2", check_2, "hash of rehashed again");
    cluster.cut.clear();
    cluster.pass(10_000);
    for at in ["s1", "s2"] {
        proof(&mut cluster, at, "birrell@pa", "third");
        let login = authenticate("birrell@pa", "rehashed again");
        cluster.refused(at, Speaker::Anonymous, login);
        assert_eq!(check(&mut cluster, at, &ticket), DEAD);
    }
}
