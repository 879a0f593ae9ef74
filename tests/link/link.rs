//! An emulated link between two network namespaces, for kernels without `netem`: a TUN device in
//! each, and a thread for each direction that carries packets across as a [`Shape`] says.
//!
//! The devices are there as long as the [`Link`]. Addresses and routes are the caller's business.

#[path = "carry.rs"]
mod carry;
#[path = "shape.rs"]
mod shape;
#[path = "speed.rs"]
pub mod speed;

use crate::netns::Netns;
use carry::{Carrier, Gate};
pub use shape::{Fate, QUEUE, Shape, Shaper};
use std::io::PipeWriter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use tun_rs::{DeviceBuilder, SyncDevice};

/// Largest packet, bytes, that a link can be told to carry: what IP can say.
pub const MTU_MAX: u16 = 65_535;

/// Bytes of the header before a packet that may be several (`struct virtio_net_hdr`).
const VNET_HEADER: usize = 10;

/// What became of the packets of one direction. Where no packet has a fate of its own, what crosses
/// whole counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Came out at the other end.
    pub passed: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped for lack of room.
    pub full: u64,
    /// Dropped while the link was cut.
    pub cut: u64,
}

/// Two devices and what lies between.
pub struct Link {
    gates: [Arc<Gate>; 2],
    stop: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("counts", &self.counts())
            .finish()
    }
}

impl Link {
    /// Lays a link: the first shape is for what leaves `one`, the second for what leaves `other`.
    /// Both devices are up afterwards and have no address.
    ///
    /// # Panics
    /// Where TUN devices cannot be had, with what to do, and for names that are taken.
    #[must_use]
    pub fn lay(one: (&Netns, &str), other: (&Netns, &str), mtu: u16, shapes: [Shape; 2]) -> Self {
        // What the kernel would cut into packets of one size crosses whole where no packet has a
        // fate of its own: several times as fast.
        let whole = shapes
            .iter()
            .all(|shape| shape.loss == 0.0 && shape.rate.is_none());
        let devices = [open(one, mtu, whole), open(other, mtu, whole)].map(Arc::new);
        let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
        let (stopped, stop) = std::io::pipe().expect("a pipe");
        let mut threads = Vec::new();
        for (index, shape) in shapes.into_iter().enumerate() {
            let carrier = Carrier {
                from: Arc::clone(&devices[index]),
                to: Arc::clone(&devices[1 - index]),
                stop: stopped.try_clone().expect("a file descriptor"),
                gate: Arc::clone(&gates[index]),
                shaper: Shaper::new(shape),
                header: if whole { VNET_HEADER } else { 0 },
            };
            let thread = std::thread::Builder::new().name("link".to_owned());
            let thread = thread.spawn(move || carrier.carry());
            threads.push(thread.expect("a thread"));
        }
        Self {
            gates,
            stop: Some(stop),
            threads,
        }
    }

    /// The same both ways; chance differs.
    ///
    /// # Panics
    /// As [`Self::lay`].
    #[must_use]
    pub fn even(one: (&Netns, &str), other: (&Netns, &str), mtu: u16, shape: Shape) -> Self {
        let seed = shape.seed.wrapping_add(1);
        let back = Shape {
            seed,
            ..shape.clone()
        };
        Self::lay(one, other, mtu, [shape, back])
    }

    /// Cuts the link, or mends it. What is under way then still arrives.
    pub fn cut(&self, cut: bool) {
        for gate in &self.gates {
            gate.cut.store(cut, Ordering::Relaxed);
        }
    }

    /// What became of what left each end so far.
    #[must_use]
    pub fn counts(&self) -> [Count; 2] {
        [self.gates[0].count(), self.gates[1].count()]
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The end of the pipe wakes both threads.
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Opens a device; `whole` ones take and give several packets of one size at once, behind a header
/// that says so.
fn open((space, name): (&Netns, &str), mtu: u16, whole: bool) -> SyncDevice {
    let device = space.inside(|| {
        let device = DeviceBuilder::new().name(name).mtu(mtu);
        let device = device
            .with(|device| _ = device.offload(whole))
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(device)
    });
    device.unwrap_or_else(|error| {
        panic!(
            "no TUN device {name} in {}: {error}; it needs root and /dev/net/tun (in a container: \
             --device /dev/net/tun --cap-add NET_ADMIN)",
            space.name()
        )
    })
}
