//! config.json and state.json: written whole, read back at the daemon's start.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shim::proto::Exit;
use sys::file::{self, Durability};

use super::Container;
use super::record::{Attachment, Record};
use super::state::State;
use crate::Error;
use crate::blocking::blocking;

/// state.json.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) network: Attachment,
}

/// Writes config.json so that it survives a crash of the machine, unless the container is to be removed after one.
pub(crate) fn save_record(dir: &Path, record: &Record) -> Result<(), Error> {
    let bytes = serde_json::to_vec_pretty(record).expect("records have string keys only");
    let durability = if record.host.auto_remove { Durability::Process } else { Durability::Machine };
    Ok(file::write_atomic(&dir.join("config.json"), &bytes, 0o600, durability)?)
}

/// Whether there is a config.json.
pub(crate) fn has_record(dir: &Path) -> bool {
    dir.join("config.json").exists()
}

/// Reads config.json; `None` when it is not there (a create that did not finish).
pub(crate) fn load_record(dir: &Path) -> Result<Option<Record>, Error> {
    load(&dir.join("config.json"))
}

/// Reads state.json; the default when it is not there.
pub(crate) fn load_state(dir: &Path) -> Result<Saved, Error> {
    Ok(load(&dir.join("state.json"))?.unwrap_or_default())
}

/// Reads what the shim wrote when init ended.
pub(crate) fn load_exit(dir: &Path) -> Result<Option<Exit>, Error> {
    load(&dir.join("exit.json"))
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    // Of what was not synced, a crash of the machine may leave the name alone.
    let Some(bytes) = file::read_if_exists(path)?.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    // The API's types write Go's nulls, which mean nothing.
    let record = spec::gojson::from_slice(&bytes)
        .map_err(|source| Error::Record { path: path.display().to_string(), source })?;
    Ok(Some(record))
}

impl Container {
    /// Writes state.json. Not synced: what it says can be found out again.
    pub(crate) async fn save_state(
        self: &Arc<Self>,
        state: State,
        network: Arc<Attachment>,
    ) -> Result<(), Error> {
        let path = self.places.records.join("state.json");
        let save = move || {
            let saved = Saved { state, network: (*network).clone() };
            let bytes = serde_json::to_vec(&saved).expect("states have string keys only");
            Ok(file::write_atomic(&path, &bytes, 0o600, Durability::Process)?)
        };
        // In memory it takes less time than the way to another thread.
        if self.places.is_transient() { save() } else { blocking(save).await }
    }

    /// Records and then publishes a new state. Only for the holder of `verbs`.
    pub(crate) async fn commit(self: &Arc<Self>, state: State) -> Result<(), Error> {
        let network = self.view().network.clone();
        self.save_state(state.clone(), network).await?;
        self.publish(|view| {
            view.told = state.ends;
            view.state = state;
        });
        Ok(())
    }

    /// Records and then publishes a changed intent. Only for the holder of `verbs`.
    pub(crate) async fn commit_record(self: &Arc<Self>, record: Record) -> Result<(), Error> {
        let dir = self.places.records.clone();
        let copy = record.clone();
        blocking(move || save_record(&dir, &copy)).await?;
        self.publish(|view| view.record = Arc::new(record));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing;

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_record(dir.path()).unwrap(), None);
        let record = testing::record();
        save_record(dir.path(), &record).unwrap();
        assert_eq!(load_record(dir.path()).unwrap(), Some(record));
        assert_eq!(load_state(dir.path()).unwrap().state, State::default());
    }
}
