//! `status`, `peers`, `routes`, `history`, `why`, `verify`, `read-receipts`: from the owner of the
//! home where there is one, else from the store.

use super::answer::{self, Question};
use super::args::LinkArgs;
use super::fail::{Exit, Failure};
use super::line::Line;
use super::reach::{Context, Way};
use crate::ipc::caller::CallError;
use beeline::Options;
use beeline::store::Reader;

/// Answers a question about the home.
pub(crate) async fn ask(context: &Context, question: Question) -> Result<Exit, Failure> {
    if question.changes() {
        return change(context, &question).await;
    }
    if let Some(mut owner) = context.owner().await? {
        match owner.ask(&question).await {
            Ok(lines) => {
                notice_nothing(context, &question, lines.is_empty());
                return print_json(context, lines).await;
            }
            Err(CallError::Failed(failure)) => return Err(failure),
            // The owner went while we asked: the store has what it knew.
            Err(CallError::Gone) => {}
        }
    }
    let reader = at_rest(context)?;
    let lines = answer::answer_at_rest(&reader, &question)?;
    notice_nothing(context, &question, lines.is_empty());
    print(context, &lines).await
}

/// Tells a person that there is nothing to list; scripts see that.
fn notice_nothing(context: &Context, question: &Question, nothing: bool) {
    if !nothing || context.printer.is_json() {
        return;
    }
    let text = match question {
        Question::Files => {
            "No file is under way, and none waits. What is over is in `beeline history USER`."
                .to_owned()
        }
        Question::Peers => "Nobody is known yet. Who is written to or writes here will be: \
                            `beeline send USER TEXT`, `beeline listen`."
            .to_owned(),
        Question::Routes => "No way to anybody is known yet. They are found when a message goes \
                             out, and kept for the next one."
            .to_owned(),
        Question::History(user) => {
            format!("No message with {user} is here. `beeline send {user} TEXT` sends one.")
        }
        _ => return,
    };
    context.printer.notice(&text);
}

/// Shows who this device is and how it is connected.
pub(crate) async fn status(context: &Context) -> Result<Exit, Failure> {
    if let Some(mut owner) = context.owner().await? {
        match owner.status().await {
            Ok(lines) => return print_json(context, lines).await,
            Err(CallError::Failed(failure)) => return Err(failure),
            Err(CallError::Gone) => {}
        }
    }
    let line = answer::status_at_rest(&at_rest(context)?)?;
    print(context, &[line]).await
}

fn at_rest(context: &Context) -> Result<Reader, Failure> {
    Reader::open(context.home.dir()).map_err(answer::failure)
}

/// Changes something, and prints what came of it.
async fn change(context: &Context, question: &Question) -> Result<Exit, Failure> {
    let lines = carry_out(context, question).await?;
    print(context, &lines).await
}

/// Changes something: only the owner of the home may.
pub(crate) async fn carry_out(
    context: &Context,
    question: &Question,
) -> Result<Vec<Line>, Failure> {
    // Nobody is called and nothing is sent just because somebody compares digits.
    let (command, ..) = question.to_wire();
    let options = Options {
        offline: !question.is_published(),
        ..context.options(command, &LinkArgs::default())
    };
    loop {
        match context.reach(options.clone()).await? {
            Way::Own(owned) => {
                let lines = answer::answer(&owned.client, question).await;
                owned.shutdown().await;
                return lines;
            }
            Way::Through(mut caller) => match caller.ask(question).await {
                Ok(lines) => return lines.iter().map(|json| read(json)).collect(),
                Err(CallError::Failed(failure)) => return Err(failure),
                Err(CallError::Gone) => {}
            },
        }
    }
}

fn read(json: &str) -> Result<Line, Failure> {
    serde_json::from_str(json).map_err(|_| {
        Failure::new("the running beeline speaks another version: restart it, then try again")
    })
}

async fn print(context: &Context, lines: &[Line]) -> Result<Exit, Failure> {
    for line in lines {
        context.printer.line(line).await?;
    }
    Ok(Exit::Done)
}

async fn print_json(context: &Context, lines: Vec<String>) -> Result<Exit, Failure> {
    for line in lines {
        context.printer.json(line).await?;
    }
    Ok(Exit::Done)
}
