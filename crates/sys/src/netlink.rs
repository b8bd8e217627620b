//! Netlink sockets and messages (netlink(7)): rtnetlink and nf_tables both stand on it.
