//! The runtime a client is fastest on.

use tokio::runtime::Builder;

/// Turns of tasks between two looks at what other threads want: the store answers from one, and a
/// message waits for its answer twice. tokio's own 31 are a long time while files run.
const LOOK_AT_OTHERS_EVERY: u32 = 1;
/// Turns of tasks between two looks at sockets and timers. tokio's own are 61.
const LOOK_AT_SOCKETS_EVERY: u32 = 8;

/// One thread, on which a client, its links and its core run: the store and files have their own.
/// It is to be [built](Builder::build); [`Client`](crate::Client) also works on any other with I/O
/// and time, a little slower, and beside a file messages take longer.
pub fn runtime() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_all()
        .global_queue_interval(LOOK_AT_OTHERS_EVERY)
        .event_interval(LOOK_AT_SOCKETS_EVERY);
    builder
}
