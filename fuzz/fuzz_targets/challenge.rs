//! What a registry asks for in `WWW-Authenticate`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    registry::client::reads_challenge(header);
});
