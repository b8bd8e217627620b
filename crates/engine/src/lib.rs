//! Docker's behaviour without HTTP.
