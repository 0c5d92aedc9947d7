//! `service register --keep`: a lease renewed as long as the instance is well.
//!
//! Must never renew what is not well, and takes the places back when it is stopped: then they are
//! gone at once, and not only when the lease ends.

use std::process::Stdio;
use std::time::Duration;

use grapevine_model::{EntryChange, ErrorKind, Name, Reply, Request, SiteDoor, SiteOffer};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::session::{Session, odd};
use crate::out::{Failure, complain, say};

/// A lease is renewed so often within its time: two renewals may be lost.
const RENEWALS_PER_LEASE: u32 = 3;
/// After a renewal that failed the next try comes soon: another server may answer.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// An instance that is not well is looked at so often: one that starts beside its keeper is found
/// as soon as it is there.
const UNWELL_LOOK: Duration = Duration::from_secs(1);
/// Taking the places back must not keep anybody from stopping.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);

/// How it is known that an instance is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// It is, as long as this runs.
    Assumed,
    /// A command of the shell ends with 0.
    Command(String),
    /// All its places can be connected to.
    Probe,
}

/// A registration that is kept.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) instance: Name,
    pub(super) door: SiteDoor,
    pub(super) sites: Vec<SiteOffer>,
    pub(super) lease: Option<Duration>,
    pub(super) health: Health,
}

impl Keeping {
    /// What registers it, and renews it.
    pub(super) fn registration(&self) -> Request {
        let lease = self.lease.map(|lease| lease.as_millis());
        Request::Change {
            name: self.instance.clone(),
            change: EntryChange::ConnectSites {
                door: self.door.clone(),
                sites: self.sites.clone(),
                lease_ms: lease.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            },
        }
    }

    fn withdrawal(&self) -> Request {
        Request::Change {
            name: self.instance.clone(),
            change: EntryChange::ConnectSites {
                door: self.door.clone(),
                sites: Vec::new(),
                lease_ms: None,
            },
        }
    }

    /// Whether the instance is well; if not, why.
    async fn look(&self, limit: Duration) -> Result<(), String> {
        match &self.health {
            Health::Assumed => Ok(()),
            Health::Command(command) => {
                let running = Command::new("/bin/sh")
                    .arg("-c")
                    .arg(command)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .kill_on_drop(true)
                    .status();
                match tokio::time::timeout(limit, running).await {
                    Ok(Ok(status)) if status.success() => Ok(()),
                    Ok(Ok(status)) => Err(format!("the health command ended with {status}")),
                    Ok(Err(error)) => Err(format!("the health command can't be run: {error}")),
                    Err(_) => Err("the health command did not end in time".to_owned()),
                }
            }
            Health::Probe => {
                for site in &self.sites {
                    if grapevine_user::probe(&site.place).await.is_none() {
                        return Err(format!("{} can't be connected to", site.place));
                    }
                }
                Ok(())
            }
        }
    }
}

/// Renews until stopped.
pub(super) async fn keep(
    session: &Session,
    keeping: &Keeping,
    lease: Duration,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    let renewing = renew(session, keeping, lease / RENEWALS_PER_LEASE);
    tokio::select! {
        ended = renewing => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // If nobody can be told, the lease ends by itself.
    match tokio::time::timeout(GOODBYE_LIMIT, session.change(keeping.withdrawal())).await {
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => complain(format_args!("the lease ends by itself: {}", failure.why)),
        Err(_) => complain("the lease ends by itself: no server answered in time"),
    }
    Ok(())
}

/// What others have been told of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Registered,
    Withdrawn,
}

async fn renew(session: &Session, keeping: &Keeping, every: Duration) -> Result<(), Failure> {
    let mut told = Told::Nothing;
    loop {
        let health = keeping.look(every).await;
        let request = match &health {
            Ok(()) => Some(keeping.registration()),
            // A former registration of this instance may still stand.
            Err(_) => (told != Told::Withdrawn).then(|| keeping.withdrawal()),
        };
        let mut pause = match &health {
            Ok(()) => every,
            Err(_) => every.min(UNWELL_LOOK),
        };
        if let Some(request) = request {
            match session.user.call(request).await {
                Ok(Reply::Written(_)) => {
                    let now = match &health {
                        Ok(()) => Told::Registered,
                        Err(_) => Told::Withdrawn,
                    };
                    if now != told {
                        report(session, keeping, &health);
                    }
                    told = now;
                }
                Ok(_) => return Err(odd()),
                Err(refusal)
                    if matches!(
                        refusal.kind,
                        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal
                    ) =>
                {
                    complain(format_args!("not renewed, trying again: {refusal}"));
                    pause = RETRY_AFTER.min(every);
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn report(session: &Session, keeping: &Keeping, health: &Result<(), String>) {
    let instance = &keeping.instance;
    match (session.json, health) {
        (true, health) => say(serde_json::json!({
            "instance": instance,
            "registered": health.is_ok(),
            "why": health.as_ref().err(),
        })),
        (false, Ok(())) => say(format_args!("{instance} is registered")),
        (false, Err(why)) => say(format_args!("{instance} is withdrawn: {why}")),
    }
}
