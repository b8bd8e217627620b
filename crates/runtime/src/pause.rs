//! Freezing and thawing a container.

use crate::failure::at;
use crate::{Container, Failure};

impl Container {
    /// Freezes the container's cgroup.
    ///
    /// # Errors
    /// Step `freeze`.
    pub fn pause(&self) -> Result<(), Failure> {
        self.cgroup.freeze().map_err(at("freeze"))
    }

    /// Thaws it.
    ///
    /// # Errors
    /// Step `thaw`.
    pub fn resume(&self) -> Result<(), Failure> {
        self.cgroup.thaw().map_err(at("thaw"))
    }
}
