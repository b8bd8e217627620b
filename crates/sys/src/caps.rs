//! Capabilities of a process (capabilities(7)).
