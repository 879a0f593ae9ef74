//! What a caller decides about a client before it starts.

use crate::coordinator::CoordinatorOptions;
use crate::error::StartError;
use crate::limits::ICE_SERVERS_MAX;
use crate::rtc::{BindTo, IceMode, IceServer, RtcConfig, Tcp};
use client_core::Keep;
use client_core::files::io::FilePolicy;
use std::path::PathBuf;

/// Options of [`Client::start`](crate::Client::start).
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The home directory; somebody must have joined with it.
    pub home: PathBuf,
    /// What is shown to a second process that wants the home, such as `"beeline listen"`.
    pub command: String,
    /// PEM file of certificate authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// STUN and TURN servers beside those the gateway names: `stun:host:port`,
    /// `turn:user:password@host:port`.
    pub ice_servers: Vec<String>,
    /// What other devices may learn of this host's addresses.
    pub ice: IceMode,
    /// Inclusive range of UDP ports for WebRTC, a coordinator's also TCP; the kernel's choice when
    /// `None`.
    pub rtc_ports: Option<(u16, u16)>,
    /// Whether WebRTC binds loopback only, as in a demonstration on one machine.
    pub loopback: bool,
    /// Whether the client stays without gateway and registry: links it has stay, nothing else.
    /// For `verify --accept` and tests.
    pub offline: bool,
    /// Whether and how the client serves others as a coordinator.
    pub coordinator: Option<CoordinatorOptions>,
    /// How much is kept for members that are away; nothing if `None`. For a client that stays: one
    /// that passes through should not promise it.
    pub keep: Option<Keep>,
    /// Bytes of files handed on per second from one member to another, as
    /// [`client_core::Config::relay_files_per_s`]; its default if `None`.
    pub relay_files_per_s: Option<u64>,
    /// Where files are received, and which; none are if `None`, and their offers wait.
    pub files: Option<FilesOptions>,
    /// Largest WebRTC message taken, bytes; that of a whole chunk of a file if `None`. Less is what
    /// other stacks take.
    pub message_max: Option<usize>,
    /// Links taken at once; as many as `client_core::limits::LINKS_MAX` if `None`.
    pub links_max: Option<usize>,
}

/// Where files are received, and which.
#[derive(Debug, Clone)]
pub struct FilesOptions {
    /// The folder; made where it is missing.
    pub dir: PathBuf,
    /// Which are taken without asking.
    pub policy: FilePolicy,
    /// Whether the others wait until somebody decides, instead of being declined.
    pub ask: bool,
}

impl Options {
    /// Streams are dialled by everybody and taken by coordinators; on one machine UDP never fails.
    fn tcp(&self) -> Tcp {
        match (self.loopback, &self.coordinator) {
            (true, _) => Tcp::No,
            (false, None) => Tcp::Dial,
            (false, Some(_)) => Tcp::Serve,
        }
    }

    /// The WebRTC configuration these options ask for, with `more` servers.
    pub(crate) fn rtc(&self, more: &[IceServer]) -> Result<RtcConfig, StartError> {
        let mut ice_servers = Vec::new();
        for url in &self.ice_servers {
            let server = parse_ice_server(url).ok_or_else(|| {
                StartError::Option(format!(
                    "--ice-server {url:?} is not stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT"
                ))
            })?;
            ice_servers.push(server);
        }
        ice_servers.extend(more.iter().cloned());
        ice_servers.truncate(ICE_SERVERS_MAX);
        let usual = RtcConfig::default();
        let config = RtcConfig {
            ice_servers,
            max_message_size: self.message_max.unwrap_or(usual.max_message_size),
            mode: self.ice,
            tcp: self.tcp(),
            port_range: self.rtc_ports,
            bind: if self.loopback {
                BindTo::Loopback
            } else {
                BindTo::Everywhere
            },
            ..usual
        };
        config
            .check()
            .map_err(|e| StartError::Option(e.to_string()))?;
        Ok(config)
    }
}

/// Reads `stun:host:port` or `turn:user:password@host:port`.
fn parse_ice_server(url: &str) -> Option<IceServer> {
    let (scheme, rest) = url.split_once(':')?;
    if rest.is_empty() || rest.contains(char::is_whitespace) {
        return None;
    }
    match scheme {
        "stun" if !rest.contains('@') => Some(IceServer {
            urls: vec![url.to_owned()],
            ..IceServer::default()
        }),
        "turn" => {
            let (account, host) = rest.rsplit_once('@')?;
            let (username, credential) = account.split_once(':')?;
            Some(IceServer {
                urls: vec![format!("turn:{host}")],
                username: username.to_owned(),
                credential: credential.to_owned(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_read_and_nonsense_is_named() {
        let stun = parse_ice_server("stun:example.org:3478").expect("stun");
        assert_eq!(stun.urls, ["stun:example.org:3478"]);
        let turn = parse_ice_server("turn:1700:a:b@example.org:3478").expect("turn");
        assert_eq!(turn.urls, ["turn:example.org:3478"]);
        assert_eq!(
            (turn.username.as_str(), turn.credential.as_str()),
            ("1700", "a:b")
        );
        for bad in ["", "stun:", "http://x", "turn:host:3478", "stun:a b"] {
            assert!(parse_ice_server(bad).is_none(), "{bad}");
        }
        let options = Options {
            ice_servers: vec!["turn:x".to_owned()],
            ..Options::default()
        };
        let refused = options.rtc(&[]).expect_err("no account");
        assert!(refused.to_string().contains("--ice-server"), "{refused}");
    }

    #[test]
    fn a_port_range_that_cannot_work_is_refused() {
        let options = Options {
            rtc_ports: Some((9, 8)),
            ..Options::default()
        };
        assert!(options.rtc(&[]).is_err());
    }
}
