//! The flags that `run` and `create` share. What they mean for the engine is in [`super::request`].

use super::{checked, limits};
use crate::units;

/// The container to make.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CreateFlags {
    /// Add a line to /etc/hosts (host:ip)
    #[arg(long, value_parser = checked::extra_host)]
    pub(crate) add_host: Vec<String>,
    /// Pass an annotation to the OCI runtime (key=value)
    #[arg(long, value_name = "map", value_parser = checked::pair)]
    pub(crate) annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_parser = checked::stream)]
    pub(crate) attach: Vec<String>,
    /// Block IO weight, 10 to 1000, 0 to disable
    #[arg(long, default_value = "0", value_name = "uint16")]
    pub(crate) blkio_weight: u16,
    /// Block IO weight of one device (path:weight)
    #[arg(long, value_parser = checked::weight)]
    pub(crate) blkio_weight_device: Vec<String>,
    /// Add Linux capabilities
    #[arg(long)]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long)]
    pub(crate) cap_drop: Vec<String>,
    /// Put the container's cgroup under this one
    #[arg(long, default_value = "")]
    pub(crate) cgroup_parent: String,
    /// Cgroup namespace to use (host or private)
    #[arg(long, default_value = "")]
    pub(crate) cgroupns: String,
    /// Write the container ID to this file
    #[arg(long, default_value = "")]
    pub(crate) cidfile: String,
    /// Length of a CPU scheduling period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) cpu_period: i64,
    /// CPU time per period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) cpu_quota: i64,
    /// Length of a real-time scheduling period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) cpu_rt_period: i64,
    /// Real-time CPU time per period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) cpu_rt_runtime: i64,
    /// CPU weight relative to other containers
    #[arg(short, long, default_value = "0", value_name = "int")]
    pub(crate) cpu_shares: i64,
    /// Number of CPUs the container may use
    #[arg(long, default_value = "0", value_name = "decimal", value_parser = units::parse_cpus)]
    pub(crate) cpus: i64,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, default_value = "")]
    pub(crate) cpuset_cpus: String,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, default_value = "")]
    pub(crate) cpuset_mems: String,
    /// Add a host device (path, or vendor/class=name)
    #[arg(long)]
    pub(crate) device: Vec<String>,
    /// Add a rule to the allowed devices
    #[arg(long, value_parser = checked::cgroup_rule)]
    pub(crate) device_cgroup_rule: Vec<String>,
    /// Limit bytes read per second from a device (path:rate)
    #[arg(long, value_parser = checked::rate)]
    pub(crate) device_read_bps: Vec<String>,
    /// Limit reads per second from a device (path:rate)
    #[arg(long, value_parser = checked::operations)]
    pub(crate) device_read_iops: Vec<String>,
    /// Limit bytes written per second to a device (path:rate)
    #[arg(long, value_parser = checked::rate)]
    pub(crate) device_write_bps: Vec<String>,
    /// Limit writes per second to a device (path:rate)
    #[arg(long, value_parser = checked::operations)]
    pub(crate) device_write_iops: Vec<String>,
    /// Use this DNS server
    #[arg(long, value_parser = checked::server)]
    pub(crate) dns: Vec<String>,
    /// Set a resolver option
    #[arg(long, alias = "dns-opt")]
    pub(crate) dns_option: Vec<String>,
    /// Add a DNS search domain
    #[arg(long, value_parser = checked::domain)]
    pub(crate) dns_search: Vec<String>,
    /// NIS domain name of the container
    #[arg(long, default_value = "")]
    pub(crate) domainname: String,
    /// Replace the image's ENTRYPOINT
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_parser = checked::variable)]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long)]
    pub(crate) env_file: Vec<String>,
    /// Expose a port or a range of ports
    #[arg(long)]
    pub(crate) expose: Vec<String>,
    /// GPUs to add to the container ('all' for all of them)
    #[arg(long, value_name = "gpu-request", value_parser = checked::gpus)]
    pub(crate) gpus: Option<String>,
    /// Add the process to another group
    #[arg(long)]
    pub(crate) group_add: Vec<String>,
    /// Command that checks the container's health
    #[arg(long, default_value = "")]
    pub(crate) health_cmd: String,
    /// Time between two health checks (ms|s|m|h)
    #[arg(long, default_value = "0", value_name = "duration", value_parser = limits::nanoseconds)]
    pub(crate) health_interval: i64,
    /// Failures in a row until the container is unhealthy
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) health_retries: i64,
    /// Time between two checks while the container starts (ms|s|m|h)
    #[arg(long, default_value = "0", value_name = "duration", value_parser = limits::nanoseconds)]
    pub(crate) health_start_interval: i64,
    /// Time the container may take to start before failures count (ms|s|m|h)
    #[arg(long, default_value = "0", value_name = "duration", value_parser = limits::nanoseconds)]
    pub(crate) health_start_period: i64,
    /// Longest time one health check may take (ms|s|m|h)
    #[arg(long, default_value = "0", value_name = "duration", value_parser = limits::nanoseconds)]
    pub(crate) health_timeout: i64,
    /// Host name of the container
    #[arg(short, long, default_value = "")]
    pub(crate) hostname: String,
    /// Run an init in the container that forwards signals and reaps processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) init: Option<bool>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, default_value = "")]
    pub(crate) ip: String,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, default_value = "")]
    pub(crate) ip6: String,
    /// IPC namespace to use
    #[arg(long, default_value = "")]
    pub(crate) ipc: String,
    /// Set a label on the container
    #[arg(short, long, value_parser = checked::label)]
    pub(crate) label: Vec<String>,
    /// Read labels from a file
    #[arg(long)]
    pub(crate) label_file: Vec<String>,
    /// Add a link to another container
    #[arg(long, value_parser = checked::link)]
    pub(crate) link: Vec<String>,
    /// Add a link-local address
    #[arg(long)]
    pub(crate) link_local_ip: Vec<String>,
    /// Logging driver of the container
    #[arg(long, default_value = "")]
    pub(crate) log_driver: String,
    /// Set an option of the logging driver
    #[arg(long)]
    pub(crate) log_opt: Vec<String>,
    /// MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, default_value = "")]
    pub(crate) mac_address: String,
    /// Memory limit
    #[arg(short, long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    pub(crate) memory: i64,
    /// Memory the container keeps when the host runs short
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    pub(crate) memory_reservation: i64,
    /// Limit of memory and swap together: '-1' for unlimited swap
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = limits::bytes_or_unlimited)]
    pub(crate) memory_swap: i64,
    /// How readily memory is swapped out (0 to 100)
    #[arg(long, default_value_t = -1, value_name = "int")]
    pub(crate) memory_swappiness: i64,
    /// Attach a file system mount
    #[arg(long, value_name = "mount", value_parser = checked::mount)]
    pub(crate) mount: Vec<String>,
    /// Name of the container
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// Connect the container to a network
    #[arg(long, alias = "net", value_name = "network", value_parser = checked::network)]
    pub(crate) network: Vec<String>,
    /// Add a name for the container on its network
    #[arg(long, alias = "net-alias")]
    pub(crate) network_alias: Vec<String>,
    /// Turn off the image's health check
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// Do not let the kernel kill the container when memory runs out
    #[arg(long)]
    pub(crate) oom_kill_disable: bool,
    /// Adjust the kernel's choice of whom to kill (-1000 to 1000)
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) oom_score_adj: i64,
    /// PID namespace to use
    #[arg(long, default_value = "")]
    pub(crate) pid: String,
    /// Number of processes the container may have (-1 for unlimited)
    #[arg(long, default_value = "0", value_name = "int")]
    pub(crate) pids_limit: i64,
    /// Platform of the image, if it has several
    #[arg(long, default_value = "")]
    pub(crate) platform: String,
    /// Give the container all privileges of the host
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Publish a port of the container on the host
    #[arg(short, long)]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports on random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// When to pull the image ("always", "missing", "never")
    #[arg(long, default_value = "missing")]
    pub(crate) pull: String,
    /// Do not show the progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Mount the container's root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// What to do when the container exits
    #[arg(long, default_value = "no")]
    pub(crate) restart: String,
    /// Remove the container and its anonymous volumes when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// OCI runtime to use
    #[arg(long, default_value = "")]
    pub(crate) runtime: String,
    /// Give the container a secret file (id=NAME,src=FILE|env=VAR[,target=PATH][,mode=0400]; Corten only)
    #[arg(long, value_name = "secret", value_parser = super::secret::check)]
    pub(crate) secret: Vec<String>,
    /// Set a security option
    #[arg(long)]
    pub(crate) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    pub(crate) shm_size: i64,
    /// Signal that stops the container
    #[arg(long, default_value = "")]
    pub(crate) stop_signal: String,
    /// Seconds the container may take to stop
    #[arg(long, value_name = "int")]
    pub(crate) stop_timeout: Option<i64>,
    /// Set an option of the storage driver
    #[arg(long)]
    pub(crate) storage_opt: Vec<String>,
    /// Set a kernel parameter of the container (key=value)
    #[arg(long, value_name = "map", value_parser = checked::sysctl)]
    pub(crate) sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long)]
    pub(crate) tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set a resource limit (name=soft[:hard])
    #[arg(long, value_name = "ulimit", value_parser = checked::ulimit)]
    pub(crate) ulimit: Vec<String>,
    /// Give the container the engine's socket, and your credentials
    #[arg(long)]
    pub(crate) use_api_socket: bool,
    /// User name or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, default_value = "")]
    pub(crate) user: String,
    /// User namespace to use ('host'|'auto'|'remap:USER[:GROUP]')
    #[arg(long, default_value = "")]
    pub(crate) userns: String,
    /// UTS namespace to use
    #[arg(long, default_value = "")]
    pub(crate) uts: String,
    /// Mount a volume or a host directory
    #[arg(short, long)]
    pub(crate) volume: Vec<String>,
    /// Driver for volumes made on the way
    #[arg(long, default_value = "")]
    pub(crate) volume_driver: String,
    /// Mount the volumes of another container
    #[arg(long)]
    pub(crate) volumes_from: Vec<String>,
    /// Working directory in the container
    #[arg(short, long, default_value = "")]
    pub(crate) workdir: String,

    /// Accepted, and without effect: images are always verified by digest
    #[arg(long, hide = true)]
    pub(crate) disable_content_trust: bool,
    /// Accepted, and without effect: kernels no longer have this limit
    #[arg(long, hide = true, value_name = "bytes")]
    pub(crate) kernel_memory: Option<String>,
    /// Accepted, and without effect: there is one kind of isolation on Linux
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
}
