//! A layer's archive, of any compression: unpacked, or refused with nothing left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::ErrorKind;

fuzz_target!(|bytes: &[u8]| {
    let (directory, store) = fuzz::scratch();
    if let Err(error) = store.unpack(&mut &bytes[..], None, None) {
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
    }
    store.collect(&[], &[]).expect("nothing is named");
    for place in ["ingest", "layers"] {
        let left = std::fs::read_dir(directory.path().join(place)).expect("it is there").count();
        assert_eq!(left, 0, "{place}");
    }
});
