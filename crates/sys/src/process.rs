//! Processes: clone3 with a pidfd, exec, reap, signals; posix_spawn from a large threaded process.
