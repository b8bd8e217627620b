//! An archive of images (docker-archive, OCI layout) of any compression: loaded, or refused with nothing left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::ErrorKind;
use spec::oci::image::Platform;

fuzz_target!(|bytes: &[u8]| {
    let (directory, store) = fuzz::scratch();
    match store.load(&mut &bytes[..], &[]) {
        Ok(loaded) => {
            for (_, target) in &loaded {
                if let Ok(image) = store.image(target, &Platform::host()) {
                    let _ = store.unpack_image(&image);
                }
            }
        }
        Err(error) => {
            let kinds = [ErrorKind::InvalidParameter, ErrorKind::NotFound];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    }
    store.collect(&[], &[]).expect("nothing is named");
    for place in ["ingest", "layers", "blobs/sha256"] {
        let left = std::fs::read_dir(directory.path().join(place)).expect("it is there").count();
        assert_eq!(left, 0, "{place}");
    }
});
