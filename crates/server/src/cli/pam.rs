//! `grapevine pam`: lets programs of this machine ask Grapevine through PAM's `pam_exec`.
//!
//! Fails closed: whatever can't be told, or is not understood, opens nothing. A password goes only to a server whose key was known before; what
//! is wrong with a login is told to the log, never to who tries. System accounts are never opened, whoever has their name in Grapevine.

use std::io::Read as _;
use std::time::Duration;

use grapevine_model::{
    Check, ErrorKind, GroupList, Name, RegistryName, Reply, Request, Secret, Source,
};
use zeroize::Zeroizing;

use super::session::{Session, odd};
use super::{Done, Globals};
use crate::out::{Exit, Failure};

/// An answer after this is none: sshd waits for two minutes, a person for less.
const LIMIT: Duration = Duration::from_secs(30);
/// PAM's own bound on a password (PAM_MAX_RESP_SIZE).
const PASSWORD_BYTES: usize = 512;
/// Accounts below it are the system's own (login.defs).
const FIRST_PERSON: u32 = 1_000;

/// Whom to let in.
#[derive(Debug, clap::Args)]
pub(crate) struct PamArgs {
    /// Only members of this group, also by nested groups; any one where it is given more than once.
    #[arg(long = "group", value_name = "NAME", required = true)]
    groups: Vec<Name>,
    /// Where the people are; the (first) group's registry if it is not given.
    #[arg(long, value_name = "REGISTRY")]
    registry: Option<RegistryName>,
    /// Never open accounts of this machine with a number below this.
    #[arg(long, value_name = "UID", default_value_t = FIRST_PERSON)]
    minimum_uid: u32,
}

/// What PAM asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Is this the password, and may he come in?
    Auth,
    /// May he come in? (Who he is was found out in another way.)
    Account,
}

/// Asks.
pub(super) async fn run(args: PamArgs, globals: &Globals) -> Result<Done, Failure> {
    let asked = match variable("PAM_TYPE")?.as_str() {
        "auth" => Asked::Auth,
        "account" => Asked::Account,
        other => {
            return Err(Failure::usage(format_args!(
                "PAM_TYPE={other}: use it for auth and account, by pam_exec"
            )));
        }
    };
    let user = variable("PAM_USER")?;
    let name = whom(&args, &user)?;
    let password = match asked {
        Asked::Auth => Some(password()?),
        Asked::Account => None,
    };
    match tokio::time::timeout(LIMIT, may_come_in(globals, &args.groups, &name, password)).await {
        Ok(Ok(())) => Ok(Done::Yes),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::unavailable("no server has answered in time")),
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name)
        .map_err(|_| Failure::usage(format_args!("no {name}: this is for PAM's pam_exec to run")))
}

/// The individual that an account of this machine stands for.
fn whom(args: &PamArgs, user: &str) -> Result<Name, Failure> {
    let registry = match (&args.registry, args.groups.first()) {
        (Some(registry), _) => registry.clone(),
        (None, Some(group)) => group.registry().clone(),
        (None, None) => return Err(Failure::usage("give --group")),
    };
    let account = nix::unistd::User::from_name(user).map_err(Failure::new)?;
    if account.is_some_and(|account| account.uid.as_raw() < args.minimum_uid) {
        return Err(refused(format_args!("{user} is an account of the system")));
    }
    Name::new(user, registry).map_err(|why| refused(format_args!("{user:?}: {why}")))
}

/// What pam_exec's expose_authtok puts on stdin: the password and a NUL.
fn password() -> Result<Secret, Failure> {
    // Sized first, so that no copy is left behind by growth.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES + 2));
    std::io::stdin()
        .lock()
        .take(PASSWORD_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::new)?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("the password is no text"))?;
    if text.is_empty() || text.len() >= PASSWORD_BYTES || text.contains('\0') {
        return Err(refused("no password that could be one"));
    }
    Ok(Secret(text.to_owned()))
}

async fn may_come_in(
    globals: &Globals,
    groups: &[Name],
    name: &Name,
    password: Option<Secret>,
) -> Result<(), Failure> {
    let session = Session::open_to_known_servers(globals).await?;
    if let Some(password) = password {
        let request = Request::Authenticate {
            name: name.clone(),
            password,
            source: Source::Unknown,
        };
        match session.user.call(request).await {
            // By an alias one would come into an account that has another's name.
            // It reads mail and the directory, and does nothing else.
            Ok(Reply::Authenticated(who)) if who.app_password.is_some() => {
                return Err(refused(format_args!("{name} came with an app password")));
            }
            Ok(Reply::Authenticated(who)) if who.name == *name => {}
            Ok(Reply::Authenticated(who)) => {
                return Err(refused(format_args!("{name} is an alias of {}", who.name)));
            }
            Ok(_) => return Err(odd()),
            Err(error) => return Err(closed(error.into(), name)),
        }
    }
    let mut unknown = None;
    for group in groups {
        let request = Request::Check {
            group: group.clone(),
            list: GroupList::Members,
            who: name.clone(),
        };
        match session.user.call(request).await {
            Ok(Reply::Check(Check::Yes)) => return Ok(()),
            Ok(Reply::Check(Check::No)) => {}
            Ok(_) => return Err(odd()),
            Err(error) => unknown = Some(closed(error.into(), name)),
        }
    }
    Err(unknown.unwrap_or_else(|| refused(format_args!("{name} is in none of the groups"))))
}

/// A failure, as this command ends: 5 where it can't be told, 3 for every no.
fn closed(failure: Failure, name: &Name) -> Failure {
    match failure.exit {
        Exit::NoSuchName | Exit::NotAllowed => refused(format_args!("{name}: {}", failure.why)),
        Exit::Failed | Exit::Usage | Exit::Unavailable => failure,
    }
}

fn refused(why: impl std::fmt::Display) -> Failure {
    grapevine_model::Refusal::new(ErrorKind::NotAllowed, why.to_string()).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(minimum_uid: u32) -> PamArgs {
        PamArgs {
            groups: vec!["ssh-users@pa.example".parse().unwrap()],
            registry: None,
            minimum_uid,
        }
    }

    #[test]
    fn an_account_of_the_system_is_never_opened() {
        assert_eq!(
            whom(&args(1_000), "root").unwrap_err().exit,
            Exit::NotAllowed
        );
        assert!(whom(&args(0), "root").is_ok());
    }

    #[test]
    fn an_account_stands_for_the_name_in_the_groups_registry() {
        let name = whom(&args(1_000), "no-such-account-here").unwrap();
        assert_eq!(name.to_string(), "no-such-account-here@pa.example");
        assert!(whom(&args(1_000), "../etc/passwd x").is_err());
        assert!(whom(&args(1_000), "a@b").is_err());
    }
}
