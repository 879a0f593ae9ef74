//! `beeline device`: link, join, list, revoke.

use super::answer::Question;
use super::args::LinkArgs;
use super::device_args::DeviceAction;
use super::device_line::DeviceLine;
use super::fail::{Exit, Failure};
use super::join::welcome;
use super::line::Line;
use super::look;
use super::reach::Context;
use beeline::device::{DeviceError, Holder, Lists, Pending};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::Label;
use beeline_proto::time::Timestamp;
use std::net::SocketAddr;
use std::path::Path;

/// Longest answer read from a person.
const ANSWER_LEN_MAX: u64 = 64;

/// Does one task.
pub(crate) async fn device(context: &Context, action: DeviceAction) -> Result<Exit, Failure> {
    match action {
        DeviceAction::Link { listen } => link(context, listen).await,
        DeviceAction::Join { link, device, ca } => {
            join(context, &link, device.as_ref(), ca.as_deref()).await
        }
        DeviceAction::List => list(context).await,
        DeviceAction::Revoke { device } => revoke(context, &device).await,
    }
}

async fn link(context: &Context, listen: Option<SocketAddr>) -> Result<Exit, Failure> {
    let holder = Holder::open(&context.home, listen).await.map_err(failure)?;
    say(
        context,
        DeviceLine::DeviceLink {
            link: holder.link(),
        },
    )
    .await?;
    let pending = holder.wait().await.map_err(failure)?;
    let user = Lists::of(&context.home).map_err(failure)?.who().user_label;
    let digits = DeviceLine::DeviceDigits {
        digits: pending.digits().to_owned(),
        user: user.to_string(),
        device: Some(pending.device().to_string()),
    };
    say(context, digits).await?;
    if !confirmed(context).await {
        pending.refuse("nobody said yes to it").await;
        let text = "not linked: the digits were not confirmed".to_owned();
        return Err(Failure::new(text));
    }
    take_in(context, pending).await
}

/// The person said yes: the list is put in force, and the new device gets it.
async fn take_in(context: &Context, pending: Pending) -> Result<Exit, Failure> {
    let device = pending.device().clone();
    let list = match pending.list() {
        Ok(list) => list,
        Err(error) => {
            pending.refuse(&error.to_string()).await;
            return Err(failure(error));
        }
    };
    let published = match put(context, &list).await {
        Ok(published) => published,
        Err(error) => {
            pending.refuse(&error.message).await;
            // The registry's no would stand in the way of every later list.
            return Err(take_off(context, &device, error).await);
        }
    };
    if let Err(error) = pending.hand_over(&list).await {
        return Err(take_off(context, &device, failure(error)).await);
    }
    let device = device.to_string();
    say(context, DeviceLine::DeviceLinked { device, published }).await?;
    Ok(Exit::Done)
}

/// A device that came to nothing leaves the list again.
async fn take_off(context: &Context, device: &Label, why: Failure) -> Failure {
    let lists = Lists::of(&context.home);
    let list = match lists.and_then(|lists| lists.without(device)) {
        Ok(list) => list,
        // It was not on it.
        Err(DeviceError::NoSuchDevice(..)) => return why,
        Err(error) => return failure(error),
    };
    let undone = match put(context, &list).await {
        Ok(_) => format!("{device} was taken off the list again"),
        Err(error) => format!(
            "{device} is still on the list ({}): `beeline device revoke {device}`",
            error.message
        ),
    };
    let message = format!("{}; {undone}", why.message);
    Failure { message, ..why }
}

async fn join(
    context: &Context,
    link: &str,
    device: Option<&Label>,
    ca: Option<&Path>,
) -> Result<Exit, Failure> {
    let options = context.options("device join", &LinkArgs::default());
    let show = async |digits: &str, user: &Label| {
        let line = DeviceLine::DeviceDigits {
            digits: digits.to_owned(),
            user: user.to_string(),
            device: None,
        };
        // Whoever does not see the digits will not say yes.
        let _ = say(context, line).await;
    };
    let joined = beeline::device::join(&options, link, device, show).await;
    let joined = joined.map_err(failure)?;
    welcome(context, ca, &joined.who).await
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let lists = Lists::of(&context.home).map_err(failure)?;
    for device in lists.devices() {
        let seen = (device.seen_ms > 0).then(|| Timestamp::from_ms(device.seen_ms).to_string());
        let line = DeviceLine::Device {
            device: device.label.to_string(),
            fingerprint: device.device.to_string(),
            here: device.here,
            holds_user_key: device.holds_key,
            seen_at: seen.filter(|_| !device.here),
        };
        say(context, line).await?;
    }
    Ok(Exit::Done)
}

async fn revoke(context: &Context, device: &Label) -> Result<Exit, Failure> {
    let lists = Lists::of(&context.home).map_err(failure)?;
    let list = lists.without(device).map_err(failure)?;
    let published = put(context, &list).await?;
    let device = device.to_string();
    say(context, DeviceLine::DeviceRevoked { device, published }).await?;
    Ok(Exit::Done)
}

/// Puts a list in force through whoever owns the home, or a client of our own; whether the
/// registry holds it already.
async fn put(context: &Context, list: &[u8]) -> Result<bool, Failure> {
    let question = Question::PutDeviceList(list.to_vec());
    let lines = look::carry_out(context, &question).await?;
    let answer = lines.into_iter().find_map(|line| match line {
        Line::Device(DeviceLine::DeviceList { published, reason }) => Some((published, reason)),
        _ => None,
    });
    match answer {
        Some((published, None)) => Ok(published),
        Some((_, Some(reason))) => {
            let text = format!("the registry refused the device list: {reason}");
            Err(Failure::coded(ErrorCode::Conflict, text))
        }
        None => Err(Failure::new(
            "the running beeline gave no answer: restart it",
        )),
    }
}

/// Whether the person says that both machines show the same. Whatever is not a yes is a no.
async fn confirmed(context: &Context) -> bool {
    context
        .printer
        .notice("Does the new machine show the same six digits? Type yes to link it:");
    let line = tokio::task::spawn_blocking(|| {
        use std::io::{BufRead as _, Read as _};
        let mut line = String::new();
        let read = std::io::stdin()
            .lock()
            .take(ANSWER_LEN_MAX)
            .read_line(&mut line);
        read.map(|_| line)
    });
    let line = line.await.ok().and_then(Result::ok).unwrap_or_default();
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

async fn say(context: &Context, line: DeviceLine) -> Result<(), Failure> {
    context.printer.line(&Line::Device(line)).await
}

fn failure(error: DeviceError) -> Failure {
    Failure::coded(error.code(), error.to_string())
}
