//! A manifest, an index, a configuration: read as what a name points at, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::oci::image::{Image, Index, Manifest, Platform, media};

fuzz_target!(|bytes: &[u8]| {
    let _ = spec::gojson::from_slice::<Manifest>(bytes);
    let _ = spec::gojson::from_slice::<Index>(bytes);
    let _ = spec::gojson::from_slice::<Image>(bytes);
    let store = &fuzz::scratch().1;
    for media_type in [media::MANIFEST, media::INDEX] {
        let target = store.put_blob(media_type, bytes).expect("room on the disk");
        let _ = store.members(&target);
        let _ = store.image(&target, &Platform::host());
        let _ = store.tag(&"x".parse().expect("a name"), &target);
    }
    for record in store.images() {
        store.untag(&record.name).expect("it is there");
    }
    store.collect(&[], &[]).expect("nothing is named");
});
