//! The engine: holds the services and the containers. Its verbs are in `container/`, `image/`, `network`, `volume`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use spec::api::*;
use spec::{Digest, Filters};
use tokio::sync::mpsc;

use crate::Error;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// State that outlives a boot (`/var/lib/corten`).
    pub data_root: PathBuf,
    /// State that does not (`/run/corten`).
    pub exec_root: PathBuf,
    /// Parent of the containers' cgroups (`/corten`).
    pub cgroup_parent: String,
    /// The `corten-shim` program.
    pub shim: PathBuf,
    /// Networks.
    pub network: network::Config,
    /// Registries that may be spoken to without verified TLS.
    pub insecure_registries: Vec<String>,
    /// The tar (docker-archive) of the image that ships inside Corten, and its name.
    pub built_in: Option<(&'static str, &'static [u8])>,
}

/// The engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    _inner: Arc<()>,
}

/// `GET /containers/json`.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// The newest so many; 0 or less is all.
    pub limit: i64,
    /// Fill in sizes.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Replay the log first.
    pub logs: bool,
    /// Stay connected.
    pub stream: bool,
    /// Forward stdin.
    pub stdin: bool,
    /// Send stdout.
    pub stdout: bool,
    /// Send stderr.
    pub stderr: bool,
    /// `ctrl-p,ctrl-q` when empty.
    pub detach_keys: String,
}

/// A connected stream: bytes in both directions, as they go over the wire (frames unless `tty`).
#[derive(Debug)]
pub struct Attached {
    /// To the shim. `None`: nothing more will come after `replay`.
    pub socket: Option<tokio::net::UnixStream>,
    /// Log to send first.
    pub replay: Option<mpsc::Receiver<Bytes>>,
    /// Raw bytes instead of frames.
    pub tty: bool,
    /// The bytes that detach, for [`crate::container::attach::DetachKeys`]; empty without a terminal.
    pub detach_keys: Vec<u8>,
    /// Whether client bytes are wanted.
    pub stdin: bool,
}

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Wait for more until the container ends.
    pub follow: bool,
    /// Stdout.
    pub stdout: bool,
    /// Stderr.
    pub stderr: bool,
    /// Nanoseconds since 1970; 0 is the beginning.
    pub since: i128,
    /// Nanoseconds since 1970; 0 is no end.
    pub until: i128,
    /// RFC 3339 in front of each line.
    pub timestamps: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// Not running now, or ended.
    NotRunning,
    /// The next end.
    NextExit,
    /// Removed.
    Removed,
}

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Anonymous volumes too.
    pub volumes: bool,
}

/// A container that is waited for; the lookup has been done, so headers can go out.
#[derive(Debug)]
pub struct Waiter {
    _private: (),
}

impl Waiter {
    /// Completes when the condition is met.
    pub async fn done(self) -> ContainerWaitResponse {
        todo!()
    }
}

impl Engine {
    /// Opens the data root, adopts the containers whose shims live, records the ends of the others.
    ///
    /// # Errors
    /// The data root, the network or the shim program cannot be used.
    pub async fn open(_config: Config) -> Result<Self, Error> {
        todo!()
    }

    // ---- services, for the builder's wiring in the daemon
    /// Images and layers.
    pub fn store(&self) -> &store::Store {
        todo!()
    }
    /// Networks.
    pub fn networks(&self) -> &network::Networks {
        todo!()
    }
    /// The sealed shim.
    pub fn shim(&self) -> &Arc<shim::client::Program> {
        todo!()
    }
    /// The registry client.
    pub fn registry(&self) -> &registry::client::Client {
        todo!()
    }
    /// As opened.
    pub fn config(&self) -> &Config {
        todo!()
    }

    // ---- containers: `id` is a full id, a name or a unique id prefix everywhere
    pub async fn create(
        &self,
        _name: Option<&str>,
        _platform: Option<&str>,
        _request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, Error> {
        todo!()
    }
    /// 304 when it runs already.
    pub async fn start(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }
    /// `timeout` seconds, -1 for ever; 304 when it is stopped already.
    pub async fn stop(&self, _id: &str, _signal: Option<&str>, _timeout: Option<i64>) -> Result<(), Error> {
        todo!()
    }
    pub async fn restart(
        &self,
        _id: &str,
        _signal: Option<&str>,
        _timeout: Option<i64>,
    ) -> Result<(), Error> {
        todo!()
    }
    pub async fn kill(&self, _id: &str, _signal: Option<&str>) -> Result<(), Error> {
        todo!()
    }
    pub async fn pause(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }
    pub async fn unpause(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }
    pub async fn remove(&self, _id: &str, _options: RemoveOptions) -> Result<(), Error> {
        todo!()
    }
    pub async fn rename(&self, _id: &str, _new: &str) -> Result<(), Error> {
        todo!()
    }
    pub async fn update(
        &self,
        _id: &str,
        _request: ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse, Error> {
        todo!()
    }
    pub async fn containers(&self, _options: ListOptions) -> Result<Vec<ContainerSummary>, Error> {
        todo!()
    }
    pub async fn inspect(&self, _id: &str, _size: bool) -> Result<ContainerInspectResponse, Error> {
        todo!()
    }
    pub fn wait(&self, _id: &str, _condition: WaitCondition) -> Result<Waiter, Error> {
        todo!()
    }
    pub async fn attach(&self, _id: &str, _options: AttachOptions) -> Result<Attached, Error> {
        todo!()
    }
    /// Frames (or raw bytes with a terminal), ready for the wire; the flag says whether it is a terminal's.
    pub async fn logs(
        &self,
        _id: &str,
        _options: LogOptions,
    ) -> Result<(mpsc::Receiver<Bytes>, bool), Error> {
        todo!()
    }
    pub async fn resize(&self, _id: &str, _height: u16, _width: u16) -> Result<(), Error> {
        todo!()
    }
    pub async fn top(&self, _id: &str) -> Result<ContainerTopResponse, Error> {
        todo!()
    }
    pub async fn prune_containers(&self, _filters: &Filters) -> Result<ContainersPruneResponse, Error> {
        todo!()
    }

    // ---- execs
    pub async fn exec_create(&self, _id: &str, _config: ExecConfig) -> Result<String, Error> {
        todo!()
    }
    /// `None` when detached.
    pub async fn exec_start(&self, _exec: &str, _start: ExecStart) -> Result<Option<Attached>, Error> {
        todo!()
    }
    pub async fn exec_inspect(&self, _exec: &str) -> Result<ExecInspect, Error> {
        todo!()
    }
    pub async fn exec_resize(&self, _exec: &str, _height: u16, _width: u16) -> Result<(), Error> {
        todo!()
    }

    // ---- images
    pub async fn images(&self, _all: bool, _filters: &Filters) -> Result<Vec<ImageSummary>, Error> {
        todo!()
    }
    pub async fn image_inspect(&self, _name: &str) -> Result<ImageInspect, Error> {
        todo!()
    }
    pub async fn image_history(&self, _name: &str) -> Result<Vec<ImageHistoryResponseItem>, Error> {
        todo!()
    }
    pub async fn image_tag(&self, _name: &str, _repo: &str, _tag: &str) -> Result<(), Error> {
        todo!()
    }
    pub async fn image_remove(
        &self,
        _name: &str,
        _force: bool,
    ) -> Result<Vec<ImageDeleteResponseItem>, Error> {
        todo!()
    }
    /// Pulls and tags; all lines of Docker's pull, the last two included. The built-in image needs no registry.
    pub async fn pull(
        &self,
        _reference: &str,
        _platform: Option<&str>,
        _auth: Option<AuthConfig>,
        _progress: mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        todo!()
    }
    pub async fn push(
        &self,
        _name: &str,
        _tag: &str,
        _auth: Option<AuthConfig>,
        _progress: mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        todo!()
    }
    /// `tar`: the body as it arrives, in a file of the caller's.
    pub async fn import(
        &self,
        _tar: std::fs::File,
        _repo: &str,
        _tag: &str,
        _changes: &[String],
        _message: &str,
    ) -> Result<Digest, Error> {
        todo!()
    }
    /// Returns the lines to show (`Loaded image: x`).
    pub async fn load(&self, _tar: std::fs::File) -> Result<Vec<String>, Error> {
        todo!()
    }
    /// A docker-archive of these images, as it is made.
    pub async fn save(&self, _names: Vec<String>) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        todo!()
    }
    pub async fn prune_images(&self, _filters: &Filters) -> Result<ImagesPruneResponse, Error> {
        todo!()
    }
    /// Checks credentials.
    pub async fn login(&self, _auth: AuthConfig) -> Result<AuthResponse, Error> {
        todo!()
    }

    // ---- volumes
    pub async fn volumes(&self, _filters: &Filters) -> Result<VolumeListResponse, Error> {
        todo!()
    }
    pub async fn volume_create(&self, _request: VolumeCreateRequest) -> Result<Volume, Error> {
        todo!()
    }
    pub async fn volume_inspect(&self, _name: &str) -> Result<Volume, Error> {
        todo!()
    }
    pub async fn volume_remove(&self, _name: &str, _force: bool) -> Result<(), Error> {
        todo!()
    }
    pub async fn prune_volumes(&self, _filters: &Filters) -> Result<VolumesPruneResponse, Error> {
        todo!()
    }

    // ---- networks
    pub async fn network_list(&self, _filters: &Filters) -> Result<Vec<Network>, Error> {
        todo!()
    }
    pub async fn network_create(
        &self,
        _request: NetworkCreateRequest,
    ) -> Result<NetworkCreateResponse, Error> {
        todo!()
    }
    pub async fn network_inspect(&self, _name: &str) -> Result<NetworkInspect, Error> {
        todo!()
    }
    pub async fn network_remove(&self, _name: &str) -> Result<(), Error> {
        todo!()
    }
    pub async fn network_connect(
        &self,
        _network: &str,
        _request: NetworkConnectRequest,
    ) -> Result<(), Error> {
        todo!()
    }
    pub async fn network_disconnect(
        &self,
        _network: &str,
        _request: NetworkDisconnectRequest,
    ) -> Result<(), Error> {
        todo!()
    }
    pub async fn prune_networks(&self, _filters: &Filters) -> Result<NetworksPruneResponse, Error> {
        todo!()
    }

    // ---- system
    pub async fn info(&self) -> Result<SystemInfo, Error> {
        todo!()
    }
    pub fn version(&self) -> SystemVersion {
        todo!()
    }
    /// Past events since `since` (nanoseconds), then live ones; ends at `until`.
    pub fn events(
        &self,
        _since: Option<i128>,
        _until: Option<i128>,
        _filters: Filters,
    ) -> mpsc::Receiver<EventMessage> {
        todo!()
    }
    /// Publishes an event of the builder or daemon.
    pub fn publish(&self, _event: EventMessage) {
        todo!()
    }
    /// Frees what nothing needs; `extra` are the build cache's roots.
    pub async fn collect(
        &self,
        _extra_layers: Vec<store::ChainId>,
        _extra_blobs: Vec<Digest>,
    ) -> Result<u64, Error> {
        todo!()
    }
}
