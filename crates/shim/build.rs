//! The program begins before its C library does: see `sys::process`'s `early`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Whoever links it as it ships places its functions by this list.
    println!("cargo::rerun-if-changed=layout.txt");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo::rustc-link-arg-bin=corten-shim=-Wl,-e,corten_early_start");
    }
}
