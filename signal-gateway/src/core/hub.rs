//! Which sockets are open on this node, and where a frame goes: a socket here, another node, or
//! nobody.
//!
//! One socket per device. The newest *proven* one wins; a bearer socket never supersedes a proven
//! one. `S` is the driver's way to a socket. A node holds several hubs, each for a part of the
//! devices, so that senders rarely wait for each other.

use beeline_proto::id::NetworkFp;
use std::collections::BTreeMap;

/// Names a socket of this node, unique while the process runs.
pub type SocketId = u64;

/// One open socket.
#[derive(Clone, Debug)]
pub struct Entry<S> {
    /// Which socket.
    pub id: SocketId,
    /// Whether it showed the device's signature.
    pub proven: bool,
    /// The driver's way to it.
    pub sink: S,
}

/// What became of a socket that signed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission<S> {
    /// It is the device's socket now.
    Admitted {
        /// The one it took over from: to be told SUPERSEDED.
        replaced: Option<S>,
    },
    /// A proven socket is open, and this one has only a token.
    ProvenIsOpen,
}

/// The sockets of a part of the devices.
#[derive(Debug)]
pub struct Hub<S> {
    networks: BTreeMap<NetworkFp, BTreeMap<Box<str>, Entry<S>>>,
    len: usize,
}

impl<S> Default for Hub<S> {
    fn default() -> Self {
        Self {
            networks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<S: Clone> Hub<S> {
    /// Makes `entry` the socket of `device`, unless a bearer would take a proven one's place.
    pub fn open(&mut self, network: NetworkFp, device: &str, entry: Entry<S>) -> Admission<S> {
        let devices = self.networks.entry(network).or_default();
        if let Some(current) = devices.get_mut(device) {
            if current.proven && !entry.proven {
                return Admission::ProvenIsOpen;
            }
            let replaced = std::mem::replace(current, entry);
            return Admission::Admitted {
                replaced: Some(replaced.sink),
            };
        }
        devices.insert(device.into(), entry);
        self.len += 1;
        Admission::Admitted { replaced: None }
    }

    /// Forgets socket `id` of `device`; false if another has taken its place.
    pub fn close(&mut self, network: &NetworkFp, device: &str, id: SocketId) -> bool {
        let Some(devices) = self.networks.get_mut(network) else {
            return false;
        };
        if devices.get(device).is_none_or(|entry| entry.id != id) {
            return false;
        }
        devices.remove(device);
        if devices.is_empty() {
            self.networks.remove(network);
        }
        self.len -= 1;
        true
    }

    /// The socket of `device` in `network`, if it is open here. Sockets of other networks do not
    /// exist for the asker.
    pub fn route(&self, network: &NetworkFp, device: &str) -> Option<&S> {
        let entry = self.networks.get(network)?.get(device)?;
        Some(&entry.sink)
    }

    /// A socket of the device opened on another node: ours is over and returned, unless ours is
    /// proven and that one is not.
    pub fn opened_elsewhere(
        &mut self,
        network: &NetworkFp,
        device: &str,
        proven: bool,
    ) -> Option<S> {
        let entry = self.networks.get(network)?.get(device)?;
        if entry.proven && !proven {
            return None;
        }
        let (id, sink) = (entry.id, entry.sink.clone());
        self.close(network, device, id);
        Some(sink)
    }

    /// Every open socket.
    pub fn iter(&self) -> impl Iterator<Item = (&NetworkFp, &str, &Entry<S>)> {
        let each = |(network, devices)| {
            let devices: &BTreeMap<Box<str>, Entry<S>> = devices;
            devices
                .iter()
                .map(move |(device, entry)| (network, &**device, entry))
        };
        self.networks.iter().flat_map(each)
    }

    /// How many sockets are open.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOME: NetworkFp = NetworkFp([1; 32]);
    const OTHER: NetworkFp = NetworkFp([2; 32]);

    fn entry(id: SocketId, proven: bool) -> Entry<SocketId> {
        Entry {
            id,
            proven,
            sink: id,
        }
    }

    #[test]
    fn the_newest_proven_socket_wins() {
        let mut hub = Hub::default();
        let admitted = |replaced| Admission::Admitted { replaced };
        assert_eq!(hub.open(HOME, "a", entry(1, false)), admitted(None));
        assert_eq!(hub.open(HOME, "a", entry(2, false)), admitted(Some(1)));
        assert_eq!(hub.open(HOME, "a", entry(3, true)), admitted(Some(2)));
        assert_eq!(
            hub.open(HOME, "a", entry(4, false)),
            Admission::ProvenIsOpen
        );
        assert_eq!(hub.open(HOME, "a", entry(5, true)), admitted(Some(3)));
        assert_eq!(hub.route(&HOME, "a"), Some(&5));
        assert!(
            !hub.close(&HOME, "a", 3),
            "the replaced one's end changes nothing"
        );
        assert!(hub.close(&HOME, "a", 5));
        assert_eq!(hub.route(&HOME, "a"), None);
        assert!(hub.is_empty() && hub.networks.is_empty());
    }

    #[test]
    fn networks_do_not_see_each_other() {
        let mut hub = Hub::default();
        hub.open(HOME, "a", entry(1, true));
        assert_eq!(hub.route(&OTHER, "a"), None);
        hub.open(OTHER, "a", entry(2, true));
        assert_eq!(
            (hub.route(&HOME, "a"), hub.route(&OTHER, "a")),
            (Some(&1), Some(&2))
        );
        assert_eq!(hub.opened_elsewhere(&HOME, "a", false), None);
        assert_eq!(hub.opened_elsewhere(&HOME, "a", true), Some(1));
        assert_eq!((hub.route(&HOME, "a"), hub.len()), (None, 1));
    }

    proptest! {
        /// Against a list of sockets kept the slow way.
        #[test]
        fn the_hub_agrees_with_a_plain_list(
            steps in proptest::collection::vec((0..3u8, 0..2u8, 0..3u8, any::<bool>()), 0..60),
        ) {
            let mut hub = Hub::default();
            let mut plain: Vec<(u8, u8, SocketId, bool)> = Vec::new();
            for (id, (action, network, device, proven)) in steps.into_iter().enumerate() {
                let fp = NetworkFp([network; 32]);
                let name = device.to_string();
                let at = plain.iter().position(|p| (p.0, p.1) == (network, device));
                if action < 2 {
                    let admission = hub.open(fp, &name, entry(id as u64, proven));
                    match at {
                        Some(at) if plain[at].3 && !proven => {
                            prop_assert_eq!(admission, Admission::ProvenIsOpen);
                        }
                        Some(at) => {
                            let replaced = Some(plain[at].2);
                            prop_assert_eq!(admission, Admission::Admitted { replaced });
                            plain[at] = (network, device, id as u64, proven);
                        }
                        None => plain.push((network, device, id as u64, proven)),
                    }
                } else if let Some(at) = at {
                    prop_assert!(hub.close(&fp, &name, plain[at].2));
                    plain.remove(at);
                }
                prop_assert_eq!(hub.len(), plain.len());
                prop_assert_eq!(hub.iter().count(), plain.len());
                for (network, device, id, _) in &plain {
                    let found = hub.route(&NetworkFp([*network; 32]), &device.to_string());
                    prop_assert_eq!(found, Some(id));
                }
            }
        }
    }
}
