//! The registry over real gRPC, in this process, with a clock that the test moves.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop at the line that says why"
)]

mod raw;
mod world;

mod administering;
mod hostile;
mod joining;
mod matrix;
mod operating;
mod presence;
mod signing_in;
