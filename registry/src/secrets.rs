//! The two credentials that are files: `gateway.token` and `operator.token`, 64 hexadecimal digits,
//! readable by their owner only.

use crate::error::Error;
use crate::random;
use beeline_proto::id::sha256;
use data_encoding::HEXLOWER;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Longest file read, bytes: the digits and a line's end, with room to notice a wrong file.
const FILE_LEN_MAX: u64 = 256;

/// Why a credential cannot be used. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("{0} may be read by others; run: chmod 600 {0}")]
    Open(PathBuf),
    /// It holds something else.
    #[error("{0} must hold 64 hexadecimal digits; remove it to have a new one made")]
    Format(PathBuf),
    /// No randomness.
    #[error(transparent)]
    Random(Error),
}

/// Both credentials, as the SHA-256 of their text.
pub struct Secrets {
    gateway: [u8; 32],
    operator: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(secret)")
    }
}

impl Secrets {
    /// Reads both files, making those that are missing.
    pub fn load(gateway: &Path, operator: &Path) -> Result<Self, SecretError> {
        Ok(Self {
            gateway: load(gateway)?,
            operator: load(operator)?,
        })
    }

    /// Whether this is the gateways' credential; takes the same time for every text.
    pub fn is_gateway(&self, text: &str) -> bool {
        sha256(text.as_bytes()).ct_eq(&self.gateway).into()
    }

    /// Whether this is the operator's credential; takes the same time for every text.
    pub fn is_operator(&self, text: &str) -> bool {
        sha256(text.as_bytes()).ct_eq(&self.operator).into()
    }
}

fn load(path: &Path) -> Result<[u8; 32], SecretError> {
    let io = |source| SecretError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return create(path),
        Err(error) => return Err(io(error)),
    };
    if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(SecretError::Open(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::new());
    (&mut file)
        .take(FILE_LEN_MAX)
        .read_to_string(&mut text)
        .map_err(io)?;
    let digits = text.trim_end();
    let is_hex = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 64 || !is_hex {
        return Err(SecretError::Format(path.to_owned()));
    }
    Ok(sha256(digits.as_bytes()))
}

fn create(path: &Path) -> Result<[u8; 32], SecretError> {
    let io = |source| SecretError::Io {
        path: path.to_owned(),
        source,
    };
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random::bytes().map_err(SecretError::Random)?);
    let digits = Zeroizing::new(HEXLOWER.encode(bytes.as_slice()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(digits.as_bytes()).map_err(io)?;
    file.write_all(b"\n").map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(sha256(digits.as_bytes()))
}
