//! Tells the registry which sockets are open, so that `online` is true to life: in batches, at most
//! one a second, and a sign of life when nothing changes.

use crate::authority::Identity;
use crate::core::reports::Reports;
use crate::limits::{REPORT_EVERY_MS, REPORT_IDLE_MAX_MS};
use crate::registry_client::RegistryClient;
use crate::switchboard::{SocketWatcher, Switchboard};
use beeline_proto::pb::registry::v1::{ReportSocketsRequest, ReportSocketsResponse};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Changes on their way to the registry.
#[derive(Default)]
pub struct Reporter {
    reports: Mutex<Reports>,
    changed: Notify,
}

impl SocketWatcher for Reporter {
    fn opened(&self, identity: &Identity) {
        self.note(identity, true);
    }

    fn closed(&self, identity: &Identity) {
        self.note(identity, false);
    }
}

impl Reporter {
    fn note(&self, identity: &Identity, open: bool) {
        self.lock()
            .note(&identity.network_label, &identity.device_label, open);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports for ever, as `gateway_id`; the caller drops it to stop.
    pub async fn run(
        &self,
        client: &RegistryClient,
        switchboard: &Switchboard,
        gateway_id: &str,
        epoch: u64,
    ) {
        loop {
            let pause = match self.report(client, switchboard, gateway_id, epoch).await {
                Some(answer) if answer.want_full => {
                    self.lock().want_full();
                    Duration::ZERO
                }
                Some(answer) => {
                    let asked = u64::from(answer.next_report_s) * 1_000;
                    Duration::from_millis(asked.clamp(REPORT_EVERY_MS, REPORT_IDLE_MAX_MS))
                }
                None => {
                    sleep(Duration::from_millis(REPORT_EVERY_MS)).await;
                    continue;
                }
            };
            if self.lock().is_batch_waiting() {
                continue;
            }
            sleep(Duration::from_millis(REPORT_EVERY_MS)).await;
            if self.lock().is_empty() {
                // Whichever comes first; a change noted meanwhile has left its permit.
                let _ = timeout(pause, self.changed.notified()).await;
            }
        }
    }

    /// Sends what still waits, until all is sent or a batch does not arrive.
    pub async fn finish(
        &self,
        client: &RegistryClient,
        switchboard: &Switchboard,
        gateway_id: &str,
        epoch: u64,
    ) {
        while !self.lock().is_empty() {
            if self
                .report(client, switchboard, gateway_id, epoch)
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Sends one batch. `None` if it did not arrive; its changes are pending again.
    pub async fn report(
        &self,
        client: &RegistryClient,
        switchboard: &Switchboard,
        gateway_id: &str,
        epoch: u64,
    ) -> Option<ReportSocketsResponse> {
        if self.lock().is_full_wanted() {
            self.lock().start_full();
            switchboard.replay_opened();
        }
        let changes = self.lock().take();
        let request = ReportSocketsRequest {
            gateway_id: gateway_id.to_owned(),
            epoch,
            changes,
        };
        match client.report_sockets(request.clone()).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(%error, "sockets not reported");
                self.lock().give_back(request.changes);
                None
            }
        }
    }
}

/// A number no other start of this gateway has.
pub fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
