//! `corten volume update`.

use std::ops::RangeInclusive;

use spec::api::{LabelChanges, VolumeChanges};

use crate::app::App;
use crate::commands::container::need_corten;
use crate::error::{Error, Result};
use crate::flags::{checked, map};
use crate::json::Json;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Cluster Volume availability ("active", "pause", "drain")
    #[arg(long)]
    availability: Option<String>,
    /// Set a label (Corten only)
    #[arg(long, value_parser = checked::label)]
    label_add: Vec<String>,
    /// Remove a label (Corten only)
    #[arg(long)]
    label_rm: Vec<String>,
    /// What a volume that was made with a size may take from now on (Corten only)
    #[arg(long, value_name = "bytes")]
    size: Option<String>,
    volume: Vec<String>,
}

impl Verb for Update {
    const USAGE: &'static str = "[OPTIONS] VOLUME";
    const ABOUT: &'static str = "Update a volume";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let name = &self.volume[0];
        let labels = LabelChanges { add: map(&self.label_add), remove: self.label_rm };
        let changes = VolumeChanges { labels, size: self.size };
        let client = app.client().await?;
        if let Some(availability) = self.availability {
            if changes != VolumeChanges::default() {
                return Err(Error::invalid(
                    "--availability is of cluster volumes, which have nothing else to update",
                ));
            }
            let shown = Json::parse(&client.volume_inspect_raw(name).await?)
                .map_err(|reason| Error::invalid(format!("cannot read the volume: {reason}")))?;
            if shown.get("ClusterVolume").is_none() {
                return Err(Error::invalid("can only update cluster volumes"));
            }
            let version = u64::try_from(shown.int(&["ClusterVolume", "Version", "Index"])).unwrap_or(0);
            let spec = serde_json::json!({ "Spec": { "Availability": availability } });
            client.volume_cluster_update(name, version, &spec).await?;
            return Ok(0);
        }
        if changes == VolumeChanges::default() {
            return Err(Error::invalid("you must provide one or more flags when using this command"));
        }
        need_corten(client, "a change of labels or size").await?;
        print::line(client.volume_update(name, &changes).await?.name);
        Ok(0)
    }
}
