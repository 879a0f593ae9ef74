//! Frames between two devices of a user: u32be(len) and a serialized `DeviceLinkFrame`.

use super::DeviceError;
use crate::limits::{DEVICE_REFUSAL_MAX, DEVICE_STEP_WAIT};
use beeline_proto::device_link::DEVICE_FRAME_LEN_MAX;
use beeline_proto::pb::identity::v1::DeviceLinkFrame;
use beeline_proto::pb::identity::v1::device_link_frame::Kind;
use prost::Message as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Reads the next frame, within `wait`. A refusal is an error of its own.
pub(super) async fn read(stream: &mut TcpStream, wait: Duration) -> Result<Kind, DeviceError> {
    let read = timeout(wait, read_one(stream)).await;
    let kind = read.map_err(|_| gone("the other device does not answer"))??;
    match kind {
        Kind::Refused(why) => {
            let why = why.chars().filter(|c| !c.is_control());
            Err(DeviceError::Refused(why.take(DEVICE_REFUSAL_MAX).collect()))
        }
        kind => Ok(kind),
    }
}

async fn read_one(stream: &mut TcpStream) -> Result<Kind, DeviceError> {
    let mut len = [0u8; 4];
    let lost = |_: std::io::Error| gone("the other device ended the connection");
    stream.read_exact(&mut len).await.map_err(lost)?;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > DEVICE_FRAME_LEN_MAX {
        return Err(gone("the other side does not speak as a device does"));
    }
    let mut bytes = vec![0u8; len];
    stream.read_exact(&mut bytes).await.map_err(lost)?;
    let frame = DeviceLinkFrame::decode(bytes.as_slice()).ok();
    let kind = frame.and_then(|frame| frame.kind);
    kind.ok_or_else(|| gone("the other side does not speak as a device does"))
}

/// Writes a frame.
pub(super) async fn write(stream: &mut TcpStream, kind: Kind) -> Result<(), DeviceError> {
    let body = DeviceLinkFrame { kind: Some(kind) }.encode_to_vec();
    if body.len() > DEVICE_FRAME_LEN_MAX {
        return Err(gone("what is to be said is too large for a frame"));
    }
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = len.to_be_bytes().to_vec();
    frame.extend(body);
    let written = timeout(DEVICE_STEP_WAIT, stream.write_all(&frame)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        _ => Err(gone("the other device ended the connection")),
    }
}

/// Says why it comes to nothing; whoever left need not hear it.
pub(super) async fn refuse(stream: &mut TcpStream, why: &str) {
    let why = why.chars().take(DEVICE_REFUSAL_MAX).collect();
    let _ = write(stream, Kind::Refused(why)).await;
}

pub(super) fn gone(why: &str) -> DeviceError {
    DeviceError::Connection(why.to_owned())
}
