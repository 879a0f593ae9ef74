//! The source under test: sizes, bans, layers, links and the other rules no compiler checks.
