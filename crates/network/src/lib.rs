//! Network namespaces, bridges, address pools, nftables, published ports, names.
