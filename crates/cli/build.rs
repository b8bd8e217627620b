//! The command line starts at every command: linked to a fixed address it needs no relocations, which would be a quarter of
//! its start. It runs with its user's rights, listens to nobody, and has no memory that it hands to others.

#![allow(clippy::print_stdout, reason = "that is how cargo is told")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Whoever links it as it ships places its functions by this list.
    println!("cargo::rerun-if-changed=layout.txt");
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
