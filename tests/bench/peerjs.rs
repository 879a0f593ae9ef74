//! peerjs-server, the relay most WebRTC applications begin with: a contestant where node and the
//! package `peer` are there. `tests/bench/run` fetches it into `target/`; nothing of it is ours.

use crate::measure::text;
use crate::role::Child;
use crate::sockets::{Socket, dial};
use futures::StreamExt as _;

/// The variable that names a directory with `node_modules/peer`.
const VARIABLE: &str = "BEELINE_BENCH_PEERJS";

/// Serves until told to end. Its clients would have to speak every 90 s; ours are asked to for
/// nothing but frames.
const SERVER: &str = r"
    const { PeerServer } = require(process.argv[1] + '/node_modules/peer');
    const options = { port: 0, host: '127.0.0.1', path: '/', alive_timeout: 3600000 };
    PeerServer(options, (server) => {
        console.log(JSON.stringify({ url: 'ws://127.0.0.1:' + server.address().port }));
    });
    process.stdin.on('end', () => process.exit()).resume();
";

/// Starts it; `None` where it is not installed.
pub(crate) fn start(core: usize) -> Result<Option<Child>, String> {
    let Ok(dir) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    Child::run(core, "node", &["-e", SERVER, &dir]).map(Some)
}

/// Opens sockets on it.
pub(crate) async fn sockets(url: &str, count: usize) -> Result<Vec<(String, Socket)>, String> {
    let mut sockets = Vec::with_capacity(count);
    for n in 0..count {
        let label = format!("bench{n:05}_dev001");
        let url = format!("{url}/peerjs?key=peerjs&id={label}&token={n}");
        let mut socket = dial(&url).await?;
        // The first message says that the id is ours.
        socket.next().await.ok_or("closed at once")?.map_err(text)?;
        sockets.push((label, socket));
    }
    Ok(sockets)
}
