//! ringway-load.
fn main() {}
