//! The `sentei` command.
fn main() {}
