//! Logs: on stderr, structured, as text for a person or JSON for a program.
//!
//! Never a body, never a password: fields are chosen where an event is logged.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes what is logged while the server runs.
pub(crate) struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Starts logging.
///
/// # Errors
/// The filter can't be read, or logging was started before.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<LogLevel, String> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry
                .with(fmt::layer().with_ansi(colour).with_writer(std::io::stderr))
                .try_init()
        }
    };
    started.map_err(|error| format!("logging could not be started: {error}"))?;
    Ok(LogLevel(handle))
}

impl LogLevel {
    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// The filter can't be read; nothing has changed.
    pub(crate) fn set(&self, filter: &str) -> Result<(), String> {
        self.0
            .reload(parse(filter)?)
            .map_err(|error| format!("the log level could not be changed: {error}"))
    }
}

/// A bare level is meant for this program; its libraries tell stories that are nobody's.
const QUIET_LIBRARIES: &str = "fjall=warn,lsm_tree=warn,h2=warn,hyper=warn,tower=warn,rustls=warn";

/// A filter; checked before a server starts, so that `serve --check` sees it.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, String> {
    let is_level = filter.bytes().all(|byte| byte.is_ascii_alphabetic());
    let whole = if is_level {
        format!("{filter},{QUIET_LIBRARIES}")
    } else {
        filter.to_owned()
    };
    EnvFilter::try_new(whole).map_err(|error| {
        format!("log = {filter:?} can't be read ({error}): write error, warn, info or debug")
    })
}
