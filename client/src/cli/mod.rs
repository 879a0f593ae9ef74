//! The command line: what is typed becomes one call, what comes back becomes lines and an exit
//! code.

pub(crate) mod answer;
pub(crate) mod args;
pub(crate) mod deliver;
mod device;
mod device_args;
mod device_line;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod fail;
mod file_args;
pub(crate) mod file_line;
mod file_meter;
mod file_past;
pub(crate) mod file_view;
mod human;
mod ice_args;
mod join;
pub(crate) mod line;
mod listen;
mod look;
mod network;
mod network_args;
mod past;
pub(crate) mod plain;
pub(crate) mod print;
pub(crate) mod reach;
mod reason;
pub(crate) mod registry;
mod send;
pub(crate) mod send_file;
#[cfg(feature = "serve")]
pub(crate) mod serve_args;
pub(crate) mod stop;
mod timeline;
mod token;
pub(crate) mod tries;
mod units;

use answer::Question;
use args::{Cli, Command, OnOff};
use beeline::home::Home;
use fail::{Exit, Failure};
use listen::Show;
use print::Printer;
use reach::Context;
use std::path::PathBuf;

/// Does what was typed.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    let printer = Printer::new(cli.json);
    #[cfg(feature = "serve")]
    match cli.command {
        Command::Demo => return crate::demo::demo(printer).await,
        Command::Serve(args) => return crate::serve::serve(printer, cli.ice.mode, *args).await,
        _ => {}
    }
    let home = cli.home.map_or_else(|| data_dir("beeline"), Ok)?;
    let home = Home::at(&home);
    let ice = cli.ice.mode;
    let context = Context { home, printer, ice };
    in_home(&context, cli.command).await
}

async fn in_home(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        #[cfg(feature = "serve")]
        Command::Demo | Command::Serve(_) => Ok(Exit::Usage),
        Command::Join(args) => join::join(context, args).await,
        Command::Send(args) => send::send(context, args).await,
        Command::SendFile(args) => send_file::send_file(context, args).await,
        Command::Files(args) => {
            let question = match args.action {
                None => Question::Files,
                Some(action) => Question::ChangeFile(action),
            };
            look::ask(context, question).await
        }
        Command::Listen(args) => {
            let mut options = context.options("listen", &args.link);
            options.files = args.files.options();
            options.keep = args.keep.keep();
            options.relay_files_per_s = args.keep.relay_files;
            let show = Show::Messages {
                left: args.count,
                read: args.read,
            };
            listen::stay(context, options, show).await
        }
        Command::Run(args) => {
            let mut options = context.options("run", &args.link);
            options.coordinator = args.coordinator();
            options.files = args.files.options();
            options.links_max = Some(args.links);
            options.keep = args.keep.keep();
            options.relay_files_per_s = args.keep.relay_files;
            listen::stay(context, options, Show::Nothing).await
        }
        Command::Status => look::status(context).await,
        Command::Peers => look::ask(context, Question::Peers).await,
        Command::Routes => look::ask(context, Question::Routes).await,
        Command::History(args) if args.delete => {
            look::ask(context, Question::Forget(args.user)).await
        }
        Command::History(args) => look::ask(context, Question::History(args.user)).await,
        Command::ReadReceipts(args) => {
            let (user, on) = (args.user, args.told == OnOff::On);
            look::ask(context, Question::ReadReceipts { user, on }).await
        }
        Command::Why(args) => {
            let question = Question::Why(answer::message_id(&args.id)?);
            look::ask(context, question).await
        }
        Command::Verify(args) => {
            let (user, accept) = (args.user, args.accept);
            look::ask(context, Question::Verify { user, accept }).await
        }
        Command::Doctor(link) => doctor::doctor(context, &link).await,
        Command::Token => token::token(context).await,
        Command::Device(args) => device::device(context, args.action).await,
        Command::Network(args) => network::network(context, args.action).await,
    }
}

/// A directory of ours among the user's data (XDG Base Directory Specification).
pub(crate) fn data_dir(name: &str) -> Result<PathBuf, Failure> {
    let absolute = |variable: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("share")));
    base.map(|base| base.join(name)).ok_or_else(|| {
        Failure::new("neither XDG_DATA_HOME nor HOME says where data belongs: give a directory")
    })
}
