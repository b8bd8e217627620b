//! The commands: one file each, under the noun they act on, and one table of them all.

pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod image;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod system;
pub(crate) mod volume;

use crate::verb::{Command, verb};

/// What Docker has and Corten has not, and why.
pub(crate) const ABSENT: &[(&str, &str)] = &[
    ("bake", "it is a part of the buildx plugin: put docker-buildx into ~/.docker/cli-plugins"),
    ("buildx", "it is a plugin: put docker-buildx into ~/.docker/cli-plugins; 'build' needs none"),
    ("checkpoint", "containers cannot be checkpointed"),
    ("compose", "it is a plugin: put docker-compose into ~/.docker/cli-plugins"),
    ("config", "there is no Swarm mode"),
    ("node", "there is no Swarm mode"),
    ("plugin", "the engine has no managed plugins"),
    ("secret", "there is no Swarm mode"),
    ("service", "there is no Swarm mode"),
    ("stack", "there is no Swarm mode; 'compose' runs applications"),
    ("swarm", "there is no Swarm mode"),
    ("trust", "images are verified by digest, not by Notary's signatures"),
];

/// The groups, with one line each.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("builder", "Manage builds"),
    ("container", "Manage containers"),
    ("context", "Manage contexts"),
    ("image", "Manage images"),
    ("manifest", "Manage lists of manifests"),
    ("network", "Manage networks"),
    ("registry", "Serve images to others"),
    ("system", "Manage the engine"),
    ("volume", "Manage volumes"),
];

/// The commands a newcomer needs, in that order.
pub(crate) const COMMON: &[&str] =
    &["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"];

/// Every command.
pub(crate) static ALL: &[Command] = &[
    verb::<container::attach::Attach>("container attach", &["attach"]),
    verb::<container::commit::Commit>("container commit", &["commit"]),
    verb::<container::cp::Copy>("container cp", &["cp"]),
    verb::<container::create::Create>("container create", &["create"]),
    verb::<container::diff::Diff>("container diff", &["diff"]),
    verb::<container::exec::Exec>("container exec", &["exec"]),
    verb::<container::export::Export>("container export", &["export"]),
    verb::<container::inspect::Inspect>("container inspect", &[]),
    verb::<container::kill::Kill>("container kill", &["kill"]),
    verb::<container::logs::Logs>("container logs", &["logs"]),
    verb::<container::list::List>("container ls", &["container list", "container ps", "ps"]),
    verb::<container::pause::Pause>("container pause", &["pause"]),
    verb::<container::port::Port>("container port", &["port"]),
    verb::<container::prune::Prune>("container prune", &[]),
    verb::<container::rename::Rename>("container rename", &["rename"]),
    verb::<container::restart::Restart>("container restart", &["restart"]),
    verb::<container::remove::Remove>("container rm", &["container remove", "rm"]),
    verb::<container::run::Run>("container run", &["run"]),
    verb::<container::start::Start>("container start", &["start"]),
    verb::<container::stats::Stats>("container stats", &["stats"]),
    verb::<container::stop::Stop>("container stop", &["stop"]),
    verb::<container::top::Top>("container top", &["top"]),
    verb::<container::pause::Unpause>("container unpause", &["unpause"]),
    verb::<container::update::Update>("container update", &["update"]),
    verb::<container::wait::Wait>("container wait", &["wait"]),
    verb::<context::create::Create>("context create", &[]),
    verb::<context::export::Export>("context export", &[]),
    verb::<context::import::Import>("context import", &[]),
    verb::<context::inspect::Inspect>("context inspect", &[]),
    verb::<context::list::List>("context ls", &["context list"]),
    verb::<context::remove::Remove>("context rm", &["context remove"]),
    verb::<context::show::Show>("context show", &[]),
    verb::<context::update::Update>("context update", &[]),
    verb::<context::use_::Use>("context use", &[]),
    verb::<image::build::Build>("image build", &["build", "builder build"]),
    verb::<image::copy::Copy>("image copy", &[]),
    verb::<image::history::History>("image history", &["history"]),
    verb::<image::layers::Layers>("image layers", &[]),
    verb::<image::import::Import>("image import", &["import"]),
    verb::<image::inspect::Inspect>("image inspect", &[]),
    verb::<image::load::Load>("image load", &["load"]),
    verb::<image::list::List>("image ls", &["image list", "images"]),
    verb::<image::prune::Prune>("image prune", &[]),
    verb::<image::pull::Pull>("image pull", &["pull"]),
    verb::<image::push::Push>("image push", &["push"]),
    verb::<image::copy::Referrers>("image referrers", &[]),
    verb::<image::remove::Remove>("image rm", &["image remove", "rmi"]),
    verb::<image::save::Save>("image save", &["save"]),
    verb::<image::tag::Tag>("image tag", &["tag"]),
    verb::<manifest::annotate::Annotate>("manifest annotate", &[]),
    verb::<manifest::create::Create>("manifest create", &[]),
    verb::<manifest::inspect::Inspect>("manifest inspect", &[]),
    verb::<manifest::push::Push>("manifest push", &[]),
    verb::<manifest::remove::Remove>("manifest rm", &[]),
    verb::<network::connect::Connect>("network connect", &[]),
    verb::<network::create::Create>("network create", &[]),
    verb::<network::connect::Disconnect>("network disconnect", &[]),
    verb::<network::inspect::Inspect>("network inspect", &[]),
    verb::<network::list::List>("network ls", &["network list"]),
    verb::<network::prune::Prune>("network prune", &[]),
    verb::<network::remove::Remove>("network rm", &["network remove"]),
    verb::<registry::login::Login>("login", &[]),
    verb::<registry::login::Logout>("logout", &[]),
    verb::<registry::search::Search>("search", &[]),
    verb::<registry::check::Check>("registry check", &[]),
    verb::<registry::gc::Gc>("registry gc", &[]),
    verb::<registry::serve::Serve>("registry serve", &[]),
    verb::<system::build_du::BuildDu>("builder du", &[]),
    verb::<system::build_prune::BuildPrune>("builder prune", &[]),
    verb::<system::completion::Completion>("completion", &[]),
    verb::<system::dial_stdio::DialStdio>("system dial-stdio", &[]),
    verb::<system::df::DiskUsage>("system df", &[]),
    verb::<system::events::Events>("system events", &["events"]),
    verb::<system::info::Info>("system info", &["info"]),
    verb::<system::inspect::Inspect>("inspect", &[]),
    verb::<system::install::Install>("system install", &[]),
    verb::<system::install::Uninstall>("system uninstall", &[]),
    verb::<system::prune::Prune>("system prune", &[]),
    verb::<system::version::Version>("version", &[]),
    verb::<volume::copy::Copy>("volume cp", &["volume clone"]),
    verb::<volume::create::Create>("volume create", &[]),
    verb::<volume::export::Export>("volume export", &[]),
    verb::<volume::import::Import>("volume import", &[]),
    verb::<volume::inspect::Inspect>("volume inspect", &[]),
    verb::<volume::list::List>("volume ls", &["volume list"]),
    verb::<volume::prune::Prune>("volume prune", &[]),
    verb::<volume::rename::Rename>("volume rename", &[]),
    verb::<volume::remove::Remove>("volume rm", &["volume remove"]),
    verb::<volume::update::Update>("volume update", &[]),
];
