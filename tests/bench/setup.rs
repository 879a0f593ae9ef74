//! Set-up of a link on loopback: from the making of an offer to an open channel on both sides, and
//! to the end of both HELLOs; the crate as it comes, wrapped, and wrapped with signed and sealed
//! signalling.

use crate::bare::BarePair;
use crate::loopback::{Loopback, Moments};
use crate::measure::{Goal, Report, Samples, now, say, text};
use crate::wrapped::WrappedPair;
use std::time::Instant;

/// Connections of each contestant in a round; a round's figure is their middle.
const CONNECTIONS: usize = 10;
/// Rounds, the contestants in turn.
const ROUNDS: usize = 5;
/// Connections that are watched step by step, which costs a little time itself.
const WATCHED: usize = 20;

/// Offer to open, milliseconds, and as a part of the crate's own time.
const OPEN_MS: f64 = 24.0;
const OPEN_RATIO: f64 = 0.04;
/// Offer to both HELLOs verified on both sides, milliseconds.
const HELLO_MS: f64 = 30.0;

/// Reports all three.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(text)?.block_on(async {
        links(report).await?;
        steps().await
    })
}

fn ms(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * 1e3
}

async fn links(report: &mut Report) -> Result<(), String> {
    let [mut bare, mut wrapped, mut open, mut hello] = <[Samples; 4]>::default();
    for _ in 0..ROUNDS {
        let mut round = <[Samples; 4]>::default();
        for _ in 0..CONNECTIONS {
            let start = now();
            let pair = BarePair::connect().await?;
            round[0].0.push(ms(start, now()));
            pair.close().await;
            let start = now();
            let pair = WrappedPair::connect().await?;
            round[1].0.push(ms(start, now()));
            pair.close().await;
            let mut pair = Loopback::new()?;
            let moments = pair.connect().await?;
            let offered = moments.offered.ok_or("a link without an offer")?;
            round[2].0.push(ms(offered, last(moments.open)?));
            round[3].0.push(ms(offered, last(moments.connected)?));
            pair.close().await;
        }
        for (all, round) in [&mut bare, &mut wrapped, &mut open, &mut hello]
            .into_iter()
            .zip(round)
        {
            all.0.push(round.quantile(0.5));
        }
    }
    let (as_it_comes, at_most) = (("crate as it comes", bare), Goal::AtMost);
    report.plain(
        "offer → open, the wrapped crate alone, p50",
        "ms",
        wrapped,
        Goal::Told,
    );
    let name = "offer → open, signed and sealed, p50";
    report.plain(name, "ms", open.clone(), at_most(OPEN_MS));
    report.ratio(name, "ms", open, as_it_comes, at_most(OPEN_RATIO));
    report.plain(
        "offer → HELLO done on both sides, p50",
        "ms",
        hello,
        at_most(HELLO_MS),
    );
    Ok(())
}

/// The moment the later side got there.
fn last(moments: [Option<Instant>; 2]) -> Result<Instant, String> {
    match moments {
        [Some(a), Some(b)] => Ok(a.max(b)),
        _ => Err("a link that is not open on both sides".into()),
    }
}

/// The steps of a set-up, by the offerer's clock, the answerer's channel included.
fn parts(moments: &Moments) -> Option<[f64; 6]> {
    let Moments {
        offered,
        described,
        answered,
        nominated,
        secured,
        ..
    } = *moments;
    let open = last(moments.open).ok()?;
    let done = last(moments.connected).ok()?;
    let at = [
        offered?,
        described?,
        answered?,
        nominated?,
        secured?.max(nominated?),
        open,
        done,
    ];
    let mut parts = [0.0; 6];
    for (part, pair) in parts.iter_mut().zip(at.windows(2)) {
        // Looked at every millisecond, neighbours may be seen at once.
        *part = pair[1].saturating_duration_since(pair[0]).as_secs_f64() * 1e3;
    }
    Some(parts)
}

async fn steps() -> Result<(), String> {
    const NAMES: [&str; 6] = [
        "offer made, sockets bound, candidates gathered",
        "signalling: sealed, opened, answered",
        "ICE: checks to nomination",
        "DTLS",
        "SCTP and channel",
        "HELLO, both ways",
    ];
    let mut all = <[Samples; 6]>::default();
    for _ in 0..WATCHED {
        let mut pair = Loopback::new()?;
        let moments = pair.connect_watched().await?;
        let parts = parts(&moments).ok_or("a link whose steps were not seen")?;
        for (samples, part) in all.iter_mut().zip(parts) {
            samples.0.push(part);
        }
        pair.close().await;
    }
    let total: f64 = all.iter().map(|samples| samples.quantile(0.5)).sum();
    say("where the time of a set-up goes (p50, watched every millisecond):");
    for (name, samples) in NAMES.iter().zip(&all) {
        let middle = samples.quantile(0.5);
        say(&format!(
            "  {name:<48} {middle:>6.2} ms {:>4.0} %",
            middle / total * 100.0
        ));
    }
    Ok(())
}
