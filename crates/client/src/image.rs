//! `/images` and `/build`: one method per endpoint.

use std::os::fd::OwnedFd;

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use spec::Filters;
use spec::api::{
    BUILD_HEADER, BuildWish, ContextListing, ContextOffer, IDResponse, ImageDeleteResponseItem,
    ImageHistoryResponseItem, ImageSummary, ImagesPruneResponse, Progress,
};

use crate::connection::Call;
use crate::query::{Query, segment};
use crate::{Body, Client, JsonLines, Result, Upload};

/// The parameters of `POST /build`, in the API's own words.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Names for the result.
    pub tags: Vec<String>,
    /// A context the engine fetches itself; empty when it is in the body.
    pub remote: String,
    /// Only the image's id.
    pub quiet: bool,
    /// Do not use the cache.
    pub no_cache: bool,
    /// Ask the registry for newer base images.
    pub pull: bool,
    /// Keep intermediate containers.
    pub keep: bool,
    /// Remove intermediate containers even after a failure.
    pub force_rm: bool,
    /// JSON object of build arguments; a null value is taken from the Dockerfile.
    pub build_args: String,
    /// JSON object of labels.
    pub labels: String,
    /// JSON array of images to take cache from.
    pub cache_from: String,
    /// Network of RUN instructions.
    pub network: String,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// The stage to build.
    pub target: String,
    /// `host:ip`, for RUN instructions.
    pub extra_hosts: Vec<String>,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of memory and swap.
    pub memory_swap: i64,
    /// Relative CPU weight.
    pub cpu_shares: i64,
    /// CPUs to run on.
    pub cpuset_cpus: String,
    /// Memory nodes to use.
    pub cpuset_mems: String,
    /// CFS period in microseconds.
    pub cpu_period: i64,
    /// CFS quota in microseconds.
    pub cpu_quota: i64,
    /// Parent cgroup of RUN instructions.
    pub cgroup_parent: String,
    /// JSON array of `{Name, Hard, Soft}`.
    pub ulimits: String,
    /// `X-Registry-Config`: base64 JSON of credentials per registry.
    pub registry_config: String,
    /// What only Corten's engine knows; `None` for others.
    pub wish: Option<BuildWish>,
}

/// The parameters of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// A URL the engine fetches, or `-` for the body.
    pub source: String,
    /// The new image's repository.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// Its commit message.
    pub message: String,
    /// Dockerfile instructions to apply.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`.
    pub platform: String,
}

/// The parameters of a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The new image's repository.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// Its message.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// Dockerfile instructions to apply.
    pub changes: Vec<String>,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
}

pub(crate) const TAR: &str = "application/x-tar";

impl Client {
    /// `GET /images/json`; with the manifests of each image if the engine knows how to tell.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn image_list(
        &self,
        all: bool,
        manifests: bool,
        filters: &Filters,
    ) -> Result<Vec<ImageSummary>> {
        let query =
            Query::new().flag("all", all).flag("manifests", manifests).with("filters", &filters.to_param());
        self.list(Call::get("/images/json").query(query)).await
    }

    /// `GET /images/{name}/json`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_inspect_raw(&self, name: &str, platform: &str) -> Result<Bytes> {
        self.raw(Call::get(path(name, "json")).query(Query::new().with("platform", platform))).await
    }

    /// `GET /images/{name}/history`.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_history(&self, name: &str, platform: &str) -> Result<Vec<ImageHistoryResponseItem>> {
        self.list(Call::get(path(name, "history")).query(Query::new().with("platform", platform))).await
    }

    /// `GET /images/{name}/layers`, as Corten's engine wrote it: what each layer does, path by path with `changes`.
    ///
    /// # Errors
    /// As every call; an engine that is not Corten's has no such page.
    pub async fn image_layers_raw(&self, name: &str, platform: &str, changes: bool) -> Result<Bytes> {
        let query = Query::new().with("platform", platform).flag("changes", changes);
        self.raw(Call::get(path(name, "layers")).query(query)).await
    }

    /// `POST /images/create?fromImage=`: a pull. `tag` may be a digest; empty for all tags.
    ///
    /// # Errors
    /// As every call; later failures are the stream's last line.
    pub async fn image_pull(
        &self,
        name: &str,
        tag: &str,
        platform: &str,
        auth: &str,
    ) -> Result<JsonLines<Progress>> {
        let query = Query::new().with("fromImage", name).with("tag", tag).with("platform", platform);
        self.lines(Call::post("/images/create").query(query).header("X-Registry-Auth", auth)).await
    }

    /// `POST /images/create?fromSrc=`: an import.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_import(
        &self,
        options: &ImportOptions,
        upload: Option<Upload>,
    ) -> Result<JsonLines<Progress>> {
        let query = Query::new()
            .with("fromSrc", &options.source)
            .with("repo", &options.repository)
            .with("tag", &options.tag)
            .with("message", &options.message)
            .with("platform", &options.platform)
            .all("changes", &options.changes);
        let call = Call::post("/images/create").query(query);
        self.lines(match upload {
            Some(upload) => call.upload(upload, TAR),
            None => call,
        })
        .await
    }

    /// `POST /images/{name}/push`.
    ///
    /// # Errors
    /// As every call; later failures are the stream's last line.
    pub async fn image_push(
        &self,
        name: &str,
        tag: &str,
        platform: &str,
        auth: &str,
    ) -> Result<JsonLines<Progress>> {
        let query = Query::new().with("tag", tag).with("platform", platform);
        self.lines(Call::post(path(name, "push")).query(query).header("X-Registry-Auth", auth)).await
    }

    /// `POST /images/{name}/tag`.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_tag(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let query = Query::new().with("repo", repository).with("tag", tag);
        self.done(Call::post(path(name, "tag")).query(query)).await
    }

    /// `DELETE /images/{name}`.
    ///
    /// # Errors
    /// As every call; 409 when it is in use.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        no_prune: bool,
        platforms: &[String],
    ) -> Result<Vec<ImageDeleteResponseItem>> {
        let query = Query::new().flag("force", force).flag("noprune", no_prune).all("platforms", platforms);
        self.list(Call::new(Method::DELETE, format!("/images/{}", segment(name))).query(query)).await
    }

    /// `GET /images/get`: a tar of images.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_save(&self, names: &[String], platforms: &[String]) -> Result<Body> {
        let query = Query::new().all("names", names).all("platform", platforms);
        Ok(Body(self.send(Call::get("/images/get").query(query)).await?.into_body()))
    }

    /// `POST /images/load`.
    ///
    /// # Errors
    /// As every call; later failures are the stream's last line.
    pub async fn image_load(
        &self,
        quiet: bool,
        platforms: &[String],
        upload: Upload,
    ) -> Result<JsonLines<Progress>> {
        let query = Query::new().flag("quiet", quiet).all("platform", platforms);
        self.lines(Call::post("/images/load").query(query).upload(upload, TAR)).await
    }

    /// `POST /images/prune`.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_prune(&self, filters: &Filters) -> Result<ImagesPruneResponse> {
        self.read(Call::post("/images/prune").query(Query::new().with("filters", &filters.to_param()))).await
    }

    /// `POST /commit`; the new image's id.
    ///
    /// # Errors
    /// As every call.
    pub async fn image_commit(&self, container: &str, options: &CommitOptions) -> Result<String> {
        let query = Query::new()
            .with("container", container)
            .with("repo", &options.repository)
            .with("tag", &options.tag)
            .with("comment", &options.comment)
            .with("author", &options.author)
            .all("changes", &options.changes)
            .with("pause", if options.pause { "1" } else { "0" });
        Ok(self.read::<IDResponse>(Call::post("/commit").query(query)).await?.id)
    }

    /// `POST /build/context`, Corten's own: what of a build's context an engine elsewhere has not.
    ///
    /// # Errors
    /// As every call; [`spec::api::NO_CONTEXT`] and 404 say that all of it is to be sent.
    pub async fn build_context(&self, listing: &ContextListing) -> Result<ContextOffer> {
        self.read(Call::post("/build/context").json(listing)).await
    }

    /// `POST /build`. Without an upload, `options.remote` names the context, or the wish one of the `descriptors`.
    ///
    /// # Errors
    /// As every call; a build that fails says so in the stream's last line.
    pub async fn image_build(
        &self,
        options: &BuildOptions,
        upload: Option<Upload>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<JsonLines<Progress>> {
        let size = |n: i64| Some(n).filter(|n| *n != 0);
        let query = Query::new()
            .with("dockerfile", &options.dockerfile)
            .all("t", &options.tags)
            .with("remote", &options.remote)
            .flag("q", options.quiet)
            .flag("nocache", options.no_cache)
            .flag("pull", options.pull)
            .with("rm", if options.keep { "0" } else { "1" })
            .flag("forcerm", options.force_rm)
            .with("buildargs", &options.build_args)
            .with("labels", &options.labels)
            .with("cachefrom", &options.cache_from)
            .with("networkmode", &options.network)
            .with("platform", &options.platform)
            .with("target", &options.target)
            .all("extrahosts", &options.extra_hosts)
            .number("shmsize", size(options.shm_size))
            .number("memory", size(options.memory))
            .number("memswap", size(options.memory_swap))
            .number("cpushares", size(options.cpu_shares))
            .with("cpusetcpus", &options.cpuset_cpus)
            .with("cpusetmems", &options.cpuset_mems)
            .number("cpuperiod", size(options.cpu_period))
            .number("cpuquota", size(options.cpu_quota))
            .with("cgroupparent", &options.cgroup_parent)
            .with("ulimits", &options.ulimits)
            .with("version", "1");
        let call = Call::post("/build").query(query).header("X-Registry-Config", &options.registry_config);
        let call = match &options.wish {
            None => call,
            Some(wish) => {
                let json = serde_json::to_vec(wish).expect("a wish is plain data");
                call.header(BUILD_HEADER, &base64::engine::general_purpose::STANDARD.encode(json))
            }
        };
        let call = call.descriptors(descriptors);
        self.lines(match upload {
            Some(upload) => call.upload(upload, TAR),
            None => call,
        })
        .await
    }
}

fn path(name: &str, verb: &str) -> String {
    format!("/images/{}/{verb}", segment(name))
}
