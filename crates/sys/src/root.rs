//! Paths inside an untrusted tree: every look-up by openat2(2) with RESOLVE_IN_ROOT.
