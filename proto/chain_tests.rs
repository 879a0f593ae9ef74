//! Chains under test: one good chain, and each way to break it.

use super::*;
use crate::envelope::{Context, sign};
use crate::id::MessageId;
use crate::keys::{SealSecret, SigningKey};

struct World {
    authority: SigningKey,
    registrar: SigningKey,
    user: SigningKey,
    device: SigningKey,
}

fn world() -> World {
    let key = |n| SigningKey::from_seed(&[n; 32]);
    World {
        authority: key(1),
        registrar: key(2),
        user: key(3),
        device: key(4),
    }
}

impl World {
    fn network(&self) -> NetworkFp {
        self.authority.verify_key().network_fp()
    }

    fn context(&self, audience: [u8; 32]) -> Option<crate::pb::envelope::v1::Context> {
        Some(Context::unordered(self.network(), audience, MessageId([5; 16])).to_pb())
    }

    fn descriptor(&self, signer: &SigningKey) -> Vec<u8> {
        let payload = pb::NetworkDescriptor {
            context: self.context(self.network().0),
            label: "home".into(),
            version: 1,
            registrar_keys: vec![self.registrar.verify_key().to_bytes().to_vec()],
            gateway_origins: vec!["http://127.0.0.1:8080".into()],
            registry_origins: vec![],
        };
        sign(signer, &payload)
    }

    fn membership(&self, signer: &SigningKey) -> Vec<u8> {
        let payload = pb::Membership {
            context: self.context(self.user.verify_key().fp()),
            user_key: self.user.verify_key().to_bytes().to_vec(),
            handle: "alice".into(),
            role: pb::Role::Member as i32,
            serial: 17,
            salt: vec![6; 16],
            issued_ms: 1_000,
            expires_ms: 2_000,
        };
        sign(signer, &payload)
    }

    fn device_list(&self, signer: &SigningKey, count: usize) -> Vec<u8> {
        let device = |n: usize| pb::Device {
            label: format!("alice_{n}"),
            device_key: match n {
                0 => self.device.verify_key().to_bytes().to_vec(),
                _ => SigningKey::from_seed(&[100 + n as u8; 32])
                    .verify_key()
                    .to_bytes()
                    .to_vec(),
            },
            control_key: SealSecret::from_bytes([9; 32]).public().0.to_vec(),
        };
        let payload = pb::DeviceList {
            context: self.context(self.user.verify_key().fp()),
            version: 1,
            devices: (0..count).map(device).collect(),
        };
        sign(signer, &payload)
    }

    fn chain(&self) -> pb::Chain {
        pb::Chain {
            descriptor: self.descriptor(&self.authority),
            membership: self.membership(&self.registrar),
            device_list: self.device_list(&self.user, 1),
        }
    }

    fn open(&self, chain: &pb::Chain) -> Result<VerifiedChain, ChainError> {
        VerifiedChain::open(&chain.encode_to_vec(), self.network())
    }
}

#[test]
fn a_whole_chain_verifies() {
    let w = world();
    let chain = w.open(&w.chain()).expect("valid chain");
    assert_eq!(chain.user(), w.user.verify_key().user_fp());
    assert!(chain.device(w.device.verify_key().device_fp()).is_ok());
    assert_eq!(
        chain.device(DeviceFp([0; 32])).err(),
        Some(ChainError::UnknownDevice)
    );
    assert_eq!(
        w.open(&pb::Chain::decode(chain.to_bytes().as_slice()).expect("chain")),
        Ok(chain)
    );
}

#[test]
fn each_part_must_be_signed_by_the_one_above() {
    let w = world();
    let stranger = SigningKey::from_seed(&[66; 32]);
    let wrong = |c: &pb::Chain| match w.open(c) {
        Err(ChainError::Open(part, OpenError::WrongSigner)) => part,
        other => panic!("{other:?}"),
    };
    let chain = w.chain();
    let bad = pb::Chain {
        descriptor: w.descriptor(&stranger),
        ..chain.clone()
    };
    assert_eq!(wrong(&bad), "descriptor");
    for signer in [&stranger, &w.authority, &w.user] {
        let bad = pb::Chain {
            membership: w.membership(signer),
            ..chain.clone()
        };
        assert_eq!(wrong(&bad), "membership");
    }
    for signer in [&stranger, &w.registrar, &w.device] {
        let bad = pb::Chain {
            device_list: w.device_list(signer, 1),
            ..chain.clone()
        };
        assert_eq!(wrong(&bad), "device list");
    }
}

#[test]
fn a_missing_part_is_named() {
    let w = world();
    let bad = pb::Chain {
        membership: vec![],
        ..w.chain()
    };
    assert_eq!(
        w.open(&bad).err(),
        Some(ChainError::Missing("the membership"))
    );
}

#[test]
fn sixteen_devices_fit_and_seventeen_do_not() {
    let w = world();
    let sixteen = pb::Chain {
        device_list: w.device_list(&w.user, 16),
        ..w.chain()
    };
    assert_eq!(w.open(&sixteen).map(|c| c.devices.devices.len()), Ok(16));
    for count in [0, 17] {
        let bad = pb::Chain {
            device_list: w.device_list(&w.user, count),
            ..w.chain()
        };
        assert!(matches!(
            w.open(&bad),
            Err(ChainError::Invalid("device list", _))
        ));
    }
}

#[test]
fn revocation_and_expiry_are_told() {
    let w = world();
    let chain = w.open(&w.chain()).expect("valid chain");
    let list = |serials: Vec<u64>| pb::Revocations {
        serials,
        ..Default::default()
    };
    assert!(chain.membership.is_revoked_by(&list(vec![3, 17, 20])));
    assert!(!chain.membership.is_revoked_by(&list(vec![3, 20])));
    assert_eq!(
        chain.membership.check_expiry(2_000 + MEMBERSHIP_GRACE_MS),
        Ok(())
    );
    let late = chain.membership.check_expiry(2_001 + MEMBERSHIP_GRACE_MS);
    assert_eq!(late, Err(ChainError::Expired));
}

#[test]
fn whose_chain_it_says_it_is_can_be_read_of_anything() {
    let w = world();
    let whole = w.chain();
    let handle = w.open(&whole).expect("valid chain").membership.handle;
    let bytes = whole.encode_to_vec();
    assert_eq!(VerifiedChain::claimed_handle(&bytes), Some(handle));
    // Cut off, grown or empty, it says nothing, and nothing breaks.
    let longest = [bytes.as_slice(), &vec![0; CHAIN_LEN_MAX]].concat();
    assert_eq!(VerifiedChain::claimed_handle(&longest), None);
    for len in 0..bytes.len() {
        let _ = VerifiedChain::claimed_handle(&bytes[..len]);
    }
    assert_eq!(VerifiedChain::claimed_handle(&[]), None);
}
