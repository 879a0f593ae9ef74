//! Compiles the schema.

fn main() {}
