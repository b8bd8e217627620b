//! The distribution protocol, both ends.
