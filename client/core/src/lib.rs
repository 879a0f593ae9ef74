//! The pure client core.
