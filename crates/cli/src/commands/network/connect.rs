//! `corten network connect` and `corten network disconnect`.

use std::ops::RangeInclusive;

use spec::api::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};

use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::{map, network};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Add a name for the container on the network
    #[arg(long, value_delimiter = ',')]
    alias: Vec<String>,
    /// Set an option of the network's driver
    #[arg(long, value_delimiter = ',')]
    driver_opt: Vec<String>,
    /// The network with the highest priority has the default gateway
    #[arg(long, default_value = "0", value_name = "int")]
    gw_priority: i64,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, default_value = "")]
    ip: String,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, default_value = "")]
    ip6: String,
    /// Add a link to another container
    #[arg(long)]
    link: Vec<String>,
    /// Add a link-local address
    #[arg(long, value_delimiter = ',')]
    link_local_ip: Vec<String>,
    names: Vec<String>,
}

impl Verb for Connect {
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const ABOUT: &'static str = "Connect a container to a network";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let mut settings = EndpointSettings {
            aliases: self.alias,
            links: self.link,
            driver_opts: map(&self.driver_opt),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        };
        if !self.ip.is_empty() {
            network::ipam(&mut settings).ipv4_address = network::address(&self.ip).map_err(Error::Invalid)?;
        }
        if !self.ip6.is_empty() {
            network::ipam(&mut settings).ipv6_address =
                network::address(&self.ip6).map_err(Error::Invalid)?;
        }
        if !self.link_local_ip.is_empty() {
            network::ipam(&mut settings).link_local_ips = self.link_local_ip;
        }
        let request =
            NetworkConnectRequest { container: self.names[1].clone(), endpoint_config: Some(settings) };
        app.client().await?.network_connect(&self.names[0], &request).await?;
        Ok(0)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// Disconnect even if the container is gone
    #[arg(short, long)]
    force: bool,
    names: Vec<String>,
}

impl Verb for Disconnect {
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const ABOUT: &'static str = "Disconnect a container from a network";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let request = NetworkDisconnectRequest { container: self.names[1].clone(), force: self.force };
        app.client().await?.network_disconnect(&self.names[0], &request).await?;
        Ok(0)
    }
}
