//! Empties the outboxes: whenever a server can be reached and somebody's login is known, what waits is handed in, oldest first.
//!
//! Must never take a message out before a server has said yes or its owner has dealt with it, nor try so often that it is a burden.

use std::sync::{Arc, Weak};
use std::time::Duration;

use grapevine_model::{MessageId, Request, Source};
use grapevine_model::{Reply, Secret};
use grapevine_user::{Delivered, Login};

use super::Agent;
use super::account::{Account, OpenVault, is_saved_login};
use super::refused;
use crate::body_source::blocking;
use crate::cli::{SavedLogin, renew_saved_login, saved_login};

/// After a try in vain the next one comes after this; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest: a laptop that is opened somewhere else sends within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// What is put off for a reason of its own does not hold up the rest; after so many it is everybody's reason.
const PUT_OFF_MAX: usize = 3;
/// The saved login is looked at so often: another command may have renewed it.
const SAVED_LOGIN_LOOK: Duration = Duration::from_secs(60);
/// The names of one's own registry are read again after this.
const NAMES_AFTER_MS: u64 = 60 * 60 * 1000;

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Nothing is left to do.
    Done,
    /// Something is.
    Left,
}

/// Sends what waits in one account, until the agent stops or the account is forgotten.
pub(super) async fn run(agent: Arc<Agent>, account: Weak<Account>) {
    let mut pause = LONGEST_PAUSE;
    loop {
        let Some(held) = account.upgrade() else {
            return;
        };
        tokio::select! {
            () = agent.stop.cancelled() => return save_names(held).await,
            () = held.wake.notified() => pause = FIRST_PAUSE,
            () = tokio::time::sleep(pause) => {}
        }
        pause = match tokio::select! {
            () = agent.stop.cancelled() => return save_names(held).await,
            round = round(&agent, &held) => round,
        } {
            Round::Done => LONGEST_PAUSE,
            Round::Left => (pause * 2).min(LONGEST_PAUSE),
        };
    }
}

async fn round(agent: &Agent, account: &Arc<Account>) -> Round {
    let vaults = account.open_vaults();
    let Some(login) = account.login() else {
        return match vaults.iter().any(|vault| vault.outbox.has_work()) {
            true => Round::Left,
            false => Round::Done,
        };
    };
    let user = agent.user.with_login(Some(login.clone()));
    let mut left = Round::Done;
    for vault in &vaults {
        if vault.outbox.has_work() && send(&user, account, vault, &login).await == Round::Left {
            left = Round::Left;
        }
    }
    if let (Round::Done, Some(vault)) = (left, vaults.last()) {
        keep_names(&user, account, vault).await;
    }
    left
}

async fn send(
    user: &grapevine_user::GrapevineUser,
    account: &Arc<Account>,
    vault: &OpenVault,
    login: &Login,
) -> Round {
    let mut put_off: Vec<MessageId> = Vec::new();
    loop {
        match vault.outbox.deliver_next(user, &put_off).await {
            Ok(Delivered::Accepted(message)) => {
                tracing::info!(%message, "sent from the outbox");
            }
            Ok(Delivered::Refused(message, refusal)) => {
                tracing::warn!(%message, %refusal, "the servers refuse a message of the outbox; `grapevine agent outbox` lists it");
            }
            Ok(Delivered::Unreachable(why)) => {
                tracing::debug!(why, "a message stays in the outbox");
                let waiting = vault.outbox.list().into_iter().find(|one| {
                    matches!(one.state, grapevine_user::OutgoingState::Waiting { .. })
                        && !put_off.contains(&one.id)
                });
                match waiting {
                    Some(waiting) if put_off.len() + 1 < PUT_OFF_MAX => put_off.push(waiting.id),
                    _ => return Round::Left,
                }
            }
            Ok(Delivered::LoginRefused(why)) => {
                tracing::warn!(name = %account.name(), why, "the outbox waits for a login that is right");
                let (account, password) = (Arc::clone(account), login.password.clone());
                // What is refused is told by the next login too.
                let _ = blocking(move || account.refused(&password)).await;
                return Round::Left;
            }
            Ok(Delivered::Nothing) => break,
            Err(error) => {
                tracing::error!(%error, "the outbox can't be written: look at its disk");
                return Round::Left;
            }
        }
    }
    let told = refused::tell(user, &vault.outbox).await;
    match told && put_off.is_empty() {
        true => Round::Done,
        false => Round::Left,
    }
}

/// Reads the names of one's own registry now and then, and writes down what is new.
async fn keep_names(
    user: &grapevine_user::GrapevineUser,
    account: &Arc<Account>,
    vault: &OpenVault,
) {
    let registry = account.name().registry();
    let known = vault.names.as_of_ms(registry);
    let is_old = known
        .is_none_or(|as_of_ms| crate::clock::wall_ms().saturating_sub(as_of_ms) > NAMES_AFTER_MS);
    if is_old && let Err(refusal) = vault.names.refresh(user, registry).await {
        tracing::debug!(%refusal, "the names are not read now");
    }
    save_names(Arc::clone(account)).await;
}

async fn save_names(account: Arc<Account>) {
    let saved = blocking(move || {
        let vaults = account.open_vaults();
        vaults.iter().try_for_each(|vault| vault.names.save())
    });
    if let Ok(Err(error)) = saved.await {
        tracing::warn!(%error, "names can't be remembered");
    }
}

/// Uses the login that `grapevine login` has saved, if there is one: to send what waits when no mail program has logged in yet.
pub(super) async fn use_saved_login(agent: Arc<Agent>) {
    let mut used: Option<Secret> = None;
    loop {
        if let Some(saved) = saved_login()
            && used.as_ref() != Some(&saved.ticket)
            && use_it(&agent, &saved).await
        {
            used = Some(saved.ticket);
        }
        tokio::select! {
            () = agent.stop.cancelled() => return,
            () = tokio::time::sleep(SAVED_LOGIN_LOOK) => {}
        }
    }
}

/// Says whether a server has looked at it.
async fn use_it(agent: &Arc<Agent>, saved: &SavedLogin) -> bool {
    let Ok(account) = agent.account(&saved.name) else {
        return false;
    };
    let login = Login {
        name: saved.name.clone(),
        password: saved.ticket.clone(),
    };
    debug_assert!(is_saved_login(&login.password));
    let opened = {
        let (account, ticket) = (Arc::clone(&account), saved.ticket.clone());
        blocking(move || account.was_right(&ticket).is_some()).await
    };
    if opened == Ok(true) {
        tracing::info!(name = %saved.name, "the saved login opens the outbox");
    }
    let user = agent.user.with_login(Some(login));
    let request = Request::Authenticate {
        name: saved.name.clone(),
        password: saved.ticket.clone(),
        source: Source::Unknown,
    };
    match agent.user.call(request).await {
        Ok(Reply::Authenticated(who)) => {
            let ticket = saved.ticket.clone();
            let learned = blocking(move || account.learned(&ticket, &who)).await;
            if let Ok(Err(error)) = learned {
                tracing::error!(%error, "the agent's folder can't be used");
            }
            renew_saved_login(&user).await;
            true
        }
        Ok(_) => true,
        Err(refusal) if super::backend::is_unreachable(&refusal) => false,
        Err(refusal) => {
            tracing::warn!(%refusal, "the saved login is not taken any more: log in again with `grapevine login`");
            let ticket = saved.ticket.clone();
            let _ = blocking(move || account.refused(&ticket)).await;
            true
        }
    }
}
