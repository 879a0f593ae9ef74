//! Who this device is: names, network and secret keys, written once by `join` and never changed.
//! What does change (chain, revocations) is also in the store, which wins where it is newer.
//!
//! The file is text, one `name value` a line, secrets in hexadecimal, mode 0600.

use crate::error::HomeError;
use crate::home::Home;
use crate::limits::IDENTITY_LEN_MAX;
use crate::report::Who;
use crate::unix;
use beeline_proto::id::{Label, NetworkFp};
use beeline_proto::keys::{SealSecret, SigningKey, VerifyKey};
use data_encoding::HEXLOWER;
use std::fs::File;
use std::io::{Read as _, Write as _};
use zeroize::{Zeroize as _, Zeroizing};

/// First line of the file.
const MAGIC: &str = "beeline-identity 1";

/// An identity in memory. Its keys erase themselves and never print.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The networkId of URLs.
    pub network_label: Label,
    /// What the network is.
    pub network: NetworkFp,
    /// Our userId.
    pub user: Label,
    /// Our deviceId.
    pub device: Label,
    /// What the user is known by.
    pub user_public: VerifyKey,
    /// Signs device lists: only the user's first device holds it, and it never leaves that one.
    pub user_key: Option<SigningKey>,
    /// Signs everything else.
    pub device_key: SigningKey,
    /// Opens CONTROL parcels.
    pub control_key: SealSecret,
    /// Gateways of the invite link, the first tried first.
    pub gateways: Vec<String>,
    /// The serialized chain as it was at joining.
    pub chain: Vec<u8>,
    /// Envelope of the revocations as they were at joining; empty if there were none.
    pub revocations: Vec<u8>,
}

impl Identity {
    /// Reads the identity of a home.
    ///
    /// # Errors
    /// [`HomeError::NotJoined`], [`HomeError::TooOpen`], [`HomeError::Damaged`].
    pub fn load(home: &Home) -> Result<Self, HomeError> {
        home.check_modes()?;
        let path = home.identity();
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(HomeError::NotJoined(home.dir().to_owned()));
            }
            other => other.map_err(HomeError::io(&path))?,
        };
        let mut text = Zeroizing::new(String::with_capacity(IDENTITY_LEN_MAX as usize));
        file.take(IDENTITY_LEN_MAX)
            .read_to_string(&mut text)
            .map_err(HomeError::io(&path))?;
        parse(&text).map_err(|why| HomeError::damaged(&path, why))
    }

    /// Writes the identity of a home nobody has joined with: whole or not at all. The caller
    /// holds the home's lock.
    ///
    /// # Errors
    /// [`HomeError::Io`]; [`HomeError::AlreadyJoined`] where there is one.
    pub fn store(&self, home: &Home) -> Result<(), HomeError> {
        if home.is_joined() {
            return Err(Self::taken(home));
        }
        let (path, draft) = (home.identity(), home.dir().join("identity.new"));
        // What a crash in an earlier try left behind.
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HomeError::io(&draft)(error));
            }
            _ => {}
        }
        let write = || -> std::io::Result<()> {
            let mut file = unix::create_private_file(&draft)?;
            file.write_all(self.to_text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            unix::sync_dir(home.dir())
        };
        write().map_err(HomeError::io(&path))
    }

    /// The names and fingerprints in it.
    pub fn who(&self) -> Who {
        Who {
            network_label: self.network_label.clone(),
            network: self.network,
            user_label: self.user.clone(),
            user: self.user_public.user_fp(),
            device_label: self.device.clone(),
            device: self.device_key.verify_key().device_fp(),
            served: None,
        }
    }

    /// The error for a home that is in use, naming whose it is as far as that can be read.
    pub(crate) fn taken(home: &Home) -> HomeError {
        match Self::load(home) {
            Ok(identity) => HomeError::AlreadyJoined {
                home: home.dir().to_owned(),
                user: identity.user.to_string(),
                network: identity.network_label.to_string(),
            },
            Err(error) => error,
        }
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(IDENTITY_LEN_MAX as usize));
        let mut line = |name: &str, value: &str| {
            for part in [name, " ", value, "\n"] {
                text.push_str(part);
            }
        };
        let mut secret = |name: &str, bytes: &[u8; 32]| {
            line(name, &Zeroizing::new(HEXLOWER.encode(bytes)));
        };
        if let Some(user_key) = &self.user_key {
            secret("user-seed", &user_key.to_seed());
        }
        secret("device-seed", &self.device_key.to_seed());
        secret("control-secret", &self.control_key.to_bytes());
        if self.user_key.is_none() {
            let public = self.user_public.to_bytes();
            line("user-key", &HEXLOWER.encode(&public));
        }
        line("network", &self.network.to_string());
        line("network-id", self.network_label.as_str());
        line("user", self.user.as_str());
        line("device", self.device.as_str());
        line("chain", &HEXLOWER.encode(&self.chain));
        line("revocations", &HEXLOWER.encode(&self.revocations));
        for gateway in &self.gateways {
            line("gateway", gateway);
        }
        let mut whole = Zeroizing::new(String::with_capacity(text.len() + MAGIC.len() + 1));
        whole.push_str(MAGIC);
        whole.push('\n');
        whole.push_str(&text);
        whole
    }
}

fn parse(text: &str) -> Result<Identity, String> {
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err("it does not begin as an identity file".to_owned());
    }
    let pairs: Vec<(&str, &str)> = lines
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let field = |name: &str| {
        let found = pairs.iter().find(|(n, _)| *n == name);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{name} is missing"))
    };
    let label = |name: &str| Label::new(field(name)?).map_err(|e| e.to_string());
    let bytes = |name: &str| {
        let decoded = HEXLOWER.decode(field(name)?.as_bytes());
        decoded.map_err(|_| format!("{name} is not hexadecimal"))
    };
    let secret = |name: &str| -> Result<Zeroizing<[u8; 32]>, String> {
        let mut decoded = bytes(name)?;
        let array = <[u8; 32]>::try_from(decoded.as_slice());
        decoded.zeroize();
        array
            .map(Zeroizing::new)
            .map_err(|_| format!("{name} is not 32 bytes"))
    };
    // The first device of a user has the secret, those linked later only know whose they are.
    let user_key = match field("user-seed") {
        Ok(_) => Some(SigningKey::from_seed(&*secret("user-seed")?)),
        Err(_) => None,
    };
    let user_public = match &user_key {
        Some(user_key) => user_key.verify_key(),
        None => VerifyKey::from_bytes(&bytes("user-key")?).map_err(|e| format!("user-key: {e}"))?,
    };
    let gateways = pairs.iter().filter(|(name, _)| *name == "gateway");
    Ok(Identity {
        network_label: label("network-id")?,
        network: field("network")?
            .parse()
            .map_err(|e| format!("network: {e}"))?,
        user: label("user")?,
        device: label("device")?,
        user_public,
        user_key,
        device_key: SigningKey::from_seed(&*secret("device-seed")?),
        control_key: SealSecret::from_bytes(*secret("control-secret")?),
        gateways: gateways.map(|(_, url)| (*url).to_owned()).collect(),
        chain: bytes("chain")?,
        revocations: bytes("revocations")?,
    })
}

/// Bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An identity of nobody: well formed, but its chain is empty.
    pub(crate) fn nobody() -> Identity {
        Identity {
            network_label: Label::new("home").expect("label"),
            network: NetworkFp([7; 32]),
            user: Label::new("alice").expect("label"),
            device: Label::new("alice_abc234").expect("label"),
            user_public: SigningKey::from_seed(&[1; 32]).verify_key(),
            user_key: Some(SigningKey::from_seed(&[1; 32])),
            device_key: SigningKey::from_seed(&[2; 32]),
            control_key: SealSecret::from_bytes([3; 32]),
            gateways: vec!["http://127.0.0.1:8080".to_owned()],
            chain: vec![1, 2, 3],
            revocations: Vec::new(),
        }
    }

    #[test]
    fn an_identity_survives_its_file_and_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(&dir.path().join("home"));
        assert!(matches!(
            Identity::load(&home),
            Err(HomeError::NotJoined(_))
        ));
        let _lock = home.lock("join").expect("free");
        std::fs::write(home.dir().join("identity.new"), "cut").expect("left by a crash");
        nobody().store(&home).expect("stored");
        let read = Identity::load(&home).expect("there");
        let user_key = read.user_key.expect("kept");
        assert_eq!(*user_key.to_seed(), [1; 32]);
        assert_eq!(*read.control_key.to_bytes(), [3; 32]);
        assert_eq!(read.gateways, nobody().gateways);
        assert_eq!(read.chain, [1, 2, 3]);
        let again = nobody().store(&home).expect_err("there is one");
        assert!(again.to_string().contains("--home"), "{again}");
    }

    #[test]
    fn a_linked_device_knows_its_user_without_the_key() {
        let linked = Identity {
            user_key: None,
            ..nobody()
        };
        let text = linked.to_text();
        assert!(!text.contains("user-seed"));
        let read = parse(&text).expect("whole");
        assert!(read.user_key.is_none());
        assert_eq!(read.who().user, nobody().who().user);
        assert!(parse(&text.replace("user-key", "user-kex")).is_err());
    }

    #[test]
    fn damage_is_told() {
        let whole = nobody().to_text();
        for (from, to) in [
            (MAGIC, "something else"),
            ("user alice", "user al ice"),
            ("device-seed 02", "device-seed 0202"),
            ("network-id home\n", ""),
        ] {
            let text = whole.replace(from, to);
            assert!(parse(&text).is_err(), "{from} -> {to}");
        }
        assert!(parse(&whole).is_ok());
    }

    #[test]
    fn no_secret_is_printed() {
        let shown = format!("{:?}", nobody());
        for secret in [[1u8; 32], [2; 32], [3; 32]] {
            assert!(!shown.contains(&HEXLOWER.encode(&secret)));
            assert!(!shown.contains(&format!("{secret:?}")));
        }
    }
}
