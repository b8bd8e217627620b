//! RUN: a program in a container of its own, with no container record.
//!
//! | room | what is in it |
//! |---|---|
//! | [`execute`] | set-up, the shim, teardown |
//! | [`agent`] | the client's ssh agent |
//! | [`cancel`] | the client went away |
//! | [`recover`] | the daemon went away |
//! | [`stream`] | output becomes progress lines |
//! | [`oci`] | the OCI configuration |
//! | [`hosts`], [`stubs`] | /etc/hosts and the like, and what is made to mount them on |

pub(crate) mod agent;
pub(crate) mod cancel;
pub(crate) mod execute;
mod hosts;
mod oci;
pub(crate) mod recover;
mod stream;
mod stubs;
