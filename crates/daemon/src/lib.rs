//! cortend: configuration, wiring, Engine API.
