//! A network's keys and signed objects for tests: what a real registry would hold and a real device
//! would sign.

use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{DeviceFp, MessageId, NetworkFp};
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::pb::identity::v1 as identity;
use beeline_proto::pb::registry::v1::{GetDeviceResponse, GetNetworkResponse};
use beeline_proto::pb::signal::v1::SocketProof;
use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key made from a number, the same each time.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// Unix milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "tests live on the machine's time"
)]
pub(crate) fn wall_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    u64::try_from(now.as_millis()).expect("fits")
}

/// One device of one user; the labels are `<user>` and `<user>_1`.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) user_key: SigningKey,
    pub(crate) device_key: SigningKey,
    pub(crate) serial: u64,
}

impl Member {
    pub(crate) fn new(user: &str, seed: u8) -> Self {
        Self {
            user: user.into(),
            device: format!("{user}_1"),
            user_key: key(seed),
            device_key: key(seed + 100),
            serial: u64::from(seed),
        }
    }

    pub(crate) fn fp(&self) -> DeviceFp {
        self.device_key.verify_key().device_fp()
    }
}

/// A network with its two keys.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) label: String,
    pub(crate) authority: SigningKey,
    pub(crate) registrar: SigningKey,
    pub(crate) origins: Vec<String>,
    pub(crate) version: u64,
    /// Version and serials, once there are any.
    pub(crate) revoked: Option<(u64, Vec<u64>)>,
}

impl Network {
    pub(crate) fn new(label: &str, seed: u8) -> Self {
        Self {
            label: label.into(),
            authority: key(seed),
            registrar: key(seed + 1),
            origins: vec!["http://127.0.0.1:1".into()],
            version: 1,
            revoked: None,
        }
    }

    pub(crate) fn fp(&self) -> NetworkFp {
        self.authority.verify_key().network_fp()
    }

    fn context(&self, audience: [u8; 32]) -> Option<beeline_proto::pb::envelope::v1::Context> {
        Some(Context::unordered(self.fp(), audience, MessageId([9; 16])).to_pb())
    }

    pub(crate) fn descriptor(&self) -> Vec<u8> {
        let payload = identity::NetworkDescriptor {
            context: self.context(self.fp().0),
            label: self.label.clone(),
            version: self.version,
            registrar_keys: vec![self.registrar.verify_key().to_bytes().to_vec()],
            gateway_origins: self.origins.clone(),
            registry_origins: vec![],
        };
        sign(&self.authority, &payload)
    }

    pub(crate) fn lists(&self) -> GetNetworkResponse {
        let revocations = self.revoked.as_ref().map(|(version, serials)| {
            let payload = identity::Revocations {
                context: self.context(self.fp().0),
                version: *version,
                serials: serials.clone(),
            };
            sign(&self.registrar, &payload)
        });
        GetNetworkResponse {
            descriptor: self.descriptor(),
            revocations: revocations.unwrap_or_default(),
        }
    }

    /// The chain of a member whose device list holds `devices`.
    pub(crate) fn chain_with(&self, member: &Member, devices: &[(&str, &SigningKey)]) -> Vec<u8> {
        let user_key = member.user_key.verify_key();
        let membership = identity::Membership {
            context: self.context(user_key.fp()),
            user_key: user_key.to_bytes().to_vec(),
            handle: member.user.clone(),
            role: identity::Role::Member as i32,
            serial: member.serial,
            salt: vec![3; 16],
            issued_ms: wall_ms(),
            expires_ms: wall_ms() + beeline_proto::limits::MEMBERSHIP_TTL_MS,
        };
        let device = |(label, key): &(&str, &SigningKey)| identity::Device {
            label: (*label).into(),
            device_key: key.verify_key().to_bytes().to_vec(),
            control_key: SealSecret::from_bytes([5; 32]).public().0.to_vec(),
        };
        let list = identity::DeviceList {
            context: self.context(user_key.fp()),
            version: 1,
            devices: devices.iter().map(device).collect(),
        };
        identity::Chain {
            descriptor: self.descriptor(),
            membership: sign(&self.registrar, &membership),
            device_list: sign(&member.user_key, &list),
        }
        .encode_to_vec()
    }

    pub(crate) fn chain(&self, member: &Member) -> Vec<u8> {
        self.chain_with(member, &[(&member.device, &member.device_key)])
    }

    pub(crate) fn device(&self, member: &Member) -> GetDeviceResponse {
        GetDeviceResponse {
            chain: self.chain(member),
            revoked: false,
        }
    }

    /// A proof for a socket under `/{member.device}`.
    pub(crate) fn proof(&self, member: &Member, origin: &str, nonce: &[u8]) -> SocketProof {
        SocketProof {
            context: self.context(member.fp().0),
            origin: origin.into(),
            nonce: nonce.to_vec(),
            boot_id: vec![7; 16],
            device_id: member.device.clone(),
        }
    }
}

/// The registry's token key.
pub(crate) const TOKEN_KEY_SEED: u8 = 250;
/// Its name.
pub(crate) const TOKEN_KID: &str = "test-key-1";

/// A JWT of these two parts, signed by `signer`.
pub(crate) fn jwt(header: &Value, claims: &Value, signer: &SigningKey) -> String {
    jwt_raw(&header.to_string(), &claims.to_string(), signer)
}

/// The same for parts that are no proper JSON.
pub(crate) fn jwt_raw(header: &str, claims: &str, signer: &SigningKey) -> String {
    let encode = |part: &str| BASE64URL_NOPAD.encode(part.as_bytes());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = BASE64URL_NOPAD.encode(&signer.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The header of a good token.
pub(crate) fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "JWT", "kid": TOKEN_KID })
}

/// The claims of a good token that lives for `ttl_s` from now.
pub(crate) fn claims(network: &Network, member: &Member, ttl_s: i64) -> Value {
    let now = i64::try_from(wall_ms() / 1_000).expect("fits");
    json!({
        "iss": "beeline",
        "aud": network.fp().to_string(),
        "sub": member.fp().to_string(),
        "net": network.label,
        "dev": member.device,
        "usr": member.user,
        "uid": member.user_key.verify_key().user_fp().to_string(),
        "role": "member",
        "iat": now,
        "nbf": now,
        "exp": now + ttl_s,
        "jti": "0",
        "cnf": { "jkt": "0" },
    })
}

/// A good token.
pub(crate) fn token(network: &Network, member: &Member) -> String {
    jwt(
        &header(),
        &claims(network, member, 600),
        &key(TOKEN_KEY_SEED),
    )
}
