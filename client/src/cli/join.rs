//! `beeline join`.

use super::args::{JoinArgs, LinkArgs};
use super::fail::{Exit, Failure};
use super::line::Line;
use super::plain;
use super::reach::Context;
use beeline::error::{JoinError, RestError};
use beeline::report::Who;
use beeline_proto::code::ErrorCode;
use beeline_proto::device_link::DeviceLink;
use beeline_proto::invite::InviteLink;
use std::path::Path;

/// Makes the home a device of a user in the link's network.
pub(crate) async fn join(context: &Context, args: JoinArgs) -> Result<Exit, Failure> {
    if DeviceLink::is_one(&args.link) {
        let text = "this link adds a device to a user: `beeline device join LINK`";
        return Err(Failure::coded(ErrorCode::InvalidArgument, text));
    }
    let mut options = context.options("join", &LinkArgs::default());
    options.ca = args.ca.clone();
    if let Ok(link) = InviteLink::parse(&args.link)
        && let Some(warning) = plain::warning(&link.gateways)
    {
        context.printer.notice(&warning);
    }
    let device = args.device.as_ref().map(|device| device.as_str());
    let joined = beeline::join::join(&options, &args.link, args.user.as_str(), device).await;
    let joined = joined.map_err(|error| failure(&error, args.ca.is_none()))?;
    welcome(context, args.ca.as_deref(), &joined.who).await
}

/// Keeps the certificate authorities that were given, and tells who the home is now.
pub(super) async fn welcome(
    context: &Context,
    ca: Option<&Path>,
    who: &Who,
) -> Result<Exit, Failure> {
    keep_ca(context, ca)?;
    let line = Line::Joined {
        network: who.network_label.to_string(),
        user: who.user_label.to_string(),
        device: who.device_label.to_string(),
    };
    context.printer.line(&line).await?;
    Ok(Exit::Done)
}

/// Keeps the certificate authorities that were given, for every later start.
fn keep_ca(context: &Context, ca: Option<&Path>) -> Result<(), Failure> {
    let Some(ca) = ca else {
        return Ok(());
    };
    let kept = context.ca_file();
    std::fs::copy(ca, &kept).map_err(|error| {
        Failure::new(format!(
            "joined, but {} could not be kept as {}: {error}; copy it there yourself",
            ca.display(),
            kept.display()
        ))
    })?;
    Ok(())
}

fn failure(error: &JoinError, without_ca: bool) -> Failure {
    let text = error.to_string();
    match error {
        JoinError::UserTaken(_) => Failure::coded(ErrorCode::AlreadyExists, text),
        JoinError::Link(_) | JoinError::Label(_) => {
            Failure::coded(ErrorCode::InvalidArgument, text)
        }
        JoinError::Rest(RestError::Refused { code, .. }) => Failure::coded(*code, text),
        JoinError::Rest(RestError::Unreachable(why)) => {
            let advice = if without_ca && why.contains("certificate") {
                "; for a network with a certificate authority of its own, give --ca FILE"
            } else {
                ""
            };
            Failure::coded(ErrorCode::Unavailable, format!("{text}{advice}"))
        }
        _ => Failure::new(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_authority_leads_to_the_flag() {
        let unknown = RestError::Unreachable("https://x: invalid peer certificate".to_owned());
        let unknown = JoinError::Rest(unknown);
        assert!(failure(&unknown, true).message.contains("--ca FILE"));
        assert!(!failure(&unknown, false).message.contains("--ca FILE"));
        let taken = failure(&JoinError::UserTaken("alice".to_owned()), true);
        assert_eq!(taken.code, Some(ErrorCode::AlreadyExists));
    }
}
