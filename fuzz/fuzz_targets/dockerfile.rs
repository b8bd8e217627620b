//! A Dockerfile: its lines, instructions and words, and what the linter has to say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    builder::reads_dockerfile(bytes);
});
