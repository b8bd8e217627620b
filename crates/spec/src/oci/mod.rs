//! The Open Container Initiative's JSON: images (image-spec 1.1) and the runtime's configuration (runtime-spec 1.3).

pub mod image;
pub mod runtime;
