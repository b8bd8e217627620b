//! A seccomp profile in JSON becomes a filter, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(profile) = serde_json::from_slice(bytes) {
        let _ = runtime::Filter::compile(&profile);
    }
});
