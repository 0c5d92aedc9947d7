//! `grapevine up`: the newcomer's command.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};

use crate::grapevine::{Grapevine, get, program, stderr, wait_for};

#[test]
fn up_brings_a_pair_to_ready_and_stops_in_order() {
    let mut grapevine = Grapevine::up(2);
    for server in 0..2 {
        let http = grapevine.doors(server)["http"].clone();
        assert_eq!(get(&http, "/healthz").unwrap().0, 200);
        wait_for("ready", || get(&http, "/readyz").unwrap().0 == 200);
        let (status, metrics) = get(&http, "/metrics").unwrap();
        assert_eq!(status, 200);
        for name in [
            "grapevine_store_commits_total",
            "grapevine_disk_free_bytes",
            "grapevine_peer_up",
        ] {
            assert!(metrics.contains(name), "{name} in {metrics}");
        }
    }
    assert!(grapevine.stop().success());
    assert!(!grapevine.logs().contains("did not end in time"));
    grapevine.expect_no_errors();
}

#[test]
fn cluster_json_says_where_everything_is() {
    let grapevine = Grapevine::up(2);
    let cluster = grapevine.cluster();
    let servers = cluster["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    for server in servers {
        for key in ["data", "config"] {
            assert!(fs::metadata(server[key].as_str().unwrap()).is_ok(), "{key}");
        }
        for door in [
            "rpc",
            "http",
            "smtp",
            "submission",
            "submissions",
            "pop3",
            "pop3s",
            "dns",
        ] {
            assert!(
                server["doors"][door]
                    .as_str()
                    .unwrap()
                    .starts_with("127.0.0.1:")
            );
        }
    }
    let individuals = cluster["individuals"].as_array().unwrap();
    assert_eq!(individuals[0]["name"], "registrar@pa.example");
    assert_eq!(individuals[0]["registrar"], true);
    assert_eq!(individuals.len(), 3);
    for individual in individuals {
        let file = individual["password_file"].as_str().unwrap();
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let ca = fs::read_to_string(cluster["ca"].as_str().unwrap()).unwrap();
    assert!(ca.contains("BEGIN CERTIFICATE"));
}

#[test]
fn a_second_up_in_the_same_folder_is_refused() {
    let grapevine = Grapevine::up(1);
    let second = program()
        .args(["up", "--dir"])
        .arg(&grapevine.dir)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another `grapevine up` runs"),
        "{}",
        stderr(&second)
    );
}

#[test]
fn the_next_up_goes_on_from_the_folder_with_one_server_more() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    let (birrell, doors) = {
        let mut first = Grapevine::up_in(&dir, 1);
        let kept = (first.password("birrell"), first.doors(0));
        assert!(first.stop().success());
        kept
    };
    let second = Grapevine::up_in(&dir, 2);
    assert_eq!(second.password("birrell"), birrell);
    assert_eq!(second.doors(0), doors);
    assert_eq!(second.cluster()["servers"].as_array().unwrap().len(), 2);
    second.expect_no_errors();
}

#[test]
fn a_folder_from_before_the_dns_door_gets_one_at_the_next_up_and_keeps_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    assert!(Grapevine::up_in(&dir, 1).stop().success());
    let file = dir.join("s1").join("grapevine.toml");
    let text = fs::read_to_string(&file).unwrap();
    let older = text.lines().filter(|line| !line.starts_with("dns"));
    let older = older.map(|line| format!("{line}\n")).collect::<String>();
    assert_ne!(older, text);
    fs::write(&file, older).unwrap();
    let mut second = Grapevine::up_in(&dir, 1);
    let doors = second.doors(0);
    assert!(doors.contains_key("dns"), "{doors:?}");
    second.expect_no_errors();
    assert!(second.stop().success());
    let third = Grapevine::up_in(&dir, 1);
    assert_eq!(third.doors(0), doors);
}

#[test]
fn a_killed_server_is_not_restarted_and_the_other_stays_ready() {
    let mut grapevine = Grapevine::up(2);
    grapevine.kill(1);
    let (living, dead) = (grapevine.doors(0), grapevine.doors(1));
    assert_eq!(get(&living["http"], "/readyz").unwrap().0, 200);
    assert!(get(&dead["http"], "/healthz").is_none());
    assert!(grapevine.said().contains("kill -9"));
    // What it says can be pasted: the program as it was called.
    let read = format!("{} read --dir ", env!("CARGO_BIN_EXE_grapevine"));
    assert!(grapevine.said().contains(&read), "{}", grapevine.said());
    assert!(grapevine.stop().success());
}

#[test]
fn servers_stop_when_up_itself_is_killed() {
    let grapevine = Grapevine::up(1);
    let server = grapevine.pid(0);
    grapevine.kill_up();
    wait_for("the server to stop", || {
        grapevine.logs().contains("whoever started it is gone")
            && kill(server, None::<Signal>).is_err()
    });
}
