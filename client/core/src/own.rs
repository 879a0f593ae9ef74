//! Our own other devices. To all that makes links and seals parcels we are one of our own contacts,
//! kept in memory only. What decides who they are is the newest device list our user key signed,
//! whoever brings it.

use crate::contacts::Contact;
use crate::event::{Event, REMOVED};
use crate::input::{CommandId, SocketId};
use crate::manager::PeerManager;
use crate::outbox::{Entry, Phase};
use crate::output::{Output, RegistryCall, SocketCommand};
use crate::outputs::{Request, Write};
use crate::state::ContactRow;
use beeline_proto::chain::{ChainError, Device, VerifiedChain};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::pb::peer::v1::Records;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

impl PeerManager {
    /// Our other devices.
    pub(crate) fn own_others(&self) -> Vec<DeviceFp> {
        let devices = self.me.chain.devices.devices.iter().map(Device::fp);
        devices.filter(|device| *device != self.me.device).collect()
    }

    /// Whether a device is another one of ours.
    pub(crate) fn is_own_other(&self, device: DeviceFp) -> bool {
        device != self.me.device && self.me.chain.devices.device(device).is_some()
    }

    /// We are among our contacts while there are other devices of ours, or were.
    pub(crate) fn know_ourselves(&mut self) {
        let label = self.me.user_label.clone();
        if self.own_others().is_empty() && self.contacts.get(&label).is_none() {
            return;
        }
        let chain = self.me.chain.clone();
        let row = ContactRow {
            user: self.me.user,
            label,
            chain: chain.to_bytes(),
            verified: true,
            claimed_chain: None,
            read_receipts: false,
            knows_us: (0, 0),
        };
        self.contacts.insert(Contact::new(row, chain));
    }

    /// A chain of our own user, as another device of ours, or somebody who looked us up, has it.
    pub(crate) fn see_own_chain(&mut self, now: Now, chain: &VerifiedChain) -> Option<Label> {
        let list = chain.devices.verified.bytes();
        match self.take_own_list(now, list) {
            Ok(_) => Some(self.me.user_label.clone()),
            Err(error) => {
                self.out.warn(now, "own-list-refused", error.to_string());
                None
            }
        }
    }

    /// Takes a list of our own devices if it is newer; whether it was.
    pub(crate) fn take_own_list(&mut self, now: Now, bytes: &[u8]) -> Result<bool, ChainError> {
        self.adopt_own_list(now, bytes, Write::Plain)
    }

    fn adopt_own_list(
        &mut self,
        now: Now,
        bytes: &[u8],
        purpose: Write,
    ) -> Result<bool, ChainError> {
        let (before, was_removed) = (self.own_others(), self.me.is_removed());
        let taken = self.me.adopt_device_list(bytes);
        match taken {
            Ok(true) => self.on_own_list(now, &before, purpose),
            Err(ChainError::UnknownDevice) if !was_removed => self.on_removed(now),
            _ => {}
        }
        taken
    }

    /// A newer list of our own is in force: it is kept, told, and lived by.
    fn on_own_list(&mut self, now: Now, before: &[DeviceFp], purpose: Write) {
        let left = |device: &&DeviceFp| !self.is_own_other(**device);
        let removed: Vec<DeviceFp> = before.iter().filter(left).copied().collect();
        let mut ops = vec![self.me.keep()];
        ops.extend(self.forget_devices(&removed));
        self.out.write(ops, purpose);
        self.know_ourselves();
        self.drop_devices(now, &removed);
        self.tell_own_list();
        self.publish_own_list();
        self.copy_all(now);
    }

    /// The user took this device off the list: nobody takes anything from it any more, and it takes
    /// nothing from those who have not heard of it yet.
    fn on_removed(&mut self, now: Now) {
        self.out.write(vec![self.me.keep()], Write::Plain);
        self.end_removed(now);
    }

    /// Ends everything for a device that was taken off the list, and says so.
    pub(crate) fn end_removed(&mut self, now: Now) {
        self.out.counters.count("device-removed");
        let detail = REMOVED.to_owned();
        self.out.event(Event::Removed { detail });
        for label in self.outbox.recipients() {
            self.reject_all(now, &label, "REVOKED");
        }
        self.stop(now, "this device was removed");
        let command = SocketCommand::Close;
        let socket = SocketId::GATEWAY;
        self.out.push(Output::Socket { socket, command });
    }

    /// Whoever is linked gets the newer list at once.
    fn tell_own_list(&mut self) {
        let device_list = self.me.chain.devices.verified.bytes().to_vec();
        for id in self.links.ids(|link| link.is_ready()) {
            let records = Records {
                device_list: device_list.clone(),
                ..Records::default()
            };
            self.say(id, Kind::Records(records));
        }
    }

    /// The registry gets a list that it may not have; once a process, and again when it changed.
    pub(crate) fn publish_own_list(&mut self) {
        let version = self.me.chain.devices.version();
        let due = version > 1 && self.presence.list_published < version;
        if !due || !self.presence.gateway_up() || self.out.publishing() {
            return;
        }
        let device_list = self.me.chain.devices.verified.bytes().to_vec();
        let call = RegistryCall::PutDeviceList { device_list };
        self.out.ask(call, Request::DeviceList(version));
    }

    /// The registry took the list we `asked` it to (the version in force), or refused it.
    pub(crate) fn on_list_published(&mut self, asked: u64, taken: Result<u64, String>) {
        let ours = self.me.chain.devices.version();
        let version = taken.as_ref().map_or(asked, |version| *version);
        let newer = version > ours || taken.is_err();
        self.presence.list_published = version.min(ours);
        self.out.event(Event::ListPublished {
            version: self.presence.list_published,
            error: taken.err(),
        });
        // A newer one may have come into force meanwhile.
        self.publish_own_list();
        if newer {
            let own = self.me.user_label.clone();
            self.look_up(&own);
        }
    }

    /// Once a process, a device that has siblings asks what became of their list meanwhile.
    pub(crate) fn look_ourselves_up(&mut self) {
        let several = self.me.chain.devices.version() > 1;
        if several && !std::mem::replace(&mut self.presence.looked_ourselves_up, true) {
            let own = self.me.user_label.clone();
            self.look_up(&own);
        }
    }

    /// The person changed the list of our devices: it takes force here, and is published.
    pub(crate) fn on_put_device_list(&mut self, now: Now, command: CommandId, bytes: &[u8]) {
        let event = match self.adopt_own_list(now, bytes, Write::OwnList(command)) {
            Ok(true) => return,
            Ok(false) => Event::Refused {
                command,
                code: ErrorCode::Conflict,
                detail: "a newer device list is in force; list the devices and try again".into(),
            },
            Err(error) => Event::Refused {
                command,
                code: ErrorCode::InvalidArgument,
                detail: error.to_string(),
            },
        };
        self.out.event(event);
    }

    /// The list put in force is stored, or could not be.
    pub(crate) fn on_own_list_written(&mut self, command: CommandId, failure: Option<String>) {
        self.out.event(match failure {
            None => Event::Done { command },
            Some(detail) => Event::Refused {
                command,
                code: ErrorCode::Internal,
                detail: format!("the list is in force, and could not be stored yet: {detail}"),
            },
        });
    }

    /// Every message still here goes to our other devices, too.
    fn copy_all(&mut self, now: Now) {
        let durable = |entry: &Entry| entry.phase != Phase::Committing;
        for id in self.outbox.ids(durable) {
            self.leave_copies(id);
        }
        let own = self.me.user_label.clone();
        self.serve_new(now, &own);
    }

    /// Our other devices are to get a message, too.
    pub(crate) fn leave_copies(&mut self, id: MessageId) {
        for device in self.own_others() {
            self.outbox.leave(id, device);
        }
    }
}
