//! Messages with file descriptors over unix sockets (unix(7), SCM_RIGHTS).
