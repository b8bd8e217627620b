//! `corten update`.

use std::ops::RangeInclusive;

use spec::api::{ContainerUpdateRequest, Resources};

use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::changes::ChangeFlags;
use crate::flags::limits;
use crate::verb::{MANY, Verb};
use crate::{print, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Block IO weight, 10 to 1000, 0 to disable
    #[arg(long, default_value = "0", value_name = "uint16")]
    blkio_weight: u16,
    /// Length of a CPU scheduling period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    cpu_period: i64,
    /// CPU time per period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    cpu_quota: i64,
    /// Length of a real-time scheduling period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    cpu_rt_period: i64,
    /// Real-time CPU time per period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    cpu_rt_runtime: i64,
    /// CPU weight relative to other containers
    #[arg(short, long, default_value = "0", value_name = "int")]
    cpu_shares: i64,
    /// Number of CPUs the container may use
    #[arg(long, default_value = "0", value_name = "decimal", value_parser = units::parse_cpus)]
    cpus: i64,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, default_value = "")]
    cpuset_cpus: String,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, default_value = "")]
    cpuset_mems: String,
    /// Memory limit
    #[arg(short, long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    memory: i64,
    /// Memory the container keeps when the host runs short
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    memory_reservation: i64,
    /// Limit of memory and swap together: '-1' for unlimited swap
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = limits::bytes_or_unlimited)]
    memory_swap: i64,
    /// Number of processes the container may have (-1 for unlimited)
    #[arg(long, value_name = "int")]
    pids_limit: Option<i64>,
    /// What to do when the container exits
    #[arg(long)]
    restart: Option<String>,
    /// Accepted, and without effect: kernels no longer have this limit
    #[arg(long, hide = true, value_name = "bytes", value_parser = units::parse_bytes)]
    kernel_memory: Option<i64>,
    #[command(flatten)]
    changes: ChangeFlags,
    containers: Vec<String>,
}

impl Verb for Update {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Update configuration of one or more containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let current = std::env::current_dir()
            .map_err(|source| Error::Io { what: "cannot find the current directory", source })?;
        let request = ContainerUpdateRequest {
            changes: self.changes.changes(&current).map_err(Error::Invalid)?,
            resources: Resources {
                blkio_weight: self.blkio_weight.into(),
                cpu_period: self.cpu_period,
                cpu_quota: self.cpu_quota,
                cpu_realtime_period: self.cpu_rt_period,
                cpu_realtime_runtime: self.cpu_rt_runtime,
                cpu_shares: self.cpu_shares,
                nano_cpus: self.cpus,
                cpuset_cpus: self.cpuset_cpus,
                cpuset_mems: self.cpuset_mems,
                memory: self.memory,
                memory_reservation: self.memory_reservation,
                memory_swap: self.memory_swap,
                pids_limit: self.pids_limit,
                ..Resources::default()
            },
            restart_policy: match &self.restart {
                Some(policy) => Some(limits::restart(policy).map_err(Error::Invalid)?),
                None => None,
            },
        };
        if request == ContainerUpdateRequest::default() && self.kernel_memory.is_none() {
            return Err(Error::invalid("you must provide one or more flags when using this command"));
        }
        let (client, request) = (app.client().await?, &request);
        if request.changes.is_some() {
            super::need_corten(client, "a change of ports, environment, labels or mounts").await?;
        }
        super::each(&self.containers, |name| async move {
            for warning in client.container_update(&name, request).await?.warnings {
                print::err_line(warning);
            }
            Ok(name)
        })
        .await
    }
}
