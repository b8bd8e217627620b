//! Directives, taken one by one, become what the rooms are told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::FreeSpace;
use engine::settings::OUR_RUNTIMES;
use serde::Deserialize;
use serde_json::{Map, Value};
use spec::api::{LogConfig, Runtime, Ulimit};
use spec::oci::runtime::{CgroupDriver, scope};

use super::host::{self, Host};
use super::keys::{self, Fate};
use super::read;
use crate::hello;
use crate::log;
use crate::router::Version;
use crate::tls;

/// The daemon's options: all there is to know before it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the API is offered.
    pub hosts: Vec<Host>,
    /// TLS on TCP, if any.
    pub tls: Option<tls::Files>,
    /// The group of unix sockets, if the user has named one.
    pub group: Option<String>,
    /// File for this process's pid.
    pub pidfile: Option<PathBuf>,
    /// How long requests in flight may go on after the daemon was told to stop; `None` is for ever.
    pub patience: Option<Duration>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// The oldest API version that is spoken.
    pub oldest_api: Version,
    /// What is logged, and how.
    pub log: log::Options,
    /// Shown in `daemon reload`.
    pub features: BTreeMap<String, bool>,
    /// The engine's half.
    pub engine: engine::Config,
    /// What was said in vain.
    pub warnings: Vec<String>,
}

/// Environment variables that stand in for directives.
const MIN_API_VERSION: &str = "DOCKER_MIN_API_VERSION";

impl Options {
    /// Reads the directives and the environment.
    ///
    /// # Errors
    /// What is wrong with which directive, in Docker's words where it has some.
    pub fn new(directives: Map<String, Value>, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut left = Left(directives);
        let cgroups = cgroup_driver(&mut left)?;
        let warnings = left.settle()?;
        let data_root = PathBuf::from(left.text("data-root").unwrap_or_else(|| "/var/lib/corten".into()));
        let exec_root = PathBuf::from(left.text("exec-root").unwrap_or_else(|| "/run/corten".into()));
        for (name, path) in [("data-root", &data_root), ("exec-root", &exec_root)] {
            if !path.is_absolute() {
                return Err(format!("{name}: {} is not an absolute path", path.display()));
            }
        }
        if data_root == exec_root {
            return Err(format!(
                "exec-root: {} is the data-root, too: give two directories",
                exec_root.display()
            ));
        }
        let settings = settings(&mut left, &env)?;
        let tls_wanted = left.flag("tls");
        let tls = tls::Files::new(
            left.flag("tlsverify"),
            tls_wanted,
            [left.text("tlscacert"), left.text("tlscert"), left.text("tlskey")],
            &env,
        );
        let mut hosts = Vec::new();
        for text in left.list("hosts") {
            let host = Host::parse(&text, tls.is_some())?;
            host::check(&host, tls.as_ref(), tls_wanted)?;
            hosts.push(host);
        }
        if hosts.is_empty() {
            hosts.push(Host::Unix(exec_root.join("corten.sock")));
        }
        let log = log::Options::new(
            settings.debug,
            left.text("log-level").as_deref().unwrap_or_default(),
            left.text("log-format").as_deref().unwrap_or_default(),
        )?;
        let oldest_api = match left.text("min-api-version").or_else(|| env(MIN_API_VERSION)) {
            None => Version::oldest(),
            Some(text) => read::version(&text).map_err(|e| format!("invalid {MIN_API_VERSION}: {e}"))?,
        };
        let options = Self {
            hosts,
            tls,
            group: left.text("group"),
            pidfile: left.text("pidfile").map(PathBuf::from),
            patience: match left.number("shutdown-timeout").unwrap_or(15) {
                -1 => None,
                seconds => Some(Duration::from_secs(
                    u64::try_from(seconds).map_err(|_| format!("invalid shutdown-timeout: {seconds}"))?,
                )),
            },
            metrics: match left.text("metrics-addr").filter(|a| !a.is_empty()) {
                None => None,
                Some(text) => Some(
                    text.replace("localhost", "127.0.0.1")
                        .parse()
                        .map_err(|_| format!("metrics-addr: {text} is not of the form 127.0.0.1:9323"))?,
                ),
            },
            oldest_api,
            log,
            features: left.read("features")?.unwrap_or_default(),
            engine: engine::Config {
                cgroup_parent: cgroup_parent(&mut left, cgroups)?,
                cgroups,
                shim: left.text("shim").map_or_else(default_shim, PathBuf::from),
                network: network(&mut left, &data_root, &exec_root, settings.publish_ip)?,
                data_root,
                exec_root,
                userns_remap: left.text("userns-remap").unwrap_or_default(),
                userns_pool: left.text("userns-pool").unwrap_or_default(),
                selinux: left.flag("selinux-enabled").unwrap_or(false),
                settings,
                built_in: Some((hello::NAME, hello::ARCHIVE)),
            },
            warnings,
        };
        if options.features.get("containerd-snapshotter") == Some(&false) {
            return Err("features.containerd-snapshotter: false is not supported: there is one store".into());
        }
        builder(&mut left)?;
        debug_assert!(left.0.is_empty(), "in the table, but not read: {:?}", left.0);
        Ok(options)
    }

    /// Where scratch files go: bodies and build contexts in flight.
    pub fn scratch(&self) -> PathBuf {
        self.engine.data_root.join("tmp")
    }
}

fn settings(left: &mut Left, env: &impl Fn(&str) -> Option<String>) -> Result<engine::Settings, String> {
    let mode = |name: &str, text: Option<String>, allowed: [&str; 2], error: &str| match text {
        Some(text) if allowed.contains(&text.as_str()) => Ok(text),
        Some(text) if !text.is_empty() => {
            Err(format!("{name}: {error} ({text}) is invalid, use {:?} or {:?}", allowed[0], allowed[1]))
        }
        Some(_) | None => Ok(String::new()),
    };
    let log_driver = left.text("log-driver").filter(|d| !d.is_empty()).unwrap_or_else(|| "json-file".into());
    let seccomp_profile = match left.text("seccomp-profile").unwrap_or_default().as_str() {
        "" | "builtin" => String::new(),
        "unconfined" => "unconfined".into(),
        file => seccomp_profile(file)?,
    };
    let labels = left.list("labels");
    read::labels(&labels)?;
    let dns = left.list("dns");
    for server in &dns {
        read::ip(server).map_err(|e| format!("dns: {e}"))?;
    }
    let host_gateway = left.list("host-gateway-ips");
    let host_gateway = host_gateway
        .iter()
        .map(|t| read::ip(t))
        .collect::<Result<Vec<IpAddr>, _>>()
        .map_err(|e| format!("host-gateway-ips: {e}"))?;
    let publish_ip = match left.text("ip").filter(|ip| !ip.is_empty()) {
        None => None,
        Some(text) => Some(read::ip(&text).map_err(|e| format!("ip: {e}"))?),
    };
    let (runtimes, default_runtime) = runtimes(left)?;
    Ok(engine::Settings {
        labels,
        debug: left.flag("debug").unwrap_or(false),
        experimental: left.flag("experimental").unwrap_or(false),
        log: LogConfig { r#type: log_driver, config: left.read("log-opts")?.unwrap_or_default() },
        ulimits: ulimits(left)?,
        shm_size: match left.text("default-shm-size") {
            None => 0,
            Some(text) => {
                read::size(&text).ok_or_else(|| format!("default-shm-size: invalid size: '{text}'"))?
            }
        },
        stop_timeout: left.number("default-stop-timeout"),
        init: left.flag("init").unwrap_or(false),
        no_new_privileges: left.flag("no-new-privileges").unwrap_or(false),
        seccomp_profile,
        cdi_spec_dirs: match left.list("cdi-spec-dirs") {
            none if none.is_empty() => engine::Settings::default().cdi_spec_dirs,
            directories => directories,
        },
        cgroupns_mode: mode(
            "default-cgroupns-mode",
            left.text("default-cgroupns-mode"),
            ["host", "private"],
            "default cgroup namespace mode",
        )?,
        ipc_mode: mode(
            "default-ipc-mode",
            left.text("default-ipc-mode"),
            ["private", "shareable"],
            "default IPC mode",
        )?,
        dns,
        dns_search: left.list("dns-search"),
        dns_options: left.list("dns-opts"),
        host_gateway,
        publish_ip,
        network_options: left.read("default-network-opts")?.unwrap_or_default(),
        runtimes,
        default_runtime,
        free_space: free_space(&left.list("storage-opts"))?,
        registry: registries(left, env)?,
    })
}

/// `storage-opts`: `free-space=10%`, or a size; 0 is no target.
fn free_space(options: &[String]) -> Result<FreeSpace, String> {
    let mut target = FreeSpace::default();
    for option in options {
        let Some(text) = option.strip_prefix("free-space=") else {
            return Err(format!(
                "storage-opts: {option}: the only option is free-space=PERCENT% or free-space=SIZE"
            ));
        };
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| *percent < 100).map(FreeSpace::Percent),
            None => spec::size::parse(text).map(FreeSpace::Bytes),
        };
        target = parsed.ok_or_else(|| {
            format!("storage-opts: {option}: expected a share such as 10% or a size such as 20g")
        })?;
    }
    Ok(target)
}

/// The JSON of a profile in a file. What it says is checked with the other settings.
fn seccomp_profile(file: &str) -> Result<String, String> {
    let wrong = |why: String| format!("seccomp-profile: opening seccomp profile ({file}) failed: {why}");
    let bytes = sys::file::read(std::path::Path::new(file)).map_err(|e| wrong(e.errno().to_string()))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    Ok(json.to_string())
}

/// `runtimes` and `default-runtime`. Programs are looked up now: later no name selects another one.
fn runtimes(left: &mut Left) -> Result<(BTreeMap<String, Runtime>, String), String> {
    #[derive(Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    #[derive(Default)]
    struct Configured {
        path: String,
        runtime_args: Vec<String>,
        runtime_type: String,
        options: BTreeMap<String, Value>,
    }
    let configured: BTreeMap<String, Configured> = left.read("runtimes")?.unwrap_or_default();
    let mut runtimes = BTreeMap::new();
    for (name, one) in configured {
        if OUR_RUNTIMES.contains(&name.as_str()) {
            return Err(format!("runtime name '{name}' is reserved"));
        }
        let wrong = |why: &str| Err(format!("runtime {name}: {why}"));
        let program = match (one.path.as_str(), one.runtime_type.as_str()) {
            ("", "") => return wrong("either a runtimeType or a path must be configured"),
            ("", SHIM_V2) if !one.runtime_args.is_empty() => {
                return wrong("args cannot be used with a runtimeType runtime");
            }
            // What is left of containerd's options when there is no containerd.
            ("", SHIM_V2) => match one.options.iter().map(|(key, value)| (key.as_str(), value)).next() {
                Some(("BinaryName", Value::String(program))) if one.options.len() == 1 => program.as_str(),
                _ => return wrong("options: BinaryName is the only one, and has to be given"),
            },
            ("", _) => return wrong(&format!("the only runtimeType is {SHIM_V2}, with options.BinaryName")),
            (_, kind) if !kind.is_empty() => {
                return wrong("cannot configure both path and runtimeType for the same runtime");
            }
            (_, _) if !one.options.is_empty() => return wrong("options cannot be used with a path runtime"),
            (path, _) => path,
        };
        let Some(path) = find_program(program) else {
            return wrong(&format!(
                "exec: {program:?}: executable file not found in {}",
                spec::defaults::PATH
            ));
        };
        runtimes.insert(name, Runtime { path, runtime_args: one.runtime_args, ..Runtime::default() });
    }
    let default = left.text("default-runtime").filter(|name| !name.is_empty());
    let default = default.unwrap_or_else(|| OUR_RUNTIMES[0].into());
    if !OUR_RUNTIMES.contains(&default.as_str()) && !runtimes.contains_key(&default) {
        return Err(format!("specified default runtime '{default}' does not exist"));
    }
    Ok((runtimes, default))
}

/// containerd's name for the shim that runs OCI runtimes.
const SHIM_V2: &str = "io.containerd.runc.v2";

/// An absolute path as it is; a name among the host's programs.
fn find_program(program: &str) -> Option<String> {
    if program.starts_with('/') {
        return Some(program.to_owned());
    }
    if program.is_empty() || program.contains('/') {
        return None;
    }
    let places = spec::defaults::PATH.split(':').map(|directory| format!("{directory}/{program}"));
    places.into_iter().find(|path| std::path::Path::new(path).is_file())
}

fn ulimits(left: &mut Left) -> Result<Vec<Ulimit>, String> {
    let ulimits: BTreeMap<String, Ulimit> = left.read("default-ulimits")?.unwrap_or_default();
    ulimits
        .into_iter()
        .map(|(name, mut ulimit)| {
            if ulimit.name.is_empty() {
                ulimit.name.clone_from(&name);
            }
            if ulimit.hard >= 0 && ulimit.soft > ulimit.hard {
                return Err(format!(
                    "default-ulimits.{name}: ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    ulimit.soft, ulimit.hard
                ));
            }
            Ok(ulimit)
        })
        .collect()
}

fn registries(
    left: &mut Left,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<::registry::client::Config, String> {
    let default = ::registry::client::Config::default();
    // 0 is Docker's word for its default.
    let mut count = |name: &str, text: &str, default: i64| match left.number(name).unwrap_or(0) {
        0 => Ok(default),
        n if (1..=1 << 16).contains(&n) => Ok(n),
        n => Err(format!("invalid {text}: {n}")),
    };
    let downloads = count("max-concurrent-downloads", "max concurrent downloads", 3)?;
    let uploads = count("max-concurrent-uploads", "max concurrent uploads", 5)?;
    let attempts = count("max-download-attempts", "max download attempts", 5)?;
    let environment = ::registry::client::Proxies::of_environment(env);
    let proxies = ::registry::client::Proxies {
        http: left.text("http-proxy").unwrap_or(environment.http),
        https: left.text("https-proxy").unwrap_or(environment.https),
        none: left.text("no-proxy").unwrap_or(environment.none),
    };
    let mirrors = left.list("registry-mirrors");
    let mirrors_of: BTreeMap<String, Vec<String>> = left.read("mirrors")?.unwrap_or_default();
    for address in mirrors_of.values().flatten() {
        read::mirror_with_path(address)?;
    }
    Ok(::registry::client::Config {
        insecure: left.list("insecure-registries"),
        mirrors: mirrors.iter().map(|m| read::mirror(m)).collect::<Result<_, _>>()?,
        downloads: usize::try_from(downloads).unwrap_or(default.downloads),
        uploads: usize::try_from(uploads).unwrap_or(default.uploads),
        mirrors_of,
        signatures: signature_policy(left)?,
        attempts: u32::try_from(attempts).unwrap_or(default.attempts),
        patience: default.patience,
        proxies,
    })
}

/// Which images have to be signed; the keys are read now.
fn signature_policy(left: &mut Left) -> Result<Vec<::registry::client::Rule>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        images: String,
        #[serde(default)]
        keys: Vec<PathBuf>,
        #[serde(default)]
        action: Option<Action>,
    }
    #[derive(Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Action {
        Accept,
        Reject,
        Verify,
    }
    let rules: Vec<Rule> = left.read("signature-policy")?.unwrap_or_default();
    let rules = rules.into_iter().map(|rule| {
        let Rule { images, keys, action } = rule;
        let fault = |why: &str| Err(format!("signature-policy: {images}: {why}"));
        let action = action.unwrap_or(Action::Verify);
        match (&action, keys.is_empty()) {
            _ if images.is_empty() => {
                return fault("images names no repository: use registry/path, * and **");
            }
            (Action::Verify, true) => {
                return fault("keys names no public key (\"action\": \"accept\" needs none)");
            }
            (Action::Accept | Action::Reject, false) => return fault("keys are of use to \"verify\" only"),
            _ => {}
        }
        let read = |path: PathBuf| Ok((path.display().to_string(), ::registry::client::Rule::key(&path)?));
        let keys = keys.into_iter().map(read).collect::<Result<_, String>>();
        Ok(::registry::client::Rule {
            pattern: images,
            keys: keys.map_err(|e| format!("signature-policy: {e}"))?,
            reject: action == Action::Reject,
        })
    });
    rules.collect()
}

fn network(
    left: &mut Left,
    data_root: &Path,
    exec_root: &Path,
    publish_ip: Option<IpAddr>,
) -> Result<network::Config, String> {
    let bridge = match left.text("bridge").as_deref() {
        None | Some("") => "corten0".into(),
        Some("none") => String::new(),
        Some(name) => name.to_owned(),
    };
    let mut given = |name: &str| left.text(name).filter(|text| !text.is_empty());
    let named = |name: &str, error: String| format!("{name}: {error}");
    let bip = given("bip").map(|t| read::cidr::<Ipv4Addr>(&t)).transpose().map_err(|e| named("bip", e))?;
    let bip6 = given("bip6").map(|t| read::cidr::<Ipv6Addr>(&t)).transpose().map_err(|e| named("bip6", e))?;
    let range = given("fixed-cidr").map(|t| read::subnet::<Ipv4Addr>(&t)).transpose();
    let range = range.map_err(|e| named("fixed-cidr", e))?;
    let range6 = given("fixed-cidr-v6").map(|t| read::subnet::<Ipv6Addr>(&t)).transpose();
    let range6 = range6.map_err(|e| named("fixed-cidr-v6", e))?;
    let mut gateways = Vec::new();
    for (name, v4) in [("default-gateway", true), ("default-gateway-v6", false)] {
        if let Some(text) = given(name) {
            let ip = read::ip(&text).map_err(|e| named(name, e))?;
            if ip.is_ipv4() != v4 {
                return Err(format!("{name}: {text} is of the other address family"));
            }
            gateways.push(ip);
        }
    }
    let publish_on = given("default-publish-address").map(|t| read::ip(&t)).transpose();
    let publish_on = publish_on.map_err(|e| named("default-publish-address", e))?;
    // An address for the default network's bridge is of no use on a network without IPv6.
    let v6 = left.flag("ipv6").unwrap_or(false);
    if !v6 && (bip6.is_some() || range6.is_some()) {
        return Err("bip6 and fixed-cidr-v6 need ipv6: true".into());
    }
    let mtu = match left.number("mtu").unwrap_or(0) {
        0 => 1500,
        mtu => u32::try_from(mtu).map_err(|_| format!("invalid default MTU: {mtu}"))?,
    };
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pool {
        base: String,
        size: u8,
    }
    let pools: Vec<Pool> = left.read("default-address-pools")?.unwrap_or_default();
    Ok(network::Config {
        state: data_root.join("network"),
        run: exec_root.join("network"),
        bus: network::Config::default().bus,
        bridge,
        bip,
        bip6,
        publish_on,
        respect_host: left.flag("respect-host-firewall").unwrap_or(false),
        direct: left.flag("allow-direct-routing").unwrap_or(false),
        default_network: network::DefaultNetwork {
            range,
            v6,
            range6,
            gateways,
            mtu,
            containers_talk: left.flag("icc").unwrap_or(true),
            masquerade: left.flag("ip-masq").unwrap_or(true),
            publish_on: publish_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        },
        forwarding: left.flag("ip-forward").unwrap_or(true),
        pools: pools
            .iter()
            .map(|pool| read::pool(&pool.base, pool.size).map_err(|e| format!("default-address-pools: {e}")))
            .collect::<Result<_, _>>()?,
        table: left.text("firewall-table").unwrap_or_else(|| "corten".into()),
        ready: match left.number("network-ready").unwrap_or(4) {
            n if (0..=64).contains(&n) => usize::try_from(n).expect("just compared"),
            n => return Err(format!("network-ready: {n} is not between 0 and 64")),
        },
    })
}

/// Who makes cgroups: as asked for, else systemd where it runs the host and there is cgroup v2 alone, as in Docker.
fn cgroup_driver(left: &mut Left) -> Result<CgroupDriver, String> {
    let chosen = read::exec_options(&left.list("exec-opts"))?;
    match chosen {
        Some(CgroupDriver::Systemd) if !engine::system::has_systemd() => {
            Err("exec-opts: native.cgroupdriver=systemd: systemd does not run on this host: use cgroupfs"
                .into())
        }
        Some(driver) => Ok(driver),
        None if engine::system::unified() && engine::system::has_systemd() => Ok(CgroupDriver::Systemd),
        None => Ok(CgroupDriver::Cgroupfs),
    }
}

fn cgroup_parent(left: &mut Left, driver: CgroupDriver) -> Result<String, String> {
    let parent = left.text("cgroup-parent").unwrap_or_default();
    if parent.split('/').any(|part| part == "..") {
        return Err(format!("cgroup-parent: {parent} must not contain \"..\""));
    }
    match driver {
        CgroupDriver::Systemd if parent.is_empty() => Ok("system.slice".into()),
        CgroupDriver::Systemd if !scope::is_slice(&parent) => {
            Err("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"".into())
        }
        CgroupDriver::Cgroupfs if parent.is_empty() => Ok("/corten".into()),
        CgroupDriver::Systemd | CgroupDriver::Cgroupfs => Ok(parent),
    }
}

/// `builder`: nothing of the build cache is collected by itself, so `gc` may be off.
fn builder(left: &mut Left) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Collection {
        #[serde(default)]
        enabled: bool,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "lowercase")]
    struct Builder {
        gc: Option<Collection>,
        entitlements: Option<Value>,
        history: Option<Value>,
    }
    let Some(builder) = left.read::<Builder>("builder")? else { return Ok(()) };
    if builder.gc.is_some_and(|gc| gc.enabled) {
        return Err("builder.gc: collecting the build cache by itself is not supported yet: use \
                    \"enabled\": false, and corten builder prune"
            .into());
    }
    if builder.entitlements.is_some() || builder.history.is_some() {
        return Err("builder: entitlements and history are not supported yet".into());
    }
    Ok(())
}

/// The shim beside this program, else the installed one.
fn default_shim() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("corten-shim"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "/usr/libexec/corten/corten-shim".into())
}

/// Directives that are not read yet. Their types were checked against the table.
struct Left(Map<String, Value>);

impl Left {
    /// Takes out what cannot be set. Returns warnings.
    fn settle(&mut self) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        for key in keys::all() {
            let why = match key.fate {
                Fate::Works => continue,
                Fate::Moot => {
                    self.0.remove(key.name);
                    continue;
                }
                Fate::Warned(_, why) | Fate::Refused(_, why) => why,
            };
            let Some(value) = self.0.remove(key.name) else { continue };
            if key.is_ours(&value) {
                continue;
            }
            let value = super::value::shown(&value);
            match key.fate {
                Fate::Refused(..) => {
                    return Err(format!("{}: {value} is not supported: {why}", key.name));
                }
                Fate::Works | Fate::Moot | Fate::Warned(..) => {
                    warnings.push(format!("{}: {value} has no effect: {why}", key.name));
                }
            }
        }
        Ok(warnings)
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.0.remove(name)?.as_bool()
    }

    fn number(&mut self, name: &str) -> Option<i64> {
        self.0.remove(name)?.as_i64()
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)?.as_str().map(str::to_owned)
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        let value = self.0.remove(name);
        let items = value.as_ref().and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// One with a structure of its own.
    fn read<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|e| format!("{name}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(directives: Value) -> Result<Options, String> {
        Options::new(directives.as_object().unwrap().clone(), |_| None)
    }

    #[test]
    fn everything_that_works_is_read() {
        let text = r#"{
            "data-root": "/d", "exec-root": "/e", "pidfile": "/p", "shutdown-timeout": -1, "labels": ["a=b"],
            "metrics-addr": "localhost:9323", "features": { "buildkit": false }, "experimental": true,
            "live-restore": false, "hosts": ["fd://", "tcp://127.0.0.1"], "group": "g", "tlsverify": true,
            "tls": true, "tlscacert": "/ca", "tlscert": "/cert", "tlskey": "/key", "min-api-version": "1.44",
            "debug": true, "log-level": "warn", "log-format": "json", "log-driver": "json-file",
            "log-opts": { "max-size": "1m" }, "default-ulimits": { "nofile": { "Name": "nofile", "Hard": 2, "Soft": 1 } },
            "default-shm-size": "1m", "default-stop-timeout": 3, "default-runtime": "runc",
            "runtimes": { "crun": { "path": "/usr/bin/crun" } }, "default-ipc-mode": "shareable",
            "default-cgroupns-mode": "host", "init": true, "no-new-privileges": true,
            "seccomp-profile": "unconfined", "cgroup-parent": "/x", "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "shim": "/shim", "bridge": "br", "bip": "10.1.0.1/16", "fixed-cidr": "10.1.1.0/24", "mtu": 1400,
            "icc": false, "ip-masq": false, "ip": "127.0.0.1", "ip-forward": false, "ipv6": true, "bip6": "fd00::1/64",
            "fixed-cidr-v6": "fd00::/80", "default-gateway": "10.1.0.2", "default-gateway-v6": "fd00::2",
            "default-publish-address": "127.0.0.1", "respect-host-firewall": true, "allow-direct-routing": true,
            "default-address-pools": [{ "base": "10.0.0.0/8", "size": 24 }],
            "default-network-opts": { "bridge": { "com.docker.network.driver.mtu": "1300" } },
            "dns": ["1.1.1.1"], "dns-opts": ["ndots:2"], "dns-search": ["x"], "host-gateway-ips": ["10.0.0.1"],
            "firewall-table": "t", "network-ready": 1, "insecure-registries": ["r:5000"],
            "registry-mirrors": ["https://m/"], "mirrors": { "quay.io": ["https://m/quay"] },
            "signature-policy": [{ "images": "docker.io/**", "action": "accept" }], "max-concurrent-downloads": 1, "max-concurrent-uploads": 2,
            "max-download-attempts": 3, "http-proxy": "http://p", "https-proxy": "http://q", "no-proxy": "x",
            "builder": { "gc": { "enabled": false } }, "storage-driver": "overlay2", "storage-opts": ["free-space=20g"], "userland-proxy": false,
            "iptables": false, "containerd": "/run/containerd/containerd.sock"
        }"#;
        let options = options(serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(options.warnings.len(), 3, "{:?}", options.warnings);
        assert_eq!(options.hosts.len(), 2);
        assert_eq!(options.hosts[1].to_string(), "tcp://127.0.0.1:2376");
        assert!(options.tls.as_ref().unwrap().verify);
        assert_eq!((options.patience, options.oldest_api), (None, Version(1, 44)));
        let (engine, settings) = (&options.engine, &options.engine.settings);
        assert_eq!(engine.network.bip, Some((Ipv4Addr::new(10, 1, 0, 1), 16)));
        assert_eq!(engine.network.default_network.mtu, 1400);
        assert!(!engine.network.default_network.containers_talk && !engine.network.forwarding);
        assert_eq!(engine.network.pools[0].base.to_string(), "10.0.0.0/8");
        assert_eq!(engine.network.bip6, Some(("fd00::1".parse().unwrap(), 64)));
        assert_eq!(engine.network.default_network.gateways.len(), 2);
        assert_eq!(engine.network.publish_on, Some(Ipv4Addr::LOCALHOST.into()));
        assert!(engine.network.respect_host && engine.network.direct && engine.network.default_network.v6);
        assert_eq!((settings.shm_size, settings.stop_timeout), (1 << 20, Some(3)));
        assert_eq!(settings.registry.mirrors, ["https://m"]);
        assert_eq!(settings.registry.mirrors_of["quay.io"], ["https://m/quay"]);
        assert!(settings.registry.signatures[0].fits("docker.io/library/x"));
        assert_eq!(settings.registry.attempts, 3);
        assert_eq!(settings.publish_ip, Some(Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn nothing_said_is_dockers_default() {
        let options = options(json!({})).unwrap();
        assert_eq!(options.hosts, [Host::Unix("/run/corten/corten.sock".into())]);
        assert_eq!(options.patience, Some(Duration::from_secs(15)));
        assert_eq!(options.engine.settings.registry.downloads, 3);
        assert_eq!(options.engine.network.default_network, network::DefaultNetwork::default());
        assert!(options.tls.is_none() && options.warnings.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (directives, text) in [
            (
                json!({ "storage-opts": ["free-space=100%"] }),
                "storage-opts: free-space=100%: expected a share such as 10% or a size such as 20g",
            ),
            (
                json!({ "storage-opts": ["dm.basesize=10G"] }),
                "storage-opts: dm.basesize=10G: the only option is free-space=PERCENT% or free-space=SIZE",
            ),
            (
                json!({ "storage-driver": "zfs" }),
                "storage-driver: zfs is not supported: layers are on overlayfs",
            ),
            (json!({ "firewall-backend": "iptables" }), "rules are made with nftables only"),
            (json!({ "exec-opts": ["native.cgroupdriver=systemd"] }), "native.cgroupdriver=systemd"),
            (json!({ "hosts": ["tcp://0.0.0.0:2375"] }), "--tlsverify"),
            (json!({ "hosts": ["tcp://0.0.0.0:2376"], "tls": true }), "--tlsverify"),
            (json!({ "log-level": "loud" }), "invalid logging level: loud"),
            (json!({ "log-format": "xml" }), "invalid log format: xml"),
            (json!({ "max-concurrent-downloads": -1 }), "invalid max concurrent downloads: -1"),
            (json!({ "mtu": -1 }), "invalid default MTU: -1"),
            (json!({ "mirrors": { "quay.io": ["m"] } }), "no scheme specified"),
            (json!({ "mirrors": { "quay.io": "https://m" } }), "mirrors: invalid type: string"),
            (
                json!({ "signature-policy": [{ "images": "**" }] }),
                "signature-policy: **: keys names no public key",
            ),
            (
                json!({ "signature-policy": [{ "images": "**", "keys": ["/nowhere/k.pub"] }] }),
                "signature-policy: /nowhere/k.pub: ",
            ),
            (json!({ "labels": ["a"] }), "bad attribute format: a"),
            (json!({ "labels": ["a=b", "a=c"] }), "conflict labels for a=c and a=b"),
            (json!({ "default-runtime": "x" }), "specified default runtime 'x' does not exist"),
            (json!({ "bip6": "fd00::1/64" }), "bip6 and fixed-cidr-v6 need ipv6: true"),
            (json!({ "ipv6": true, "bip6": "10.0.0.1/8" }), "bip6: 10.0.0.1/8 is not of the form"),
            (
                json!({ "default-gateway": "fd00::1" }),
                "default-gateway: fd00::1 is of the other address family",
            ),
            (json!({ "dns": ["x"] }), "dns: IP address is not correctly formatted: x"),
            (json!({ "default-cgroupns-mode": "x" }), "default cgroup namespace mode (x) is invalid"),
            (json!({ "min-api-version": "v1.44" }), "without \"v\" prefix"),
            (json!({ "builder": { "gc": { "enabled": true } } }), "builder.gc"),
            (json!({ "registry-mirrors": ["ftp://x"] }), "invalid mirror"),
            (json!({ "data-root": "x" }), "data-root: x is not an absolute path"),
            (json!({ "data-root": "/x", "exec-root": "/x" }), "exec-root: /x is the data-root, too"),
            (
                json!({ "default-address-pools": [{ "base": "10.0.0.0/24", "size": 8 }] }),
                "default-address-pools",
            ),
        ] {
            let error = options(directives).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        assert!(options(json!({ "hosts": ["tcp://0.0.0.0:2375"], "tls": false })).is_ok());
        assert!(options(json!({ "hosts": ["tcp://0.0.0.0"], "tlsverify": true })).is_ok());
        assert!(options(json!({ "ipv6": false, "firewall-backend": "nftables" })).is_ok());
    }

    #[test]
    fn the_environment_stands_in() {
        let env = |name: &str| match name {
            "https_proxy" => Some("http://lower".to_owned()),
            "NO_PROXY" => Some("x".to_owned()),
            "DOCKER_MIN_API_VERSION" => Some("1.40".to_owned()),
            _ => None,
        };
        let directives = json!({ "no-proxy": "mine" }).as_object().unwrap().clone();
        let options = Options::new(directives, env).unwrap();
        let proxies = &options.engine.settings.registry.proxies;
        assert_eq!((proxies.https.as_str(), proxies.none.as_str()), ("http://lower", "mine"));
        assert_eq!(options.oldest_api, Version(1, 40));
    }
}
