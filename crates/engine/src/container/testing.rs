//! A record to start tests from.

use std::sync::Arc;

use spec::api::{ContainerConfig, Descriptor, HostConfig};
use spec::{Digest, Id};

use super::View;
use super::record::{Attachment, Record, VERSION};
use super::state::State;

/// A container that runs `sh` on the default bridge.
pub(crate) fn record() -> Record {
    let digest = Digest::from_bytes([7; 32]);
    Record {
        version: VERSION,
        id: Id::from_bytes([1; 32]),
        name: "test".into(),
        created_at: 1,
        image: digest,
        manifest: Descriptor::new("m", digest, 1),
        config: ContainerConfig {
            cmd: vec!["sh".into()],
            image: "busybox".into(),
            ..ContainerConfig::default()
        },
        host: HostConfig { network_mode: "bridge".into(), ..HostConfig::default() },
        mounts: Vec::new(),
        networks: [("bridge".to_owned(), Default::default())].into(),
        secrets: Vec::new(),
        ids: None,
        labels: None,
    }
}

/// Its face before the first start.
pub(crate) fn view() -> View {
    View {
        record: Arc::new(record()),
        state: State::default(),
        network: Arc::new(Attachment::default()),
        told: 0,
        gone: false,
    }
}
