//! `kill -9` of the gateway while ICE is under way, fifty times: registry and gateway as processes
//! of their own, restarted at the same address, and every message still arrives once, in order.

use crate::apart::{Apart, reaches, watch_peers};
use crate::process::Home;

/// Kills of the gateway.
const REPEATS: usize = 50;

/// Kills one receiver lives through: each makes it wait longer before it dials again, as it should
/// with a gateway that keeps dying.
const PER_RECEIVER: usize = 3;

#[tokio::test]
async fn a_gateway_killed_in_mid_ice_loses_and_repeats_nothing() {
    let mut servers = Apart::start(&[]).await;
    let invite = servers.invite().await;
    let alice = Home::joined(&invite, "alice", &[]).await;
    let carol = Home::joined(&invite, "carol", &[]).await;
    let (mut shown, mut sent) = (Vec::new(), Vec::new());
    for first in (0..REPEATS).step_by(PER_RECEIVER) {
        let mut listen = carol.listening(&[]).await;
        let mut watch = watch_peers(&carol).await;
        for repeat in first..REPEATS.min(first + PER_RECEIVER) {
            let text = format!("message {repeat}");
            // A process of its own for each message, so that each makes a link of its own.
            let send = alice.start(&["send", "carol", &text, "--timeout", "60s"]);
            // The offer is here and no answer out, or both are and ICE begins.
            // Where the last message went past its call, that call may still be under way and the
            // new one take its place without a change: then its end, or the message, is the sign.
            let wanted = ["SIGNALING", "CONNECTING"][repeat % 2];
            let early = async {
                reaches(&mut watch, &[wanted, "CONNECTED", "FAILED"]).await;
                None
            };
            let arrived = tokio::select! {
                none = early => none,
                line = listen.until("the message", |line| line["text"] == *text) => Some(line),
            };
            servers.kill_gateway().await;
            servers.start_gateway().await;
            send.end().await.expect_code(0);
            if arrived.is_none() {
                listen
                    .until("the message", |line| line["text"] == *text)
                    .await;
            }
            sent.push(text);
        }
        let done = listen.terminate().await;
        done.expect_code(0);
        shown.extend(done.all("message").into_iter().cloned());
    }
    let again = shown.iter().find(|line| line.get("again").is_some());
    assert_eq!(again, None, "nobody was killed while showing");
    let texts: Vec<&str> = shown
        .iter()
        .filter_map(|line| line["text"].as_str())
        .collect();
    assert_eq!(texts, sent, "each once, in order");
    servers.end().await;
}
