//! Sealed programs in memory (memfd_create(2)).
