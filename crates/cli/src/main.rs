//! corten: the command line.

fn main() {}
