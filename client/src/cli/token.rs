//! `beeline token`.

use super::args::LinkArgs;
use super::fail::{Exit, Failure};
use super::line::Line;
use super::reach::Context;
use beeline::error::RestError;
use beeline::rest::{Token, TokenError};
use beeline_proto::code::ErrorCode;
use beeline_proto::time::Timestamp;

/// Prints a bearer token of this device.
pub(crate) async fn token(context: &Context) -> Result<Exit, Failure> {
    let token = fetch(context).await?;
    let line = Line::Token {
        token: token.text().to_owned(),
        expires_at: Timestamp::from_ms(token.expires_ms).to_string(),
    };
    context.printer.line(&line).await?;
    Ok(Exit::Done)
}

/// Asks a gateway of the home's network for a token.
pub(crate) async fn fetch(context: &Context) -> Result<Token, Failure> {
    let options = context.options("token", &LinkArgs::default());
    beeline::rest::token(&options)
        .await
        .map_err(|error| match &error {
            TokenError::Rest(RestError::Refused { code, detail, .. }) => {
                Failure::coded(*code, detail.clone())
            }
            TokenError::Rest(RestError::Unreachable(_)) => {
                Failure::coded(ErrorCode::Unavailable, error.to_string())
            }
            _ => Failure::new(error.to_string()),
        })
}
