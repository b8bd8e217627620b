//! An OCI bundle becomes a process tree.
