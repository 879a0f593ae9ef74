//! Listening, and the origins under which a listener is reached.

use crate::error::StartError;
use crate::http::accept::bind;
use beeline_proto::origin::normalize;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;

/// Listens, and says on which port.
pub(crate) fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = bind(addr).and_then(|listener| {
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    });
    bound.map_err(|error| StartError::Listen { addr, error })
}

/// The origins under which clients reach the server, the one to dial first.
pub(crate) fn public_urls(
    given: &[String],
    addr: SocketAddr,
    tls: bool,
) -> Result<Vec<String>, StartError> {
    let normalized = given.iter().map(|url| {
        let origin = normalize(url).filter(|_| url.starts_with("http"));
        origin.ok_or_else(|| StartError::PublicUrl(url.clone()))
    });
    let mut urls = normalized.collect::<Result<Vec<_>, _>>()?;
    let scheme = if tls { "https" } else { "http" };
    urls.extend(normalize(&format!("{scheme}://{addr}")));
    Ok(urls)
}

/// The origins a proof may name: those under which clients reach the server, and by name where it
/// listens on the machine itself.
pub(crate) fn own_origins(public: &[String], addr: SocketAddr) -> Vec<String> {
    let mut origins = public.to_vec();
    let local = addr.ip().is_loopback() || addr.ip().is_unspecified();
    let scheme = public.last().and_then(|url| url.split_once("://"));
    if let Some((scheme, _)) = scheme.filter(|_| local) {
        let hosts = ["localhost".to_owned(), loopback_of(addr.ip()).to_owned()];
        let named = hosts
            .iter()
            .map(|host| format!("{scheme}://{host}:{}", addr.port()));
        origins.extend(named.filter_map(|url| normalize(&url)));
    }
    origins
}

fn loopback_of(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "127.0.0.1",
        IpAddr::V6(_) => "[::1]",
    }
}
