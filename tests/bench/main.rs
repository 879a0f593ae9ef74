//! What Beeline costs, as ratios to ceilings measured in the same run:
//!
//! ```text
//! cargo bench -p beeline-tests                 # everything, a few minutes
//! cargo bench -p beeline-tests -- gateway      # one part: crypto manager store gateway registry
//!                                              # setup client burst outbox dedup custody
//!                                              # wire memory file folder link
//! ```
//!
//! Machines differ and drift, so no figure stands alone: each part runs what it measures and the
//! barest thing that could do the same work in turn, several rounds of each, and prints
//! min / median / max of both and of the ratio round by round, beside the goal.

mod bare;
mod calls;
mod client;
mod crypto;
mod custody;
mod dedup;
mod delivery;
mod file;
mod file_bare;
mod file_client;
mod file_link;
mod file_stages;
mod folder;
mod gateway;
mod grpc_bare;
mod loopback;
mod manager;
mod measure;
mod members;
mod memory;
mod outbox;
mod peerjs;
mod peers;
mod proc;
mod registry;
mod relay;
mod role;
mod servers;
mod setup;
mod sockets;
mod spent;
mod store;
mod store_bare;
mod wire;
mod wrapped;

use measure::Report;
use role::Role;

type Part = fn(&mut Report) -> Result<(), String>;

/// The parts by name, in the order they run.
const PARTS: &[(&str, Part)] = &[
    ("crypto", crypto::run),
    ("manager", manager::run),
    ("store", store::run),
    ("gateway", gateway::run),
    ("registry", registry::run),
    ("setup", setup::run),
    ("client", client::run),
    ("burst", delivery::burst),
    ("outbox", outbox::run),
    ("dedup", dedup::run),
    ("custody", custody::run),
    ("wire", wire::run),
    ("memory", memory::run),
    ("file", file::run),
    ("folder", folder::run),
    ("link", file_link::run),
];

/// What this binary is when a part starts it again.
const ROLES: &[(&str, Role)] = &[
    ("bare-relay", relay::play),
    ("bare-announce", grpc_bare::announce),
    ("bare-select", grpc_bare::select),
    ("bare-pairs", memory::bare_pairs),
    ("wrapped-pairs", memory::wrapped_pairs),
    ("registry", servers::registry),
    ("gateway", servers::gateway),
    ("peers", peers::play),
    ("keeper", custody::keeper),
    ("bare-file", file_bare::play),
    ("file-client", file_client::play),
];

fn main() {
    // `cargo bench` adds `--bench`; everything else is ours.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if args.first().map(String::as_str) == Some(role::FLAG) {
        role::play(ROLES, &args[1..]);
        return;
    }
    let wanted = |name: &str| args.is_empty() || args.iter().any(|a| a == name);
    if let Some(unknown) = args
        .iter()
        .find(|a| !PARTS.iter().any(|(name, _)| name == a))
    {
        let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
        measure::say(&format!(
            "no part is called {unknown}; there are: {}",
            names.join(" ")
        ));
        std::process::exit(2);
    }
    let mut report = Report::default();
    if let Err(why) = role::pin_self(role::LOAD_CORE) {
        report.broken("pinning", &why);
    }
    for (name, part) in PARTS.iter().filter(|(name, _)| wanted(name)) {
        measure::say(&format!("\n# {name}"));
        if let Err(why) = part(&mut report) {
            report.broken(name, &why);
        }
    }
    report.print();
    if report.is_broken() {
        std::process::exit(1);
    }
}
