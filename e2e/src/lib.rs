//! End-to-end tests: the built binaries, driven as a user drives them. One file per part of the workflow in `tests/`;
//! each test has a host of its own (see `testkit::host`) and is audited at its end.
