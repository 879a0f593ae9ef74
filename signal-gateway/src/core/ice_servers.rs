//! STUN and TURN servers for a device, with credentials that end by themselves: the TURN REST
//! scheme that coturn's `use-auth-secret` checks. The user name is `expiry:device`, the password
//! the base64 of HMAC-SHA1 (RFC 2104, FIPS 180-4) over it under the shared secret.

use crate::limits::ICE_TTL_S;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha1::Sha1;

/// Where the servers are, and the secret shared with TURN.
#[derive(Clone)]
pub struct IceConfig {
    /// `stun:host:port` addresses.
    pub stun: Vec<String>,
    /// `turn:host:port?transport=udp` addresses.
    pub turn: Vec<String>,
    /// The `static-auth-secret` of the TURN servers.
    pub secret: Vec<u8>,
    /// Seconds until credentials end.
    pub ttl_s: u64,
}

impl Default for IceConfig {
    fn default() -> Self {
        Self {
            stun: Vec::new(),
            turn: Vec::new(),
            secret: Vec::new(),
            ttl_s: ICE_TTL_S,
        }
    }
}

impl std::fmt::Debug for IceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "IceConfig {{ stun: {:?}, turn: {:?} }}",
            self.stun, self.turn
        )
    }
}

/// One entry of `iceServers`, as WebRTC's `RTCIceServer` has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct IceServer {
    /// Addresses of one server.
    pub urls: Vec<String>,
    /// User name, for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password, for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// The answer of `GET /network/{networkId}/ice-servers`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IceServers {
    /// The servers.
    pub ice_servers: Vec<IceServer>,
    /// Seconds until the credentials end.
    pub ttl: u64,
}

/// The servers for `device`, at `wall_ms` (Unix milliseconds).
pub fn for_device(config: &IceConfig, device: &str, wall_ms: u64) -> IceServers {
    let mut ice_servers = Vec::new();
    if !config.stun.is_empty() {
        ice_servers.push(IceServer {
            urls: config.stun.clone(),
            username: None,
            credential: None,
        });
    }
    if !config.turn.is_empty() {
        let username = format!("{}:{device}", wall_ms / 1_000 + config.ttl_s);
        ice_servers.push(IceServer {
            urls: config.turn.clone(),
            credential: Some(password(&config.secret, &username)),
            username: Some(username),
        });
    }
    IceServers {
        ice_servers,
        ttl: config.ttl_s,
    }
}

fn password(secret: &[u8], username: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(username.as_bytes());
    BASE64.encode(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_hmac_sha1() {
        // RFC 2202, test cases 2 and 6.
        let want = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        let got = BASE64
            .decode(password(b"Jefe", "what do ya want for nothing?").as_bytes())
            .expect("base64");
        assert_eq!(data_encoding::HEXLOWER.encode(&got), want);
        let long = password(
            &[0xaa; 80],
            "Test Using Larger Than Block-Size Key - Hash Key First",
        );
        let got = BASE64.decode(long.as_bytes()).expect("base64");
        let want = "aa4ae5e15272d00e95705637ce8a3b55ed402112";
        assert_eq!(data_encoding::HEXLOWER.encode(&got), want);
    }

    #[test]
    fn credentials_end_and_name_their_device() {
        let config = IceConfig {
            stun: vec!["stun:a:3478".into()],
            turn: vec!["turn:a:3478?transport=udp".into()],
            secret: b"north".to_vec(),
            ..IceConfig::default()
        };
        let servers = for_device(&config, "alice_device_123", 1_700_000_000_999);
        assert_eq!(servers.ttl, 600);
        assert_eq!(servers.ice_servers[0].username, None);
        let turn = &servers.ice_servers[1];
        assert_eq!(
            turn.username.as_deref(),
            Some("1700000600:alice_device_123")
        );
        let json = serde_json::to_value(&servers).expect("json");
        assert_eq!(
            json["iceServers"][0],
            serde_json::json!({"urls": ["stun:a:3478"]})
        );
        assert!(!format!("{config:?}").contains("north"));
        let short = IceConfig {
            ttl_s: 60,
            ..config
        };
        let servers = for_device(&short, "alice_device_123", 1_700_000_000_999);
        let username = servers.ice_servers[1].username.as_deref();
        let want = (60, Some("1700000060:alice_device_123"));
        assert_eq!((servers.ttl, username), want);
        let none = for_device(&IceConfig::default(), "a", 0);
        assert_eq!(none.ice_servers, []);
    }
}
