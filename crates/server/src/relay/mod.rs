//! Mail on its way to other systems: finds the machines, speaks with them, and says what became of each recipient.
//!
//! Must answer each order of the core once, whatever happens, and within the limit that the core counts with. Must never hand over a
//! message twice by itself: when a connection breaks after all was said, it is the core that decides what is next.

mod connection;
mod lookup;
mod pool;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::{Destination, HandOver, HandOverOutcome, HandedOver, Input, Reached};
use grapevine_doors::smtp_client::{
    Content, ContentScan, Failure, Fault, Mail, Outcome, Protocol, Rcpt, StartTls,
};

use self::connection::{Connection, Event, Opening};
use self::lookup::{Lookup, NoPlace};
use self::pool::Pool;
use self::tls::ClientTls;
use crate::config::Config;
use crate::core_task::CoreHandle;
use crate::routes::{Target, TlsBegins, TlsPolicy, Way};

/// A hand-over as a whole: 100 MiB at 64 kbit/s take 3 h 40 min. The core counts with more.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(4 * 3_600);
/// Addresses tried for one message: more than that are not all out by chance.
const MOST_PLACES: usize = 8;

/// Hands messages over to other mail systems. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Relayer {
    shared: Arc<Shared>,
}

struct Shared {
    ways: Vec<Way>,
    tls: Vec<ClientTls>,
    lookup: Lookup,
    hostname: String,
    exchanger_port: u16,
    pool: Pool,
}

/// A machine to speak with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Its name, which its certificate is to have.
    name: String,
    at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What came of speaking with one machine.
enum Spoken {
    /// Each recipient has an answer.
    Heard(Vec<Outcome>),
    /// It broke off after all was said: nobody else is asked now.
    Unsure(String),
    /// Another may be better.
    Nothing(Failure),
}

impl Relayer {
    /// One for these routes.
    ///
    /// # Errors
    /// A file of certificates can't be used, or there is no resolver; in one line.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let relay = &config.relay;
        let tls = relay
            .ways
            .iter()
            .map(|way| ClientTls::new(way.tls, way.ca.as_deref()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared: Arc::new(Shared {
                ways: relay.ways.clone(),
                tls,
                lookup: Lookup::new(&relay.dns, config.hostname.clone())?,
                hostname: config.hostname.clone(),
                exchanger_port: relay.exchanger_port,
                pool: Pool::default(),
            }),
        })
    }

    /// Carries out an order, and tells the core.
    pub(crate) async fn hand_over(self, core: CoreHandle, order: HandOver) {
        let id = order.id;
        let (relayer, handle) = (self, core.clone());
        // In a task of its own, so that whatever becomes of it, the core has its answer.
        let task = tokio::spawn(async move {
            let limited = tokio::time::timeout(HAND_OVER_LIMIT, relayer.speak(&handle, &order));
            limited.await.unwrap_or_else(|_| {
                let why = "it took too long".to_owned();
                (Reached::No(why.clone()), later(&order, &why))
            })
        });
        let (reached, outcomes) = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a hand-over to another mail system failed: please report this");
            (Reached::Yes, Vec::new())
        });
        count(&reached, &outcomes);
        let handed = HandedOver {
            id,
            reached,
            outcomes,
        };
        core.input(Input::HandedOver(handed)).await;
    }

    async fn speak(&self, core: &CoreHandle, order: &HandOver) -> (Reached, Vec<HandOverOutcome>) {
        let content = match scan(core, order).await {
            Ok(content) => content,
            Err(why) => return (Reached::Yes, later(order, &why)),
        };
        if content.in_a_circle {
            let why = "it has passed more than a hundred servers: it goes in a circle";
            return (Reached::Yes, refused(order, "5.4.6", why));
        }
        let destination = &order.destination;
        let Some(way) = self.shared.ways.get(destination.route) else {
            return (Reached::Yes, later(order, "its route is gone"));
        };
        let places = match self.places(way, destination).await {
            Ok(places) => places,
            Err(NoPlace::Never { status, why }) => {
                return (Reached::Yes, refused(order, status, &why));
            }
            Err(NoPlace::Later(why)) => return (Reached::No(why.clone()), later(order, &why)),
        };
        let mut last = "no machine could be reached".to_owned();
        for place in places.into_iter().take(MOST_PLACES) {
            match self.speak_with(&place, way, core, order, content).await {
                Spoken::Heard(outcomes) => {
                    let outcomes = outcomes.into_iter();
                    let told = outcomes.map(|one| told(one, &place.name)).collect();
                    return (Reached::Yes, told);
                }
                Spoken::Unsure(why) => return (Reached::Yes, later(order, &why)),
                Spoken::Nothing(failure) => {
                    if failure.fault == Fault::Login {
                        tracing::error!(
                            place = place.name,
                            why = failure.why,
                            "the login of a route is not taken: mail waits; mend login or password_file"
                        );
                    }
                    tracing::debug!(
                        place = place.name,
                        why = failure.why,
                        "a machine was of no use"
                    );
                    last = failure.why;
                }
            }
        }
        (Reached::No(last.clone()), later(order, &last))
    }

    async fn places(&self, way: &Way, destination: &Destination) -> Result<Vec<Place>, NoPlace> {
        let lookup = &self.shared.lookup;
        match (&way.target, &destination.domain) {
            (Target::Exchangers, Some(domain)) => {
                let port = self.shared.exchanger_port;
                lookup.exchangers(domain.as_str(), port).await
            }
            (Target::Smtp { host, port, .. } | Target::Lmtp { host, port }, _) => {
                lookup.host(host, *port).await
            }
            (Target::LmtpSocket(path), _) => Ok(vec![Place {
                name: self.shared.hostname.clone(),
                at: At::Unix(path.clone()),
            }]),
            (Target::Exchangers | Target::Hold, _) => {
                Err(NoPlace::Later("its route leads nowhere".into()))
            }
        }
    }

    async fn speak_with(
        &self,
        place: &Place,
        way: &Way,
        core: &CoreHandle,
        order: &HandOver,
        content: Content,
    ) -> Spoken {
        let key = (order.destination.route, place.clone());
        if let Some(kept) = self.shared.pool.take(&key) {
            // It may have been closed while nobody looked: then a new one is opened.
            match self.converse(kept, key.clone(), core, order, content).await {
                Spoken::Nothing(_) => {}
                spoken @ (Spoken::Heard(_) | Spoken::Unsure(_)) => return spoken,
            }
        }
        let mut starttls = match (&way.target, way.tls) {
            (
                Target::Smtp {
                    begins: TlsBegins::AtOnce,
                    ..
                }
                | Target::LmtpSocket(_),
                _,
            )
            | (_, TlsPolicy::Never) => StartTls::Never,
            (_, TlsPolicy::Offered) => StartTls::IfOffered,
            (_, TlsPolicy::Required) => StartTls::Required,
        };
        loop {
            let opening = self.opening(way, place, order.destination.route, starttls);
            match opening.open().await {
                Ok(connection) => {
                    return self.converse(connection, key, core, order, content).await;
                }
                // Encryption that fails is worth as much as none (RFC 7435 section 4.3).
                Err(failure) if failure.fault == Fault::Tls && starttls == StartTls::IfOffered => {
                    tracing::debug!(
                        place = place.name,
                        why = failure.why,
                        "in clear, as TLS failed"
                    );
                    starttls = StartTls::Never;
                }
                Err(failure) => return Spoken::Nothing(failure),
            }
        }
    }

    fn opening<'a>(
        &'a self,
        way: &'a Way,
        place: &'a Place,
        route: usize,
        starttls: StartTls,
    ) -> Opening<'a> {
        let protocol = match &way.target {
            Target::Lmtp { .. } | Target::LmtpSocket(_) => Protocol::Lmtp,
            Target::Exchangers | Target::Smtp { .. } | Target::Hold => Protocol::Smtp,
        };
        let tls_at_once = matches!(
            way.target,
            Target::Smtp {
                begins: TlsBegins::AtOnce,
                ..
            }
        );
        Opening {
            place,
            protocol,
            hostname: &self.shared.hostname,
            starttls,
            tls_at_once,
            tls: self.shared.tls.get(route),
            login: way.login.as_ref(),
        }
    }

    /// One message over one connection, which is kept for the next if it may be.
    async fn converse(
        &self,
        mut connection: Connection,
        key: (usize, Place),
        core: &CoreHandle,
        order: &HandOver,
        content: Content,
    ) -> Spoken {
        let mut body = match core.read_body(order.message, &[]).await {
            Ok(body) => body.leaving(order.list.as_ref()),
            Err(refusal) => return Spoken::Unsure(refusal.why),
        };
        connection.begin(mail(order, content));
        match connection.next(Some(&mut body)).await {
            Event::Done(outcomes) => {
                match connection.next(None).await {
                    Event::Ready => self.shared.pool.keep(key, connection),
                    Event::Failed(failure) if failure.undecided => {
                        return if failure.said_all {
                            Spoken::Unsure(failure.why)
                        } else {
                            Spoken::Nothing(failure)
                        };
                    }
                    Event::Failed(_) | Event::Done(_) => {}
                }
                Spoken::Heard(outcomes)
            }
            Event::Failed(failure) => Spoken::Nothing(failure),
            Event::Ready => Spoken::Unsure("the conversation lost its thread".into()),
        }
    }
}

async fn scan(core: &CoreHandle, order: &HandOver) -> Result<Content, String> {
    let opened = core.read_body(order.message, &[]).await;
    let body = opened.map_err(|refusal| refusal.why)?;
    let mut body = body.leaving(order.list.as_ref());
    let mut scan = ContentScan::default();
    while let Some(piece) = body.chunk().await.map_err(|refusal| refusal.why)? {
        scan.look(&piece);
    }
    Ok(scan.end())
}

fn mail(order: &HandOver, content: Content) -> Mail {
    let recipients = order.recipients.iter().map(|one| Rcpt {
        name: one.name.clone(),
        notify: one.notify,
        original: one.original.clone(),
    });
    Mail {
        return_path: order.return_path.clone(),
        recipients: recipients.collect(),
        content,
        ret: order.content,
        envelope_id: order.envelope_id.clone(),
    }
}

fn told(outcome: Outcome, by: &str) -> HandOverOutcome {
    match outcome {
        Outcome::Taken { said, reports } => HandOverOutcome::Taken {
            by: by.to_owned(),
            reply: said.to_string(),
            reports,
        },
        Outcome::Refused {
            status,
            said: Some(said),
            ..
        } => HandOverOutcome::Refused {
            status,
            by: Some(by.to_owned()),
            reason: said.to_string(),
        },
        Outcome::Refused {
            status,
            said: None,
            why,
        } => HandOverOutcome::Refused {
            status,
            by: None,
            reason: why,
        },
        Outcome::Later(why) => HandOverOutcome::Later(format!("{by} said: {why}")),
    }
}

fn later(order: &HandOver, why: &str) -> Vec<HandOverOutcome> {
    vec![HandOverOutcome::Later(why.to_owned()); order.recipients.len()]
}

fn refused(order: &HandOver, status: &str, why: &str) -> Vec<HandOverOutcome> {
    let refused = HandOverOutcome::Refused {
        status: status.to_owned(),
        by: None,
        reason: why.to_owned(),
    };
    vec![refused; order.recipients.len()]
}

fn count(reached: &Reached, outcomes: &[HandOverOutcome]) {
    if let Reached::No(_) = reached {
        metrics::counter!("grapevine_relay_unreachable_total").increment(1);
    }
    for outcome in outcomes {
        let outcome = match outcome {
            HandOverOutcome::Taken { .. } => "taken",
            HandOverOutcome::Refused { .. } => "refused",
            HandOverOutcome::Later(_) => "later",
        };
        metrics::counter!("grapevine_relay_recipients_total", "outcome" => outcome).increment(1);
    }
}
