//! The agent's own door for its owner's commands: a socket in its folder, which only that user can open.
//!
//! Must never hold more for a caller than one line, nor tell anything of what no credential has opened.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grapevine_model::MessageId;
use grapevine_user::{KnownName, Outgoing};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::Agent;
use crate::body_source::blocking;
use crate::out::Failure;

/// The socket, in the agent's folder.
pub(crate) const AGENT_SOCKET: &str = "agent.sock";
/// A question has an id or the beginning of a name in it.
const ASK_BYTES_MAX: u64 = 4 * 1024;
/// The list of a full outbox with long envelopes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// What is asked of a running agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ControlAsk {
    /// What waits, and what was refused.
    Outbox,
    /// A refused message is tried again; without an id, all.
    Retry(Option<MessageId>),
    /// A message is thrown away.
    Drop(MessageId),
    /// Names that begin so.
    Names(String),
}

/// What a running agent answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ControlAnswer {
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    /// Messages.
    #[serde(default)]
    pub(crate) messages: Vec<Outgoing>,
    /// Names.
    #[serde(default)]
    pub(crate) names: Vec<serde_json::Value>,
    /// How many messages were changed.
    #[serde(default)]
    pub(crate) changed: usize,
    /// Outboxes that no login has opened since the agent started.
    #[serde(default)]
    pub(crate) locked: usize,
}

/// Opens the socket.
pub(super) fn open(agent: &Arc<Agent>) -> io::Result<()> {
    let path = agent.state.join(AGENT_SOCKET);
    // The folder's lock says that no other agent lives here.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The folder is its owner's alone, so nobody else reaches the socket.
    let listener = UnixListener::bind(&path)?;
    let held = Arc::clone(agent);
    agent.tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = held.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let agent = Arc::clone(&held);
                    held.tasks.spawn(async move {
                        if let Ok(Err(error)) = timeout(LIMIT, serve(&agent, stream)).await {
                            tracing::debug!(%error, "a command went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't take commands; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(())
}

async fn serve(agent: &Arc<Agent>, mut stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(ASK_BYTES_MAX))
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => {
            let agent = Arc::clone(agent);
            blocking(move || carry_out(&agent, ask))
                .await
                .map_err(io::Error::other)?
        }
        Err(error) => Err(io::Error::other(format!("not understood: {error}"))),
    };
    let answer = answer.unwrap_or_else(|error| ControlAnswer {
        refused: Some(error.to_string()),
        ..ControlAnswer::default()
    });
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    write.shutdown().await
}

fn carry_out(agent: &Agent, ask: ControlAsk) -> io::Result<ControlAnswer> {
    let mut answer = ControlAnswer::default();
    for account in agent.accounts() {
        answer.locked += account.locked();
        let mut awake = false;
        for vault in account.open_vaults() {
            match &ask {
                ControlAsk::Outbox => answer.messages.extend(vault.outbox.list()),
                ControlAsk::Retry(Some(id)) => {
                    awake = true;
                    answer.changed += usize::from(vault.outbox.retry(*id)?);
                }
                ControlAsk::Retry(None) => {
                    awake = true;
                    for one in vault.outbox.list() {
                        answer.changed += usize::from(vault.outbox.retry(one.id)?);
                    }
                }
                ControlAsk::Drop(id) => {
                    answer.changed += usize::from(vault.outbox.remove(*id)?);
                }
                ControlAsk::Names(text) => {
                    let names: Vec<KnownName> = vault.names.complete(text);
                    for name in names {
                        answer.names.push(serde_json::to_value(name)?);
                    }
                }
            }
        }
        if awake {
            account.wake.notify_one();
        }
    }
    Ok(answer)
}

/// Asks the agent that runs with this folder.
pub(crate) async fn ask(state: &Path, ask: &ControlAsk) -> Result<ControlAnswer, Failure> {
    let path = state.join(AGENT_SOCKET);
    let not_running = |error: io::Error| {
        Failure::unavailable(format_args!(
            "no agent runs with the folder {} ({error}): start `grapevine agent`",
            state.display()
        ))
    };
    let mut stream = UnixStream::connect(&path).await.map_err(not_running)?;
    let talk = async {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut text = Vec::new();
        (&mut stream)
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut text)
            .await?;
        Ok::<_, io::Error>(text)
    };
    let text = timeout(LIMIT, talk)
        .await
        .map_err(|_| Failure::unavailable("the agent does not answer"))?
        .map_err(Failure::new)?;
    let answer: ControlAnswer = serde_json::from_slice(&text).map_err(Failure::new)?;
    match answer.refused {
        Some(why) => Err(Failure::new(why)),
        None => Ok(answer),
    }
}
