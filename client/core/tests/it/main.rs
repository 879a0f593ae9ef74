//! Behaviour of the core, in virtual time.
#[test]
fn x() {}
