//! Waiting on many fds in one thread: epoll, signalfd, eventfd.
