//! Services with real processes: registered at one server, found at the other, by command and by
//! DNS; kept, moved, expired, and a server killed in the middle.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::{Person, REGISTRAR};
use crate::grapevine::{Grapevine, LIMIT, stderr, wait_for};

pub(crate) const POOL: &str = "imap@pa.example";

/// A process that the test stops.
struct Kept(Child);

impl Kept {
    fn stop(&mut self, how: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), how).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pool with two instances that have passwords, and may join.
pub(crate) fn pool(person: &Person<'_>) {
    person.done(&["group", "create", POOL, "--as", REGISTRAR]);
    for instance in ["imap1@pa.example", "imap2@pa.example"] {
        person.done(&[
            "individual",
            "create",
            instance,
            "--no-password",
            "--as",
            REGISTRAR,
        ]);
    }
}

pub(crate) fn register<'a>(instance: &'a str, site: &'a str) -> Vec<&'a str> {
    vec![
        "service", "register", POOL, instance, "--site", site, "--as", REGISTRAR,
    ]
}

pub(crate) fn find(
    person: &Person<'_>,
    grapevine: &Grapevine,
    server: usize,
    name: &str,
) -> Output {
    let at = grapevine.doors(server)["rpc"].clone();
    person.run(&["service", "find", name, "--all", "--json", "--server", &at])
}

pub(crate) fn sites(output: &Output) -> Vec<String> {
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let sites = found["sites"].as_array().cloned().unwrap_or_default();
    sites
        .iter()
        .map(|site| site["site"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn dig(grapevine: &Grapevine, server: usize, args: &[&str]) -> String {
    let at: std::net::SocketAddr = grapevine.doors(server)["dns"].parse().unwrap();
    let output = Command::new("dig")
        .args([&format!("@{}", at.ip()), "-p", &at.port().to_string()])
        .args(["+time=5", "+tries=2", "+norecurse"])
        .args(args)
        .output()
        .expect("dig is installed (bind9-dnsutils)");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_service_is_registered_at_one_server_and_found_at_the_other_also_when_one_is_killed() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    let rpc = [0, 1].map(|server| grapevine.doors(server)["rpc"].clone());
    let mut one = register("imap1@pa.example", "127.0.0.1:1143");
    // Who names a server himself names the password's file, too.
    let password = grapevine.dir.join("passwords").join("registrar");
    let password = password.to_str().unwrap();
    one.extend(["--server", &rpc[0], "--password-file", password]);
    person.done(&one);
    for server in [1, 0] {
        let found = find(&person, &grapevine, server, POOL);
        assert_eq!(sites(&found), ["127.0.0.1:1143"], "{}", stderr(&found));
    }
    // Moved: the clients find it there without a new start.
    person.done(&register("imap1@pa.example", "127.0.0.1:2143"));
    assert_eq!(
        person.done(&["service", "find", POOL]).trim(),
        "127.0.0.1:2143"
    );
    let status: Value = person.json(&["service", "find", "maildrop@ms", "--all"]);
    wait_for("both servers to be open for submission", || {
        let all = person.json(&[
            "service",
            "find",
            "maildrop@ms",
            "--all",
            "--door",
            "submission",
        ]);
        all["sites"].as_array().unwrap().len() == 2
    });
    assert!(!status["sites"].as_array().unwrap().is_empty());
    grapevine.kill(0);
    person.done(&register("imap2@pa.example", "127.0.0.1:3143"));
    let found: Value = person.json(&["service", "find", POOL, "--all"]);
    assert_eq!(found["sites"].as_array().unwrap().len(), 2);
    let dns = dig(&grapevine, 1, &["+short", "SRV", "_imap._tcp.pa.example"]);
    wait_for("DNS to show both", || {
        let dns = dig(&grapevine, 1, &["+short", "SRV", "_imap._tcp.pa.example"]);
        dns.contains("2143 imap1.pa.example.") && dns.contains("3143 imap2.pa.example.")
    });
    drop(dns);
    // The dead server is not given any more.
    wait_for("the dead server to be missed", || {
        let all = person.json(&[
            "service",
            "find",
            "maildrop@ms",
            "--all",
            "--door",
            "submission",
        ]);
        all["sites"].as_array().unwrap().len() == 1
    });
    person.done(&[
        "service",
        "deregister",
        POOL,
        "imap2@pa.example",
        "--as",
        REGISTRAR,
    ]);
    let found: Value = person.json(&["service", "find", POOL, "--all"]);
    assert_eq!(found["sites"].as_array().unwrap().len(), 1);
}

#[test]
fn a_lease_ends_unless_it_is_kept_and_what_is_not_well_is_withdrawn() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    let mut short = register("imap1@pa.example", "127.0.0.1:1143");
    short.extend(["--lease", "2s"]);
    person.done(&short);
    assert_eq!(sites(&find(&person, &grapevine, 1, POOL)).len(), 1);
    wait_for("the lease to end", || {
        sites(&find(&person, &grapevine, 1, POOL)).is_empty()
    });
    let nowhere = person.run(&["service", "find", POOL]);
    assert_eq!(nowhere.status.code(), Some(4), "{}", stderr(&nowhere));
    assert!(dig(&grapevine, 0, &["A", "imap1.pa.example"]).contains("NXDOMAIN"));

    // Kept by a probe of a real place.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = listener.local_addr().unwrap().to_string();
    let mut keep = register("imap2@pa.example", &site);
    keep.extend(["--lease", "2s", "--keep", "--probe"]);
    let dir = grapevine.dir.to_str().unwrap();
    let mut child = person
        .command(&[&keep[..], &["--dir", dir]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut kept = Kept(child);
    assert_eq!(
        said.next().unwrap().unwrap(),
        "imap2@pa.example is registered"
    );
    let begun = Instant::now();
    wait_for("some leases' time to pass", || {
        assert_eq!(sites(&find(&person, &grapevine, 0, POOL)), [site.as_str()]);
        begun.elapsed() > Duration::from_secs(5)
    });
    // Its server goes: it is kept through the other.
    grapevine.kill(0);
    let begun = Instant::now();
    wait_for("some more to pass", || {
        begun.elapsed() > Duration::from_secs(4)
    });
    assert_eq!(sites(&find(&person, &grapevine, 1, POOL)), [site.as_str()]);
    let nearest = person.json(&["service", "find", POOL, "--nearest"]);
    assert!(nearest["sites"][0]["connect_us"].as_u64().is_some());
    // The instance itself goes.
    drop(listener);
    let withdrawn = said.next().unwrap().unwrap();
    assert!(withdrawn.contains("is withdrawn"), "{withdrawn}");
    assert!(sites(&find(&person, &grapevine, 1, POOL)).is_empty());
    // It comes back, and is stopped in order.
    let _listener = TcpListener::bind(&site).unwrap();
    assert!(said.next().unwrap().unwrap().contains("is registered"));
    kept.stop(Signal::SIGTERM);
    assert!(sites(&find(&person, &grapevine, 1, POOL)).is_empty());
}

#[test]
fn a_watch_says_what_comes_and_what_goes() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    let dir = grapevine.dir.to_str().unwrap();
    let watch = ["service", "watch", POOL, "--every", "100ms", "--dir", dir];
    let mut child = person
        .command(&watch)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let _kept = Kept(child);
    person.done(&register("imap1@pa.example", "127.0.0.1:1143"));
    let come = said.next().unwrap().unwrap();
    assert!(
        come.starts_with("+ 127.0.0.1:1143 any imap1@pa.example"),
        "{come}"
    );
    person.done(&register("imap1@pa.example", "127.0.0.1:2143"));
    assert!(
        said.next()
            .unwrap()
            .unwrap()
            .starts_with("- 127.0.0.1:1143")
    );
    assert!(
        said.next()
            .unwrap()
            .unwrap()
            .starts_with("+ 127.0.0.1:2143")
    );
}

#[test]
fn a_watch_hears_at_once_also_when_its_server_is_killed_and_when_a_lease_ends() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    let dir = grapevine.dir.to_str().unwrap();
    // So rarely that whatever is said was heard, and not looked up.
    let mut child = person
        .command(&["service", "watch", POOL, "--every", "1h", "--dir", dir])
        .args(["--as", "birrell@pa.example"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let (say, said) = {
        let (say, heard) = std::sync::mpsc::sync_channel(64);
        let reader = std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        (reader, heard)
    };
    let kept = Kept(child);
    let next = || said.recv_timeout(LIMIT).expect("the watch says something");
    person.done(&register("imap1@pa.example", "127.0.0.1:1143"));
    assert!(next().starts_with("+ 127.0.0.1:1143"));
    // One that came into the pool later is heard, too: it is another name.
    let mut short = register("imap2@pa.example", "127.0.0.1:2143");
    short.extend(["--lease", "3s"]);
    person.done(&short);
    assert!(next().starts_with("+ 127.0.0.1:2143"));
    assert!(
        next().starts_with("- 127.0.0.1:2143"),
        "the lease has ended"
    );
    for server in [0, 1] {
        let port = format!("127.0.0.1:{}", 3143 + server);
        if server == 1 {
            grapevine.kill(0);
        }
        person.done(&register("imap2@pa.example", &port));
        let come = next();
        let come = if come.starts_with('-') { next() } else { come };
        assert!(come.starts_with(&format!("+ {port}")), "{come}");
    }
    drop(kept);
    say.join().unwrap();
}

#[test]
fn what_cannot_be_registered_or_asked_is_said_with_its_exit_code() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    let whole = |site: &str, more: &[&str]| {
        let mut args = register("imap1@pa.example", site);
        args.extend(more);
        person.exit(&args)
    };
    for site in [
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1",
        "ho st:1",
        "-a:1",
    ] {
        assert_eq!(whole(site, &[]), 2, "{site}");
    }
    for more in [
        ["--weight", "65536"],
        ["--priority", "-1"],
        ["--lease", "soon"],
        ["--door", "no door"],
    ] {
        assert_eq!(whole("127.0.0.1:1", &more), 2, "{more:?}");
    }
    assert_eq!(whole("127.0.0.1:1", &["--lease", "500ms"]), 1);
    assert_eq!(person.exit(&["service", "find", "nobody@pa.example"]), 4);
    assert_eq!(person.exit(&["service", "find", "x@no.such.registry"]), 4);
    let others = [
        "service",
        "register",
        POOL,
        "imap1@pa.example",
        "--site",
        "127.0.0.1:1",
        "--as",
        "needham@pa.example",
    ];
    assert_eq!(person.exit(&others), 3);
    assert_eq!(
        person.exit(&["service", "find", POOL]),
        4,
        "it had an effect"
    );
    // A registry that only the killed server holds.
    person.done(&[
        "registry",
        "create",
        "far.example",
        "--holder",
        "s1",
        "--as",
        REGISTRAR,
    ]);
    let dir = grapevine.dir.to_str().unwrap();
    let operator = format!("{dir}/s1");
    let made = person.command(&[
        "individual",
        "create",
        "svc@far.example",
        "--no-password",
        "--operator",
        &operator,
    ]);
    let mut made = made;
    let made = made.output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    grapevine.kill(0);
    let unknown = person.run(&["service", "find", "svc@far.example", "--json"]);
    assert_eq!(unknown.status.code(), Some(5), "{}", stderr(&unknown));
    assert!(unknown.stdout.is_empty(), "unknown is not an empty list");
}

#[test]
fn dns_answers_with_authority_and_says_what_it_does_not_know() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    let mut one = register("imap1@pa.example", "127.0.0.1:1143");
    one.extend(["--priority", "7", "--weight", "3", "--lease", "20s"]);
    person.done(&one);
    let two = ["--site", "[2001:db8::7]:143"];
    let mut args = register("imap2@pa.example", "mail.example.org:143");
    args.extend(two);
    person.done(&args);
    person.done(&[
        "individual",
        "remark",
        "imap1@pa.example",
        "first floor",
        "--as",
        REGISTRAR,
    ]);
    wait_for("the zone to show the remark", || {
        dig(&grapevine, 1, &["+short", "TXT", "imap1.pa.example"]).contains("first floor")
    });
    wait_for("both servers to have said that they take mail", || {
        let asked = ["+short", "SRV", "_submission._tcp.maildrop.ms"];
        [0, 1].iter().all(|server| {
            let all = dig(&grapevine, *server, &asked);
            all.contains("s1.gv.") && all.contains("s2.gv.")
        })
    });
    for server in [0, 1] {
        let all = dig(&grapevine, server, &["SRV", "_imap._tcp.pa.example"]);
        assert!(
            all.contains("status: NOERROR") && all.contains(" aa"),
            "{all}"
        );
        assert!(!all.contains("WARNING: Message parser"), "{all}");
        for part in [
            "7 3 1143 imap1.pa.example.",
            "0 0 143 mail.example.org.",
            "0 0 143 imap2.pa.example.",
            "2001:db8::7",
            "127.0.0.1",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert_eq!(
            dig(&grapevine, server, &["+short", "A", "imap1.pa.example"]).trim(),
            "127.0.0.1"
        );
        let over_tcp = dig(
            &grapevine,
            server,
            &["+tcp", "+short", "AAAA", "imap.pa.example"],
        );
        assert_eq!(over_tcp.trim(), "2001:db8::7");
    }
    let ttl = dig(
        &grapevine,
        0,
        &["+noall", "+answer", "A", "imap1.pa.example"],
    );
    let ttl: u32 = ttl.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(ttl <= 20, "the TTL outlives the lease: {ttl}");
    for (args, wanted) in [
        (["SOA", "pa.example"], "hostmaster.pa.example."),
        (["NS", "pa.example"], "s2.gv.pa.example."),
        // Who publishes nothing can't be told from who isn't there.
        (["A", "birrell.pa.example"], "status: NXDOMAIN"),
        (["A", "nobody.pa.example"], "status: NXDOMAIN"),
        (["MX", "imap1.pa.example"], "ANSWER: 0, AUTHORITY: 1"),
        (["A", "example.org"], "status: REFUSED"),
        (["AXFR", "pa.example"], "Transfer failed"),
        (["ANY", "imap1.pa.example"], "RFC8482"),
        (["A", "s1.gv"], "127.0.0.1"),
        (["SRV", "_submission._tcp.maildrop.ms"], "s2.gv."),
    ] {
        let said = dig(&grapevine, 0, &args);
        assert!(said.contains(wanted), "{args:?} gave {said}");
    }
    grapevine.expect_no_errors();
}

#[test]
fn a_resolver_crate_finds_the_service_through_the_other_server_and_garbage_does_no_harm() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    pool(&person);
    person.done(&register("imap1@pa.example", "127.0.0.1:1143"));
    let doors: Vec<std::net::SocketAddr> = [0, 1]
        .map(|server| grapevine.doors(server)["dns"].parse().unwrap())
        .into();
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in 0..300_usize {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 37 + len * 11) as u8).collect();
        noise.send_to(&bytes, doors[1]).unwrap();
    }
    grapevine.kill(0);
    wait_for("the zone to be shown", || {
        dig(&grapevine, 1, &["+short", "SRV", "_imap._tcp.pa.example"]).contains("1143")
    });
    let servers = doors.iter().map(|at| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut how| {
            how.port = at.port();
            how
        });
        NameServerConfig::new(at.ip(), true, connections.into())
    });
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (found, addresses, nobody) = runtime.block_on(async {
        let resolver = hickory_resolver::Resolver::builder_with_config(
            config,
            TokioRuntimeProvider::default(),
        )
        .build()
        .unwrap();
        let services = tokio::time::timeout(LIMIT, resolver.srv_lookup("_imap._tcp.pa.example."));
        let addresses = tokio::time::timeout(LIMIT, resolver.lookup_ip("imap1.pa.example."));
        let nobody = tokio::time::timeout(LIMIT, resolver.lookup_ip("nobody.pa.example."));
        (
            format!("{:?}", services.await.unwrap().unwrap()),
            addresses
                .await
                .unwrap()
                .unwrap()
                .iter()
                .collect::<Vec<IpAddr>>(),
            nobody.await.unwrap().is_err(),
        )
    });
    assert!(found.contains("1143") && found.contains("imap1"), "{found}");
    assert_eq!(addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert!(nobody);
    grapevine.expect_no_errors();
}
