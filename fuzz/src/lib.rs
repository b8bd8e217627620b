//! What several targets need.

/// An empty store that lasts as long as the process, and its directory.
#[cfg(feature = "scratch")]
pub fn scratch() -> &'static (tempfile::TempDir, store::Store) {
    static STORE: std::sync::LazyLock<(tempfile::TempDir, store::Store)> = std::sync::LazyLock::new(|| {
        let directory = tempfile::tempdir().expect("a scratch directory (TMPDIR on a tmpfs is fastest)");
        let store = store::Store::open(directory.path()).expect("an empty store");
        (directory, store)
    });
    &STORE
}
