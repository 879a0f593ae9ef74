//! The source under test: sizes, bans, layers, links and the other rules no compiler checks.
//!
//! Each check is a pure function from text to findings, with a test of its own on a planted
//! violation: a check that cannot fail would prove nothing. `source` reads the tree once; a file
//! counts as soon as git would list it, committed or not.

mod allow;
mod bans;
mod core_rules;
mod dead_files;
mod hygiene;
mod layers;
mod links;
mod migrations;
mod rust;
mod schema;
mod sizes;
mod source;
mod supply;
mod testing_rules;
mod top_level;
