//! The side that holds the user key: waits for one new device, shows the digits, takes it in.

use super::DeviceError;
use super::frames::{gone, read, refuse, write};
use super::list::Lists;
use crate::home::Home;
use crate::identity::random;
use crate::join::default_device;
use crate::limits::{DEVICE_CALLS_MAX, DEVICE_LINK_WAIT, DEVICE_REVOCATIONS_MAX, DEVICE_STEP_WAIT};
use beeline_proto::chain::Device;
use beeline_proto::device_link::{DeviceLink, digits};
use beeline_proto::envelope::{Context, Expect, Verified, open, sign};
use beeline_proto::id::{EnvelopeHash, Label, MessageId, sha256};
use beeline_proto::keys::SealPublic;
use beeline_proto::pb::identity::v1 as pb;
use beeline_proto::pb::identity::v1::device_link_frame::Kind;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// Waits for a new device at an address of this machine.
pub struct Holder {
    lists: Lists,
    listener: TcpListener,
    link: DeviceLink,
}

impl Holder {
    /// Opens a port for one new device. `listen` is where; a free port of the address by which
    /// this machine reaches its gateway if `None`.
    ///
    /// # Errors
    /// [`DeviceError`]: not the holder of the user key, no room, no port.
    pub async fn open(home: &Home, listen: Option<SocketAddr>) -> Result<Self, DeviceError> {
        let lists = Lists::of(home)?;
        lists.may_take(None)?;
        let at = match listen {
            Some(at) => at,
            None => SocketAddr::new(source_address(&lists.identity().gateways).await, 0),
        };
        let no = |e: std::io::Error| DeviceError::Connection(format!("cannot listen at {at}: {e}"));
        let listener = TcpListener::bind(at).await.map_err(no)?;
        let link = DeviceLink {
            addr: listener.local_addr().map_err(no)?,
            network: lists.identity().network,
            user: lists.identity().user_public.user_fp(),
            token: random().map_err(DeviceError::Random)?,
        };
        Ok(Self {
            lists,
            listener,
            link,
        })
    }

    /// What the new machine takes.
    pub fn link(&self) -> String {
        self.link.to_text()
    }

    /// Waits for the new device. One call with the link's token is taken; whoever has not got it
    /// is turned away.
    ///
    /// # Errors
    /// [`DeviceError`]; the link is used up then.
    pub async fn wait(self) -> Result<Pending, DeviceError> {
        let deadline = Instant::now() + DEVICE_LINK_WAIT;
        for _ in 0..DEVICE_CALLS_MAX {
            let accepted = timeout_at(deadline, self.listener.accept()).await;
            let late = || DeviceError::NotConfirmed("no device called in ten minutes".to_owned());
            let Ok((mut stream, _)) = accepted.map_err(|_| late())? else {
                continue;
            };
            let Ok(Kind::Call(call)) = read(&mut stream, DEVICE_STEP_WAIT).await else {
                continue;
            };
            if call.token != self.link.token {
                refuse(&mut stream, "this link is not known here").await;
                continue;
            }
            let taken = self.converse(&mut stream, &call.commitment).await;
            return match taken {
                Ok((device, digits)) => Ok(Pending {
                    lists: self.lists,
                    stream,
                    device,
                    digits,
                }),
                Err(error) => {
                    refuse(&mut stream, &error.to_string()).await;
                    Err(error)
                }
            };
        }
        Err(gone("too many callers did not know the link"))
    }

    /// Shows who we are, then hears who calls.
    async fn converse(
        &self,
        stream: &mut TcpStream,
        commitment: &[u8],
    ) -> Result<(Device, String), DeviceError> {
        let commitment = <[u8; 32]>::try_from(commitment)
            .map_err(|_| DeviceError::NotVerified("its commitment is no hash".into()))?;
        let identity = self.lists.identity();
        let id = MessageId(random().map_err(DeviceError::Random)?);
        let context = Context::unordered(identity.network, self.link.user.0, id);
        let offer = pb::DeviceOffer {
            context: Some(context.to_pb()),
            nonce: random::<32>().map_err(DeviceError::Random)?.to_vec(),
            commitment: commitment.to_vec(),
        };
        let offer = sign(&identity.device_key, &offer);
        let hash = EnvelopeHash(sha256(&offer));
        let chain = self.lists.chain().to_bytes();
        write(stream, Kind::Shown(pb::DeviceShown { offer, chain })).await?;
        let Kind::Request(request) = read(stream, DEVICE_STEP_WAIT).await? else {
            return Err(gone("the other device does not keep to the order"));
        };
        if sha256(&request) != commitment {
            let why = "it does not stand by what it committed to: somebody may sit between";
            return Err(DeviceError::NotVerified(why.to_owned()));
        }
        let device = self.check(&request)?;
        let digits = digits(&hash, &EnvelopeHash(commitment));
        Ok((device, digits))
    }

    /// The device that a request is of.
    fn check(&self, request: &[u8]) -> Result<Device, DeviceError> {
        let no = |why: String| DeviceError::NotVerified(why);
        let identity = self.lists.identity();
        let audiences = [self.link.user.0];
        let expect = Expect::new(identity.network, &audiences);
        let request: Verified<pb::DeviceRequest> =
            open(request, &expect).map_err(|e| no(e.to_string()))?;
        let payload = request.payload();
        if payload.nonce.len() != 32 {
            return Err(no("its random number is not 32 bytes".to_owned()));
        }
        let label = match payload.label.as_str() {
            "" => default_device(&identity.user).map_err(|e| DeviceError::Random(e.to_string()))?,
            label => Label::new(label).map_err(|e| no(e.to_string()))?,
        };
        self.lists.may_take(Some(&label))?;
        Ok(Device {
            label,
            device_key: *request.signer(),
            control_key: SealPublic::from_bytes(&payload.control_key)
                .map_err(|e| no(e.to_string()))?,
        })
    }
}

/// A new device that waits for a person's yes.
pub struct Pending {
    lists: Lists,
    stream: TcpStream,
    device: Device,
    digits: String,
}

impl Pending {
    /// The six digits; the new device shows the same.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// What it will be called.
    pub fn device(&self) -> &Label {
        &self.device.label
    }

    /// The digits are the same: the list with the new device, to be put in force.
    ///
    /// # Errors
    /// [`DeviceError`] if the list cannot be made.
    pub fn list(&self) -> Result<Vec<u8>, DeviceError> {
        self.lists.with(&self.device)
    }

    /// The digits differ, or the person has changed its mind.
    pub async fn refuse(mut self, why: &str) {
        refuse(&mut self.stream, why).await;
    }

    /// The list is in force: the new device gets its chain, and says when it has stored it.
    ///
    /// # Errors
    /// [`DeviceError`]: it is gone; the device should be taken off the list again.
    pub async fn hand_over(mut self, list: &[u8]) -> Result<(), DeviceError> {
        let revocations = self.lists.revocations();
        let short = Some(revocations).filter(|list| list.len() <= DEVICE_REVOCATIONS_MAX);
        let taken = pb::DeviceTaken {
            chain: self.lists.chain_with(list),
            revocations: short.map(<[u8]>::to_vec).unwrap_or_default(),
            gateways: self.lists.identity().gateways.clone(),
        };
        write(&mut self.stream, Kind::Taken(taken)).await?;
        match read(&mut self.stream, DEVICE_STEP_WAIT).await? {
            Kind::Stored(_) => Ok(()),
            _ => Err(gone("the other device does not keep to the order")),
        }
    }
}

/// The address by which this machine reaches the first of its gateways that has one; loopback if
/// none has. Connecting a datagram socket sends nothing.
async fn source_address(gateways: &[String]) -> IpAddr {
    for gateway in gateways {
        if let Some(address) = towards(gateway).await {
            return address;
        }
    }
    IpAddr::from([127, 0, 0, 1])
}

async fn towards(origin: &str) -> Option<IpAddr> {
    let (_, rest) = origin.split_once("://")?;
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => rest.split(['/', ':']).next()?,
    };
    let resolved = tokio::net::lookup_host((host, 9)).await.ok()?.next()?;
    let any: SocketAddr = match resolved {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(resolved).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}
