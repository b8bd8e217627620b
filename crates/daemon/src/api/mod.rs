//! The Engine API's handlers, one file per noun, one function per route.

mod archive;
mod build;
mod commit;
mod container;
mod df;
mod events;
mod exec;
mod image;
mod network;
mod progress;
mod stats;
mod system;
mod volume;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::Engine;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use crate::body::Body;
use crate::error::{self, Error, Result, chain};
use crate::metrics::{self, Times};
use crate::query::Query;
use crate::router::{self, Route, Version};
use crate::server::{Handler, Peer, Reply};
use crate::versions::Gate;
use crate::wire::Wire;

/// The Engine API on one engine. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Services>);

struct Services {
    engine: Engine,
    builder: builder::Host,
    scratch: PathBuf,
    server: HeaderValue,
    wire: Option<Arc<Wire>>,
    oldest: Version,
    times: Times,
    /// A request has come.
    asked: tokio::sync::Notify,
}

/// After so much time without a request, memory that is not used is given back.
const QUIET: Duration = Duration::from_secs(2);
/// Or after so much time with them.
const BUSY: Duration = Duration::from_secs(10);

/// One request, taken apart.
pub(crate) struct Call {
    engine: Engine,
    services: Arc<Services>,
    version: Version,
    query: Query,
    headers: HeaderMap,
    body: Incoming,
    peer: Peer,
    /// Whether the connection is this request's alone.
    own_connection: bool,
}

impl Api {
    /// The API of an engine, from version `oldest` on; bodies and build contexts in flight are kept under `scratch`, and
    /// `times` learns how long actions took.
    pub fn new(engine: Engine, scratch: PathBuf, oldest: Version, times: Times) -> Self {
        let config = engine.config();
        let builder = builder::Host {
            store: engine.store().clone(),
            registry: engine.registry().clone(),
            networks: engine.networks().clone(),
            shim: Arc::clone(engine.shim()),
            cache: config.data_root.join("build"),
            run: config.exec_root.join("build"),
            cgroups: config.cgroups,
            cgroup_parent: config.cgroup_parent.clone(),
            work: Arc::default(),
        };
        let host = builder.clone();
        engine.keep(Box::new(move || match builder::roots(&host) {
            Ok(roots) => Some(roots),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the build cache cannot be read: nothing is collected");
                None
            }
        }));
        let server = format!("Corten/{} (linux)", env!("CARGO_PKG_VERSION"));
        let server = HeaderValue::try_from(server).expect("a version is printable");
        let wire = Wire::from_environment().unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "answers are not written down");
            None
        });
        let asked = tokio::sync::Notify::new();
        Self(Arc::new(Services { engine, builder, scratch, server, wire, oldest, times, asked }))
    }

    /// Ends and removes what builds of a daemon that died have left: before the first client.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub async fn recover(&self) -> Result<()> {
        let host = self.0.builder.clone();
        let left = blocking(move || Ok(builder::recover(&host)?)).await?;
        if left > 0 {
            tracing::info!(left, "removed what interrupted builds had left");
        }
        Ok(())
    }

    /// Collects what nothing needs, and keeps the free-space target for ever.
    pub async fn keep_space(&self) {
        let host = self.0.builder.clone();
        let forget = move || match builder::forget(&host) {
            Ok(count) => count,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the build cache cannot be made smaller");
                0
            }
        };
        self.0.engine.keep_space(Box::new(forget)).await;
    }

    /// Gives unused memory back to the kernel after each burst of requests, and now and then in a long one, for ever.
    pub async fn give_memory_back(&self) {
        loop {
            self.0.asked.notified().await;
            let latest = Instant::now() + BUSY;
            // Until nobody has asked for anything for a while.
            while Instant::now() < latest
                && tokio::time::timeout(QUIET, self.0.asked.notified()).await.is_ok()
            {}
            tokio::task::spawn_blocking(sys::memory::trim);
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Result<Reply> {
        self.0.asked.notify_one();
        let (parts, body) = request.into_parts();
        let (version, path) = router::version(parts.uri.path(), self.0.oldest)?;
        let Some(route) = router::route(&parts.method, path) else {
            return Ok(Reply::Response(error::message(StatusCode::NOT_FOUND, "page not found".into())));
        };
        let call = Call {
            engine: self.0.engine.clone(),
            services: Arc::clone(&self.0),
            version,
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            own_connection: parts.version < http::Version::HTTP_2,
            headers: parts.headers,
            body,
            peer,
        };
        let (action, began) = (metrics::action(&route), Instant::now());
        let reply = dispatch(route, call).await?;
        if let Some(action) = action {
            self.0.times.add(action, began.elapsed());
        }
        Ok(reply)
    }
}

impl Call {
    /// For an answer that becomes a stream in both directions.
    fn need_connection(&self) -> Result<()> {
        if self.own_connection {
            return Ok(());
        }
        Err(Error::invalid(
            "a stream in both directions needs a connection of HTTP/1.1: HTTP/2 has no upgrade",
        ))
    }

    /// Frees what neither images, containers nor the build cache need. Returns bytes.
    async fn collect(&self) -> Result<u64> {
        Ok(self.engine.collect().await?)
    }
}

/// Runs work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|e| Err(Error::new(spec::ErrorKind::Internal, e.to_string())))
}

impl Handler for Api {
    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        let (method, uri, began) = (request.method().clone(), request.uri().clone(), Instant::now());
        let mut response = match self.answer(request, peer).await {
            Ok(Reply::Response(response)) => response,
            Ok(takeover) => {
                tracing::debug!(%method, %uri, "taken over");
                return takeover;
            }
            Err(error) => {
                tracing::debug!(%method, %uri, error = error.message(), "refused");
                error.into_response()
            }
        };
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        } else if let Some(wire) = &self.0.wire {
            response = wire.record(method.clone(), &uri, response);
        }
        let (status, duration) = (response.status().as_u16(), began.elapsed());
        tracing::debug!(%method, %uri, status, ?duration, "answered");
        let headers = response.headers_mut();
        headers.insert(header::SERVER, self.0.server.clone());
        headers.insert("api-version", HeaderValue::from_static(spec::api::API_VERSION));
        headers.insert("ostype", HeaderValue::from_static("linux"));
        headers.insert("docker-experimental", HeaderValue::from_static("false"));
        Reply::Response(response)
    }
}

async fn dispatch(route: Route, call: Call) -> Result<Reply> {
    let response = match route {
        Route::Ping => system::ping(),
        Route::Version => system::version(&call),
        Route::Info => system::info(&call).await,
        Route::Events => events::events(call),
        Route::Auth => system::auth(call).await,
        Route::DiskUsage => system::disk_usage(&call).await,

        Route::ContainerList => container::list(&call).await,
        Route::ContainerCreate => container::create(call).await,
        Route::ContainerPrune => container::prune(&call).await,
        Route::ContainerInspect(id) => container::inspect(&call, &id).await,
        Route::ContainerTop(id) => container::top(&call, &id).await,
        Route::ContainerLogs(id) => container::logs(call, &id).await,
        Route::ContainerResize(id) => container::resize(&call, &id).await,
        Route::ContainerStart(id) => container::start(&call, &id).await,
        Route::ContainerStop(id) => container::stop(&call, &id).await,
        Route::ContainerRestart(id) => container::restart(&call, &id).await,
        Route::ContainerKill(id) => container::kill(&call, &id).await,
        Route::ContainerUpdate(id) => container::update(call, &id).await,
        Route::ContainerRename(id) => container::rename(&call, &id).await,
        Route::ContainerPause(id) => container::pause(&call, &id).await,
        Route::ContainerUnpause(id) => container::unpause(&call, &id).await,
        Route::ContainerAttach(id) => return container::attach(&call, &id).await,
        Route::ContainerAttachSocket(id) => return container::attach_socket(&call, &id).await,
        Route::ContainerWait(id) => container::wait(call, &id),
        Route::ContainerRemove(id) => container::remove(&call, &id).await,

        Route::ContainerChanges(id) => commit::changes(&call, &id).await,
        Route::ContainerExport(id) => commit::export(call, &id).await,
        Route::ContainerStats(id) => stats::stats(call, &id).await,
        Route::ArchiveStat(id) => archive::stat(&call, &id).await,
        Route::ArchiveGet(id) => archive::get(call, &id).await,
        Route::ArchivePut(id) => archive::put(call, &id).await,

        Route::ExecCreate(id) => exec::create(call, &id).await,
        Route::ExecStart(id) => return exec::start(call, &id).await,
        Route::ExecResize(id) => exec::resize(&call, &id).await,
        Route::ExecInspect(id) => exec::inspect(&call, &id).await,

        Route::ImageList => image::list(&call).await,
        Route::ImageCreate => image::create(call).await,
        Route::ImageLoad => image::load(call).await,
        Route::ImageSave => image::save(call).await,
        Route::ImagePrune => image::prune(&call).await,
        Route::ImageSearch => image::search(&call).await,
        Route::ImageInspect(name) => image::inspect(&call, &name).await,
        Route::ImageAttestations(name) => image::attestations(&call, &name).await,
        Route::ImageHistory(name) => image::history(&call, &name).await,
        Route::ImageLayers(name) => image::layers(&call, &name).await,
        Route::ImagePush(name) => image::push(call, name).await,
        Route::ImageTag(name) => image::tag(&call, &name).await,
        Route::ImageGet(name) => image::get(call, name).await,
        Route::ImageRemove(name) => image::remove(&call, &name).await,
        Route::DistributionInspect(name) => image::distribution(&call, &name).await,

        Route::Commit => commit::commit(call).await,
        Route::Build => build::build(call).await,
        Route::BuildContext => build::offer(call).await,
        Route::BuildPrune => build::prune(&call).await,
        Route::BuildCancel => Err(Error::not_implemented("cancelling a build by its id")),

        Route::VolumeList => volume::list(&call).await,
        Route::VolumeCreate => volume::create(call).await,
        Route::VolumePrune => volume::prune(&call).await,
        Route::VolumeInspect(name) => volume::inspect(&call, &name).await,
        Route::VolumeRemove(name) => volume::remove(&call, &name).await,
        Route::VolumeClusterUpdate(_) => volume::cluster_update(),
        Route::VolumeImport => volume::import(call).await,
        Route::VolumeExport(name) => volume::export(call, &name).await,
        Route::VolumeCopy(name) => volume::copy(&call, &name).await,
        Route::VolumeRename(name) => volume::rename(&call, &name).await,
        Route::VolumeUpdate(name) => volume::update(call, &name).await,

        Route::NetworkList => network::list(&call).await,
        Route::NetworkCreate => network::create(call).await,
        Route::NetworkPrune => network::prune(&call).await,
        Route::NetworkInspect(id) => network::inspect(&call, &id).await,
        Route::NetworkRemove(id) => network::remove(&call, &id).await,
        Route::NetworkConnect(id) => network::connect(call, &id).await,
        Route::NetworkDisconnect(id) => network::disconnect(call, &id).await,

        Route::PluginList => system::plugins(&call),
        Route::Plugin(name) => {
            Err(Error::new(spec::ErrorKind::NotFound, format!("plugin {name:?} not found")))
        }
        Route::Options => empty(StatusCode::OK),
        Route::SwarmMember => {
            Err(Error::new(spec::ErrorKind::Unavailable, "This node is not part of a swarm"))
        }
        Route::Missing(what) => Err(Error::not_implemented(what)),
        Route::Swarm => Err(Error::new(
            spec::ErrorKind::Unavailable,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
             node to swarm and try again.",
        )),
    };
    response.map(Reply::Response)
}

/// An answer of JSON. Go ends it with a newline, and clients print it as it is.
fn json(status: StatusCode, value: &(impl Serialize + ?Sized)) -> Response<Body> {
    let mut bytes = serde_json::to_vec(value).expect("API objects have string keys");
    bytes.push(b'\n');
    let mut response = Response::new(Body::full(Bytes::from(bytes)));
    *response.status_mut() = status;
    set_type(&mut response, "application/json");
    response
}

/// An answer of JSON with 200.
fn ok(value: &(impl Serialize + ?Sized)) -> Result<Response<Body>> {
    Ok(json(StatusCode::OK, value))
}

/// An answer of JSON with 200, in the shape that the client's version has.
fn shaped(call: &Call, value: &(impl Serialize + ?Sized), gate: Gate) -> Result<Response<Body>> {
    if call.version == Version::newest() {
        return ok(value);
    }
    let mut value = serde_json::to_value(value).expect("API objects have string keys");
    gate(&mut value, call.version);
    ok(&value)
}

/// An answer without a body.
fn empty(status: StatusCode) -> Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}

/// An answer that goes on.
fn stream(content_type: &'static str, body: Body) -> Result<Response<Body>> {
    let mut response = Response::new(body);
    set_type(&mut response, content_type);
    Ok(response)
}

fn set_type(response: &mut Response<Body>, content_type: &'static str) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
}
