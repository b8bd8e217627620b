//! An image's name: what is taken is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::Reference;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
    assert_eq!(reference.familiar().parse(), Ok(reference));
});
