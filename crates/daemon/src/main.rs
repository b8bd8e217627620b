//! cortend: configuration, wiring, Engine API.

fn main() {}
