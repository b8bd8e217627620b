//! The container in the kernel: what our own runtime has made, or another one.

use runtime::{Ahead, Child, Failure, Io, Request, foreign};
use spec::oci::runtime::{Mount, Process, Resources};
use spec::signal;

use super::request::{errno, refusal};

pub(super) enum Kernel {
    Own(Box<runtime::Container>),
    Foreign(Box<foreign::Container>),
}

impl Kernel {
    pub(super) fn own(request: &Request<'_>, ahead: Ahead) -> Result<(Self, Child), Failure> {
        runtime::create_ahead(request, ahead, |_| ())
            .map(|(container, child)| (Self::Own(Box::new(container)), child))
    }

    pub(super) fn foreign(request: foreign::Request<'_>) -> Result<(Self, Child), Failure> {
        foreign::create(request).map(|(container, child)| (Self::Foreign(Box::new(container)), child))
    }

    pub(super) fn start(&mut self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.start(),
            Self::Foreign(container) => container.start(),
        }
    }

    pub(super) fn exec(&self, process: &Process, io: Io) -> Result<Child, Failure> {
        match self {
            Self::Own(container) => container.exec(process, io),
            Self::Foreign(container) => container.exec(process, &io),
        }
    }

    pub(super) fn kill(&self, signal: i32, all: bool) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.kill(signal, all),
            Self::Foreign(container) => container.kill(signal, all),
        }
    }

    /// Init has ended. Without a pid namespace of its own that does not end the others: none may be left.
    pub(super) fn end_others(&self) {
        match self {
            // There may be none.
            Self::Own(container) => drop(container.kill(signal::KILL, true)),
            Self::Foreign(container) => container.end_others(),
        }
    }

    pub(super) fn pause(&self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.pause(),
            Self::Foreign(container) => container.pause(),
        }
    }

    pub(super) fn resume(&self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.resume(),
            Self::Foreign(container) => container.resume(),
        }
    }

    pub(super) fn update(&self, resources: &Resources) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.update(resources),
            Self::Foreign(container) => container.update(resources),
        }
    }

    pub(super) fn mount(&self, mount: &Mount) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.mount(mount),
            Self::Foreign(_) => Err(no_mounts("mount")),
        }
    }

    pub(super) fn unmount(&self, destination: &str) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.unmount(destination),
            Self::Foreign(_) => Err(no_mounts("unmount")),
        }
    }

    /// `killed`: init has ended, by SIGKILL.
    pub(super) fn oom_killed(&self, killed: bool) -> bool {
        match self {
            Self::Own(container) => container.oom_killed(killed),
            Self::Foreign(container) => container.oom_killed(),
        }
    }

    pub(super) fn delete(self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => container.delete(),
            Self::Foreign(container) => container.delete(),
        }
    }
}

/// No runtime's command changes mounts of a running container.
fn no_mounts(step: &str) -> Failure {
    refusal(step, errno::EINVAL, "mounts of a running container change with Corten's own runtime only")
}
