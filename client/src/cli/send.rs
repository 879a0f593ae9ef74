//! `beeline send`.

use super::args::SendArgs;
use super::deliver::{Order, Sink, awaited, deliver, too_long};
use super::fail::{Exit, Failure};
use super::reach::{Context, Way, as_hidden};
use super::stop::Stop;
use crate::ipc::caller::CallError;
use beeline_proto::code::ErrorCode;
use beeline_proto::limits::TEXT_LEN_MAX;
use client_core::event::DeliveryState;
use data_encoding::HEXLOWER;
use std::io::Read as _;
use tokio::time::Instant;

/// Sends, and waits as told.
pub(crate) async fn send(context: &Context, args: SendArgs) -> Result<Exit, Failure> {
    let text = text_of(args.text).await?;
    let idempotency_key = match args.idempotency_key {
        Some(key) if key.is_empty() => {
            return Err(Failure::usage(
                "--idempotency-key is empty: give it some characters",
            ));
        }
        Some(key) => key,
        None => random_key()?,
    };
    let mut order = Order {
        to: args.user,
        text,
        wait: awaited(args.wait.name()).unwrap_or(DeliveryState::Delivered),
        timeout: args.timeout,
        idempotency_key,
    };
    order.check()?;
    let options = context.options("send", &args.link);
    let deadline = Instant::now() + order.timeout;
    let mut resumed = false;
    loop {
        match context.reach(options.clone()).await? {
            Way::Own(owned) => {
                let sink = Sink::print(context.printer, resumed);
                let mut stop = Stop::listen()?;
                let sent = tokio::select! {
                    sent = deliver(&owned.client, &order, &sink) => sent,
                    // What is committed stays committed, and is said to be.
                    () = stop.asked() => match sink.has_queued() {
                        true => Ok(Exit::Queued),
                        false => Err(Failure::new("interrupted before the message was queued")),
                    },
                };
                owned.shutdown().await;
                return sent;
            }
            Way::Through(mut caller) => {
                let sent = match as_hidden(context, &mut caller).await {
                    Ok(()) => caller.send(&order, context.printer, resumed).await,
                    Err(error) => Err(error),
                };
                match sent {
                    Ok(exit) => return Ok(exit),
                    Err(CallError::Failed(failure)) => return Err(failure),
                    // The idempotency key makes the second try the same message.
                    Err(CallError::Gone) => resumed = true,
                }
            }
        }
        order.timeout = deadline.saturating_duration_since(Instant::now());
    }
}

/// The text, from the command line or from standard input without its last newline.
async fn text_of(text: String) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text);
    }
    let read = tokio::task::spawn_blocking(|| {
        // One byte more than may be sent, and a newline: enough to know that it is too long.
        let most = TEXT_LEN_MAX as u64 + 2;
        let mut bytes = Vec::with_capacity(TEXT_LEN_MAX);
        std::io::stdin()
            .lock()
            .take(most)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    });
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(Failure::new(format!("cannot read standard input: {error}"))),
        Err(_) => return Err(Failure::new("standard input was not read: going down")),
    };
    trimmed(bytes)
}

fn trimmed(mut bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() > TEXT_LEN_MAX {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|_| {
        let text = "standard input is not UTF-8 text: use send-file for other data";
        Failure::coded(ErrorCode::InvalidArgument, text)
    })
}

/// A key nobody else has: a call that breaks half-way can be repeated.
pub(crate) fn random_key() -> Result<String, Failure> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(format!("the system gave no random numbers: {error}")))?;
    Ok(format!("once-{}", HEXLOWER.encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_not_part_of_the_text() {
        assert_eq!(trimmed(b"hello\n".to_vec()), Ok("hello".to_owned()));
        assert_eq!(trimmed(b"a\n\n".to_vec()), Ok("a\n".to_owned()));
        let mut longest = vec![b'x'; TEXT_LEN_MAX];
        longest.push(b'\n');
        assert_eq!(trimmed(longest.clone()).map(|t| t.len()), Ok(TEXT_LEN_MAX));
        longest.insert(0, b'x');
        assert!(trimmed(longest).is_err_and(|f| f.message.contains("send-file")));
        assert!(trimmed(vec![0xff]).is_err_and(|f| f.message.contains("UTF-8")));
    }

    #[test]
    fn keys_of_our_own_differ() {
        assert_ne!(random_key(), random_key());
    }
}
