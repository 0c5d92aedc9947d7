//! The probes: `/healthz` (alive), `/readyz` (has its registries), `/metrics`.
//!
//! Must never say ready before the server has fetched what it is to hold, nor let a scrape cost more
//! than one look at the core's status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use grapevine_model::{Reply, Request, ServerStatus, Speaker};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Mutex;

use crate::core_task::CoreHandle;

/// A status is asked for again after this, however many ask.
const STATUS_FRESH: Duration = Duration::from_millis(250);
/// A core that does not answer within this is not ready for anybody.
const STATUS_LIMIT: Duration = Duration::from_secs(5);

/// What the probes show.
pub(crate) struct Probes {
    core: CoreHandle,
    prometheus: PrometheusHandle,
    last: Mutex<Option<(Instant, Arc<ServerStatus>)>>,
}

impl Probes {
    /// Probes of this server.
    pub(crate) fn new(core: CoreHandle, prometheus: PrometheusHandle) -> Self {
        Self {
            core,
            prometheus,
            last: Mutex::new(None),
        }
    }

    /// Their routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
    }

    async fn status(&self) -> Result<Arc<ServerStatus>, String> {
        let mut last = self.last.lock().await;
        if let Some((asked, status)) = last.as_ref()
            && asked.elapsed() < STATUS_FRESH
        {
            return Ok(Arc::clone(status));
        }
        let asking = self.core.request(Speaker::Operator, Request::Status);
        match tokio::time::timeout(STATUS_LIMIT, asking).await {
            Ok(Ok(Reply::Status(status))) => {
                let status = Arc::<ServerStatus>::from(status);
                *last = Some((Instant::now(), Arc::clone(&status)));
                Ok(status)
            }
            Ok(Ok(_)) => Err("the core gave another answer than its status".to_owned()),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(_) => Err("the core does not answer".to_owned()),
        }
    }

    /// Copies what is not counted as it happens.
    fn gather(&self, status: Option<&ServerStatus>) {
        let store = self.core.store();
        let stats = store.stats().read();
        metrics::counter!("grapevine_store_commits_total").absolute(stats.commits);
        metrics::counter!("grapevine_store_failed_commits_total").absolute(stats.failed_commits);
        metrics::counter!("grapevine_store_batches_total").absolute(stats.batches);
        metrics::counter!("grapevine_store_syncs_total").absolute(stats.syncs);
        metrics::counter!("grapevine_store_written_bytes_total").absolute(stats.written_bytes);
        metrics::counter!("grapevine_store_sync_microseconds_total").absolute(stats.sync_time_us);
        if let Ok(free_bytes) = store.free_bytes() {
            gauge("grapevine_disk_free_bytes", free_bytes);
        }
        gauge("grapevine_core_inputs_waiting", self.core.waiting() as u64);
        let Some(status) = status else { return };
        let queue = &status.queue;
        gauge("grapevine_queue_messages", queue.messages);
        gauge("grapevine_queue_recipients", queue.recipients);
        gauge("grapevine_queue_oldest_milliseconds", queue.oldest_ms);
        gauge("grapevine_queue_without_deputy", queue.without_deputy);
        gauge("grapevine_deputy_for_messages", queue.deputy_for);
        gauge("grapevine_dead_letters", queue.dead_letters);
        gauge("grapevine_mailboxes", status.mailboxes);
        let storage = &status.storage;
        gauge("grapevine_mail_octets", storage.mail.octets);
        gauge("grapevine_mail_messages", storage.mail.messages);
        gauge("grapevine_mailboxes_full", storage.full_mailboxes);
        metrics::counter!("grapevine_mailbox_uids_reissued_total").absolute(storage.uids_reissued);
        gauge("grapevine_retained_octets", storage.retained.octets);
        gauge("grapevine_retained_messages", storage.retained.messages);
        gauge("grapevine_archived_octets", storage.archived.octets);
        gauge("grapevine_archived_messages", storage.archived.messages);
        gauge(
            "grapevine_disk_nearly_full",
            u64::from(storage.disk_nearly_full),
        );
        gauge(
            "grapevine_registries_fetching",
            status.fetching.len() as u64,
        );
        gauge("grapevine_tombstones_kept", status.tombstones.kept);
        metrics::counter!("grapevine_tombstones_reaped_total").absolute(status.tombstones.reaped);
        metrics::counter!("grapevine_spaces_refreshed_total").absolute(status.tombstones.refreshed);
        gauge("grapevine_alarms", status.alarms.len() as u64);
        let compare = &status.compare;
        metrics::counter!("grapevine_compared_total").absolute(compare.compared);
        metrics::counter!("grapevine_cells_differed_total").absolute(compare.differed);
        metrics::counter!("grapevine_cells_healed_total").absolute(compare.healed);
        metrics::counter!("grapevine_rows_rebuilt_total").absolute(compare.rebuilt);
        gauge("grapevine_updates_quarantined", compare.quarantined);
        for peer in &status.peers {
            let up = if peer.up { 1.0 } else { 0.0 };
            metrics::gauge!("grapevine_peer_up", "server" => peer.server.to_string()).set(up);
            metrics::gauge!("grapevine_peer_spaces_behind", "server" => peer.server.to_string())
                .set(peer.behind as f64);
        }
    }
}

async fn readyz(State(http): State<Arc<Probes>>) -> (StatusCode, String) {
    match http.status().await {
        Ok(status) if status.fetching.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
        Ok(status) => {
            let names: Vec<_> = status.fetching.iter().map(ToString::to_string).collect();
            let text = format!("fetching its registries: {}\n", names.join(", "));
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(http): State<Arc<Probes>>) -> impl IntoResponse {
    let status = http.status().await.ok();
    http.gather(status.as_deref());
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, http.prometheus.render())
}

fn gauge(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}
