//! What one message costs in cryptography: sign, seal, open, verify.

use crate::measure::{Goal, Report, Samples, text, timed};
use beeline_proto::envelope::{Context, Expect, Verified, open, sign};
use beeline_proto::id::{DeviceFp, MessageId, NetworkFp};
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::parcel::{Content, Header, Kind, Parcel, seal};
use beeline_proto::payload::Payload;
use beeline_proto::pb::peer::v1::{Ack, ChatMessage, ack};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

const ROUNDS: usize = 7;
const MESSAGES: usize = 300;

/// Microseconds per call over one round.
fn per_call(mut call: impl FnMut()) -> f64 {
    let (elapsed, ()) = timed(|| (0..MESSAGES).for_each(|_| call()));
    elapsed.as_secs_f64() * 1e6 / MESSAGES as f64
}

/// What sign, seal, open and verify of one parcel take, microseconds, round by round.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) sign: Samples,
    pub(crate) seal: Samples,
    pub(crate) open: Samples,
    pub(crate) verify: Samples,
}

impl Steps {
    /// One parcel from the sender's text to the receiver's, in the middle round.
    pub(crate) fn middle_us(&self) -> f64 {
        let steps = [&self.sign, &self.seal, &self.open, &self.verify];
        steps.iter().map(|step| step.quantile(0.5)).sum()
    }
}

fn context() -> Option<beeline_proto::pb::envelope::v1::Context> {
    let network = NetworkFp([1; 32]);
    Some(Context::unordered(network, AUDIENCE, MessageId([6; 16])).to_pb())
}

const AUDIENCE: [u8; 32] = [2; 32];

/// A chat message with a text of so many bytes.
pub(crate) fn message(bytes: usize) -> ChatMessage {
    let content = "x".repeat(bytes);
    ChatMessage {
        context: context(),
        content,
        timestamp: 0,
        timestamp_ms: 0,
    }
}

/// An ACK of one message.
pub(crate) fn ack() -> Ack {
    let item = ack::Item {
        msg_id: vec![8; 16],
        envelope_hash: vec![9; 32],
        seq_reused: false,
    };
    Ack {
        context: context(),
        items: vec![item],
        known: None,
    }
}

/// Measures the four steps on one payload.
pub(crate) fn steps<T: Payload>(payload: &T, kind: Kind) -> Result<Steps, String> {
    let network = NetworkFp([1; 32]);
    let key = SigningKey::from_seed(&[3; 32]);
    let secret = SealSecret::from_bytes([4; 32]);
    let public = secret.public();
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let header = Header {
        network,
        from: key.verify_key().device_fp(),
        to: DeviceFp([7; 32]),
        kind,
        key_id: public.key_id(),
        ttl_s: 3600,
    };
    let envelope = sign(&key, payload);
    let content = Content {
        envelope: envelope.clone(),
        chain: Vec::new(),
    };
    let sealed = seal(&header, &public, &content, &mut rng).map_err(text)?;
    let parcel = Parcel::parse(&sealed).map_err(text)?;
    let mut steps = Steps::default();
    for _ in 0..ROUNDS {
        steps.sign.0.push(per_call(|| drop(sign(&key, payload))));
        steps.seal.0.push(per_call(|| {
            drop(seal(&header, &public, &content, &mut rng))
        }));
        steps.open.0.push(per_call(|| drop(parcel.open(&secret))));
        steps.verify.0.push(per_call(|| {
            let expect = Expect::new(network, std::slice::from_ref(&AUDIENCE));
            drop::<Result<Verified<T>, _>>(open(&envelope, &expect));
        }));
    }
    Ok(steps)
}

/// Reports each step of a message and of its ACK.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let message = steps(&message(200), Kind::Message)?;
    let ack = steps(&ack(), Kind::Control)?;
    for (what, steps) in [("a message of 200 bytes", message), ("an ACK", ack)] {
        report.plain(&format!("sign {what}"), "µs", steps.sign, Goal::Told);
        report.plain(&format!("seal {what}"), "µs", steps.seal, Goal::Told);
        report.plain(&format!("open {what}"), "µs", steps.open, Goal::Told);
        report.plain(&format!("verify {what}"), "µs", steps.verify, Goal::Told);
    }
    Ok(())
}
