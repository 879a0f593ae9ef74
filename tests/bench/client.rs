//! Messages on an open link: round trips and throughput without disk and servers, beside the bare
//! crate and the measured cost of the cryptography.

use crate::bare::{BarePair, echo};
use crate::crypto;
use crate::delivery;
use crate::loopback::Loopback;
use crate::measure::{Goal, Report, Samples, now, say, text};
use crate::spent::{Tally, Work};
use beeline_proto::parcel::Kind;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Rounds, the contestants in turn.
const ROUNDS: usize = 5;
/// Round trips of each contestant in a round.
const TRIPS: usize = 400;
/// Pause before each round trip where messages are paced: a fast typist, and far above the 2 ms
/// for which ACKs gather.
const PAUSE: Duration = Duration::from_millis(10);
/// Round trips of a paced round.
const PACED_TRIPS: usize = 100;
/// Round trips before the first round.
const WARM_UP: usize = 100;
/// Bytes of text.
const TEXT: usize = 200;
/// Messages of a throughput round, and how many may be queued or on their way: more than one link
/// takes unacknowledged (512), so that messages wait together and share frames.
const STREAM: usize = 6_000;
const WINDOW: usize = 1_500;

/// Round trip over the sum of its parts.
const TRIP_RATIO: f64 = 1.3;

/// Reports round trips and throughput.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let trips = runtime.map_err(text)?.block_on(links(report))?;
    delivery::run(report, &trips)
}

/// Without disk and servers; returns the paced round trips.
async fn links(report: &mut Report) -> Result<Samples, String> {
    let mut ours = Loopback::new()?;
    ours.connect().await?;
    let sizes = frame_sizes(&mut ours).await?;
    let bare = BarePair::connect().await?;
    let mut echoing = JoinSet::new();
    echoing.spawn(echo(Arc::clone(&bare.channels[1]), vec![7; sizes.1]));
    trips(report, &mut ours, &bare, sizes, Pace::BackToBack).await?;
    let paced = trips(report, &mut ours, &bare, sizes, Pace::Paced).await?;
    stream(report, &mut ours, &bare, sizes).await?;
    echoing.abort_all();
    bare.close().await;
    ours.close().await;
    Ok(paced)
}

/// How soon a round trip follows another.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    BackToBack,
    Paced,
}

impl Pace {
    async fn wait(self) {
        if self == Self::Paced {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn trips(self) -> usize {
        if self == Self::Paced {
            PACED_TRIPS
        } else {
            TRIPS
        }
    }
}

async fn our_trip(ours: &mut Loopback) -> Result<f64, String> {
    let start = now();
    let count = ours.delivered + 1;
    ours.send(&"x".repeat(TEXT))?;
    ours.until_delivered(count).await?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// Bytes of the frame that carries one message, and of the one that carries its ACK.
async fn frame_sizes(ours: &mut Loopback) -> Result<(usize, usize), String> {
    for _ in 0..WARM_UP {
        our_trip(ours).await?;
    }
    // Frames come one by one; the sum of both directions tells the second.
    ours.spent.take();
    ours.send(&"x".repeat(TEXT))?;
    let message = ours.spent.tally().frame_bytes as usize;
    let count = ours.delivered + 1;
    ours.until_delivered(count).await?;
    let both = ours.spent.take();
    if both.frames != 2 || message == 0 {
        return Err(format!(
            "one message and its ACK took {} frames",
            both.frames
        ));
    }
    let ack = both.frame_bytes as usize - message;
    say(&format!(
        "one message is a frame of {message} bytes, its ACK one of {ack}"
    ));
    Ok((message, ack))
}

async fn trips(
    report: &mut Report,
    ours: &mut Loopback,
    bare: &BarePair,
    sizes: (usize, usize),
    pace: Pace,
) -> Result<Samples, String> {
    let message = vec![7; sizes.0];
    for _ in 0..WARM_UP {
        bare.round_trip(&message).await?;
    }
    let [mut our_p50, mut parts, mut bare_p50, mut secrets] = <[Samples; 4]>::default();
    for _ in 0..ROUNDS {
        let mut round = Samples::default();
        for _ in 0..pace.trips() {
            pace.wait().await;
            let start = now();
            bare.round_trip(&message).await?;
            round.0.push(start.elapsed().as_secs_f64() * 1e6);
        }
        let link = round.quantile(0.5);
        let said = crypto::steps(&crypto::message(TEXT), Kind::Message)?.middle_us();
        let acked = crypto::steps(&crypto::ack(), Kind::Control)?.middle_us();
        let mut round = Samples::default();
        for _ in 0..pace.trips() {
            pace.wait().await;
            round.0.push(our_trip(ours).await?);
        }
        our_p50.0.push(round.quantile(0.5));
        bare_p50.0.push(link);
        secrets.0.push(said + acked);
        parts.0.push(link + said + acked);
    }
    let how = match pace {
        Pace::BackToBack => "back to back",
        Pace::Paced => "every 10 ms",
    };
    let name = format!("message and ACK, {how}, p50");
    report.plain("… of which the bare crate", "µs", bare_p50, Goal::Told);
    report.plain(
        "… of which cryptography, both ways",
        "µs",
        secrets,
        Goal::Told,
    );
    let ceiling = ("bare crate + cryptography", parts);
    report.ratio(
        &name,
        "µs",
        our_p50.clone(),
        ceiling,
        Goal::AtMost(TRIP_RATIO),
    );
    Ok(our_p50)
}

/// Messages one way as fast as they go; both sides share one core.
async fn stream(
    report: &mut Report,
    ours: &mut Loopback,
    bare: &BarePair,
    sizes: (usize, usize),
) -> Result<(), String> {
    let body = "x".repeat(TEXT);
    let (mut rates, mut uncoalesced) = (Samples::default(), Samples::default());
    let mut tally = Tally::default();
    let mut per_message_us = f64::NAN;
    for _ in 0..ROUNDS {
        let start = now();
        let frame = vec![7; sizes.0];
        for _ in 0..TRIPS {
            bare.round_trip(&frame).await?;
        }
        uncoalesced
            .0
            .push(TRIPS as f64 / start.elapsed().as_secs_f64());
        ours.spent.take();
        let start = now();
        let first = ours.delivered;
        for sent in 1..=STREAM {
            ours.send(&body)?;
            ours.until_delivered(first + sent.saturating_sub(WINDOW))
                .await?;
        }
        ours.until_delivered(first + STREAM).await?;
        let rate = STREAM as f64 / start.elapsed().as_secs_f64();
        rates.0.push(rate);
        (tally, per_message_us) = (ours.spent.take(), 1e6 / rate);
    }
    report.plain(
        "messages one way, signed, sealed, coalesced",
        "msgs/s",
        rates,
        Goal::Told,
    );
    report.plain(
        "bare crate, one frame at a time",
        "msgs/s",
        uncoalesced,
        Goal::Told,
    );
    let verify = crypto::steps(&crypto::message(TEXT), Kind::Message)?
        .verify
        .quantile(0.5);
    where_time_goes(&tally, verify, per_message_us);
    Ok(())
}

/// Prints the last round's table: µs of the one core for each message, both sides together.
fn where_time_goes(tally: &Tally, verify_us: f64, total_us: f64) {
    let each = |work: Work| work.time.as_secs_f64() * 1e6 / STREAM as f64;
    let secrets = [tally.sign, tally.seal, tally.open].map(each);
    // One envelope is verified for each parcel opened.
    let verify = verify_us * tally.open.count as f64 / STREAM as f64;
    let manager = each(tally.manager);
    let rest = manager - secrets.iter().sum::<f64>() - verify;
    let frames = tally.frames as f64 / STREAM as f64;
    say("where the time of one message goes (both sides, one core):");
    for (what, us) in [
        ("sign", secrets[0]),
        ("seal", secrets[1]),
        ("open", secrets[2]),
        ("verify (count × measured alone)", verify),
        ("the rest of the managers", rest),
        ("links and runtime", total_us - manager),
        ("sum", total_us),
    ] {
        say(&format!(
            "  {what:<34} {us:>7.1} µs {:>4.0} %",
            us / total_us * 100.0
        ));
    }
    let acks = (tally.seal.count as f64 - STREAM as f64) / STREAM as f64;
    let bytes = tally.frame_bytes as f64 / STREAM as f64;
    say(&format!(
        "  per message: {frames:.2} frames, {bytes:.0} bytes, {acks:.2} ACKs"
    ));
}
