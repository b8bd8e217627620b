//! A seccomp profile becomes a BPF filter, and is loaded (seccomp(2)).
