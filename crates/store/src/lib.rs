//! What is on disk: blobs, layers, writable layers, images, leases.
