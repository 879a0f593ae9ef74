//! What a client does with a file beside moving it, one stage after the other on one thread.

use crate::measure::{Goal, Report, Samples, text, timed};
use beeline::files::{Inbox, Offer, Opened, Survey};
use beeline_proto::file::{FileKey, frame};
use beeline_proto::id::MessageId;
use beeline_proto::limits::FILE_FRAME_LEN_MAX;
use std::path::Path;
use std::time::Duration;

/// Rounds.
const ROUNDS: usize = 5;
/// Chunks made before they are taken: what the receiver's memory holds.
const AHEAD: usize = 64;

/// Seconds for each GiB of hashing, of reading and sealing, of opening and writing.
pub(crate) fn run(report: &mut Report, file: &Path) -> Result<(), String> {
    let mut stages = <[Samples; 3]>::default();
    for _ in 0..ROUNDS {
        let seconds = round(file)?;
        stages
            .iter_mut()
            .zip(seconds)
            .for_each(|(stage, s)| stage.0.push(s));
    }
    let names = [
        "… hashed before the offer, two threads",
        "… read, checked and sealed",
        "… opened, proved and written",
    ];
    for (name, stage) in names.into_iter().zip(stages) {
        report.plain(name, "s/GiB", stage, Goal::Told);
    }
    Ok(())
}

fn round(file: &Path) -> Result<[f64; 3], String> {
    let dir = tempfile::tempdir_in(file.parent().unwrap_or(file)).map_err(text)?;
    let survey = Survey::of(file).map_err(text)?;
    let shape = survey.shape(FILE_FRAME_LEN_MAX).map_err(text)?;
    let (hashing, source) = timed(|| survey.hash(shape, &mut |_| true));
    let mut source = source.map_err(text)?;
    let offer = Offer {
        id: MessageId([1; 16]),
        name: "sent".to_owned(),
        shape,
        root: source.root(),
        key: FileKey::try_from([5; 32].as_slice()).map_err(text)?,
        list_len: 0,
    };
    let seal = offer.seal().map_err(text)?;
    let inbox = Inbox::open(dir.path()).map_err(text)?;
    let Opened::Receiving(mut sink) = inbox.begin(&offer, 0).map_err(text)? else {
        return Err("it was there already".to_owned());
    };
    let (mut sealing, mut writing) = (Duration::ZERO, Duration::ZERO);
    let mut made = Vec::with_capacity(AHEAD);
    for index in 0..shape.chunks() {
        let (took, sealed) = timed(|| source.frame(&seal, offer.id, index));
        sealing += took;
        made.push(sealed.map_err(text)?);
        if made.len() < AHEAD && index + 1 < shape.chunks() {
            continue;
        }
        let (took, taken) = timed(|| {
            made.drain(..).try_for_each(|mut bytes| {
                let read = frame::parse(&bytes).map_err(text)?;
                let accepted = sink.accept(read.index, &mut bytes[read.sealed]);
                // What is synced beside it is not counted here.
                accepted.map(drop).map_err(text)
            })
        });
        writing += took;
        taken?;
    }
    let gib = shape.len() as f64 / f64::from(1 << 30);
    Ok([hashing, sealing, writing].map(|took| took.as_secs_f64() / gib))
}
