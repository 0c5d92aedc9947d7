//! Ordinary mail programs at the doors, with a fake server behind them: what the whole server is asked too (`tests/it`).

use grapevine_model::Door;

use super::client::Doors;
use super::fake::PASSWORD;

#[path = "../../tests/it/mail_clients.rs"]
mod mail_clients;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_mail_programs_send_and_fetch_the_same_bytes() {
    let doors = Doors::open().await;
    let dir = tempfile::tempdir().unwrap();
    let site = mail_clients::Site {
        submission: doors.port(Door::Submission),
        submissions: doors.port(Door::Submissions),
        pop3: doors.port(Door::Pop3),
        pop3s: doors.port(Door::Pop3s),
        ca: doors.fake.dir().join("ca.pem"),
        name: "birrell@pa.example".into(),
        password: PASSWORD.into(),
        dir: dir.path().to_owned(),
    };
    tokio::task::spawn_blocking(move || {
        let sent = mail_clients::all_programs_send(&site);
        mail_clients::all_programs_fetch(&site, &sent);
    })
    .await
    .unwrap();
}
