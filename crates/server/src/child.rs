//! A server as a process of its own, as `grapevine up` starts it: logs to a file in its data folder,
//! never restarted, stopped by SIGTERM, and stops by itself when its starter is gone.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use grapevine_model::{Refusal, Reply, Request, ServerName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};

use crate::admin::AdminClient;
use crate::folder::{CONFIG_FILE, DataFolder};
use crate::out::Failure;

/// A server is ready within this, also after a crash with a long journal.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// It is asked this often whether it is.
const READY_PERIOD: Duration = Duration::from_millis(50);
/// An ordered stop takes no longer; then it is killed, which loses nothing that was accepted.
const STOP_LIMIT: Duration = Duration::from_secs(25);
/// This much of the log's end explains why a server did not start.
const LOG_END_BYTES: usize = 2_000;

/// A server's process.
pub(crate) struct Server {
    /// Its name.
    pub(crate) name: ServerName,
    /// Its data folder.
    pub(crate) folder: DataFolder,
    /// Its process id.
    pub(crate) pid: u32,
    child: Child,
    /// While it is open the server runs.
    _stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts the server of a data folder.
    pub(crate) fn start(name: ServerName, folder: DataFolder) -> Result<Self, Failure> {
        let say = |error: io::Error| Failure::new(format_args!("{name} can't be started: {error}"));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log_file(&folder))
            .map_err(say)?;
        let mut child = Command::new(std::env::current_exe().map_err(say)?)
            .arg("serve")
            .arg("--until-stdin-ends")
            .arg("--config")
            .arg(folder.path().join(CONFIG_FILE))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C reaches only `up`, which stops the servers in order.
            .process_group(0)
            .spawn()
            .map_err(say)?;
        let stdin = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            name,
            folder,
            pid,
            child,
            _stdin: stdin,
        })
    }

    /// Waits until the server has its registries.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        let mut admin = self.admin();
        let asking = async {
            loop {
                match admin.call(&Request::Status).await {
                    Ok(Reply::Status(status)) if status.fetching.is_empty() => return,
                    Ok(_) | Err(Refusal { .. }) => tokio::time::sleep(READY_PERIOD).await,
                }
            }
        };
        let outcome = tokio::select! {
            asked = tokio::time::timeout(READY_LIMIT, asking) => asked.is_ok(),
            _ended = self.child.wait() => false,
        };
        if outcome {
            return Ok(());
        }
        Err(Failure::new(format_args!(
            "{} did not become ready; {}",
            self.name,
            log_end(&self.folder)
        )))
    }

    /// The operator's way in.
    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::new(&self.folder.admin_socket())
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => said(status),
            Err(error) => error.to_string(),
        }
    }

    /// Stops the server in order, or kills it when that takes too long.
    pub(crate) async fn stop(mut self) {
        let Ok(None) = self.child.try_wait() else {
            return;
        };
        if let Ok(pid) = i32::try_from(self.pid) {
            // It may have ended this very moment.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .is_err()
        {
            // As above.
            let _ = self.child.kill().await;
        }
    }
}

/// Where a server that `up` started logs to.
pub(crate) fn log_file(folder: &DataFolder) -> PathBuf {
    folder.path().join("log")
}

fn said(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last line of the log that says something, for who looks at the terminal only.
fn log_end(folder: &DataFolder) -> String {
    let path = log_file(folder);
    let last = last_line(&path).unwrap_or_default();
    format!("its log is {} and ends with: {last}", path.display())
}

fn last_line(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let end = bytes.get(bytes.len().saturating_sub(LOG_END_BYTES)..)?;
    let text = String::from_utf8_lossy(end);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(str::to_owned)
}
