//! `corten port`.

use std::ops::RangeInclusive;

use spec::api::PortBinding;

use crate::app::App;
use crate::error::{Error, Result};
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    words: Vec<String>,
}

impl Verb for Port {
    const USAGE: &'static str = "CONTAINER [PRIVATE_PORT[/PROTO]]";
    const ABOUT: &'static str = "List port mappings or a specific mapping for the container";
    const WORDS: RangeInclusive<usize> = 1..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let container = app.client().await?.container_inspect(&self.words[0]).await?;
        let ports = container.network_settings.ports;
        let lines: Vec<String> = match self.words.get(1) {
            Some(port) => {
                let key = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
                let bindings = ports.get(&key).and_then(Option::as_ref).ok_or_else(|| {
                    Error::invalid(format!("Error: No public port '{port}' published for {}", self.words[0]))
                })?;
                bindings.iter().map(address).collect()
            }
            None => {
                let mut ports: Vec<_> = ports.into_iter().collect();
                ports.sort_by_key(|(key, _)| {
                    let (port, protocol) = key.split_once('/').unwrap_or((key, ""));
                    (port.parse::<u16>().unwrap_or(0), protocol.to_owned())
                });
                let of = |(key, bindings): (String, Option<Vec<PortBinding>>)| {
                    bindings.unwrap_or_default().into_iter().map(move |b| format!("{key} -> {}", address(&b)))
                };
                ports.into_iter().flat_map(of).collect()
            }
        };
        lines.iter().for_each(print::line);
        Ok(0)
    }
}

fn address(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}
