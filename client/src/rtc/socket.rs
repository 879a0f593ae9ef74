//! A UDP socket that shows the crate only what [`AddressGate`](super::gate::AddressGate) admits.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::limits::MAX_DROPS_PER_POLL;
use super::shared::LinkShared;

#[derive(Debug)]
pub(super) struct FilteredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    shared: Arc<LinkShared>,
}

impl FilteredSocket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, shared: Arc<LinkShared>) -> Self {
        Self { inner, shared }
    }

    /// Keeps the admitted datagrams of one received message, which may hold several of `stride`
    /// bytes each (the last may be shorter). Afterwards `meta.len` is what is left; the crate
    /// skips a message of length 0.
    fn filter(&self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let stride = meta.stride.max(1);
        let mut gate = self.shared.gate();
        let mut kept = 0;
        let mut at = 0;
        while at < meta.len {
            let end = (at + stride).min(meta.len);
            if gate.admits(meta.addr, &buffer[at..end]) {
                buffer.copy_within(at..end, kept);
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
        kept > 0
    }
}

impl AsyncUdpSocket for FilteredSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.inner.poll_send(cx, transmit);
        if matches!(sent, Poll::Ready(Ok(_))) {
            self.shared
                .gate()
                .sent(transmit.destination, transmit.contents);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..MAX_DROPS_PER_POLL {
            let count = match self.inner.poll_recv(cx, bufs, meta) {
                Poll::Ready(Ok(count)) => count,
                other => return other,
            };
            let mut any = false;
            for (buffer, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(count) {
                any |= self.filter(buffer, meta);
            }
            if any {
                return Poll::Ready(Ok(count));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}
