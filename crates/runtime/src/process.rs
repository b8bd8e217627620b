//! From the sandbox to the program: limits, user, capabilities, seccomp, execve. The same for init and exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;

use spec::defaults::ALL_CAPABILITIES;
use spec::oci::runtime::{Capabilities, Process};
use sys::caps::{self, Set, Sets};
use sys::root::{Access, Root};

use crate::failure::{at, at_path, errno_text};
use crate::user::Identity;
use crate::{Failure, handshake, limits, program, seccomp};

const SYS_ADMIN: u32 = 21;

/// A process that has only its program left to execute.
#[derive(Debug)]
pub(crate) struct Prepared {
    file: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// Attributes of security modules that take effect with the execve: the open file and what to write.
    labels: Vec<(File, String)>,
    /// To open them again: they are those of the process that opens them.
    proc: Option<Root>,
    preserved: u32,
    /// What the program will hold.
    capabilities: Sets,
}

/// What is to be done differently.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// A seccomp filter will be loaded.
    pub(crate) filtered: bool,
    /// Stay in the caller's session keyring.
    pub(crate) keep_keyring: bool,
    /// How many descriptors from 3 on the program gets.
    pub(crate) preserved: u32,
    /// The limits are set already.
    pub(crate) limited: bool,
    /// A child of the calling process will execute the program.
    pub(crate) forks: bool,
}

/// Makes the working directory when the image has none of that name. What stands in the way is chdir's to tell.
pub(crate) fn make_cwd(root: &Root, cwd: &str) {
    let _ = root.create_dirs(cwd, 0o755);
}

/// Becomes the user, with what the configuration leaves it. `proc` is a private procfs of this pid namespace.
pub(crate) fn prepare(
    proc: &Root,
    process: &Process,
    user: &Identity,
    settings: Settings,
) -> Result<Prepared, Failure> {
    let Some(word) = process.args.first() else {
        return Err(Failure::new("spec", "process.args", "no command specified"));
    };
    let argv = process.args.iter().map(|argument| c_string(argument)).collect::<Result<_, _>>()?;
    let env = environment(&process.env, &user.home);
    let labels = labels(proc, process)?;
    let again = settings.forks && !labels.is_empty();
    let proc = again.then(|| proc.top().to_root()).transpose().map_err(at("label"))?;
    if !settings.keep_keyring {
        sys::process::leave_session_keyring();
    }
    if !settings.limited {
        limits::set_all(process)?;
    }
    let capabilities = become_user(process, user, settings.filtered)?;
    sys::process::set_umask(process.user.umask.unwrap_or(0o022));
    // Now, so that a program that is not there is an error of the container's making.
    let file = program::find(word, &env)?;
    let env = env.iter().map(|entry| c_string(entry)).collect::<Result<_, _>>()?;
    Ok(Prepared { file, argv, env, labels, proc, preserved: settings.preserved, capabilities })
}

/// Each name once, with its last value; a home that is not said is the account's.
fn environment(given: &[String], home: &str) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = Vec::with_capacity(given.len() + 1);
    for entry in given {
        match env.iter_mut().find(|known| name(known) == name(entry)) {
            Some(known) => known.clone_from(entry),
            None => env.push(entry.clone()),
        }
    }
    env.retain(|entry| entry != "HOME=");
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Opens the files of security modules (proc_pid_attr(5)), which are this process's own whatever the image holds.
fn labels(proc: &Root, process: &Process) -> Result<Vec<(File, String)>, Failure> {
    let mut labels = Vec::new();
    if !process.apparmor_profile.is_empty() {
        let text = format!("exec {}", process.apparmor_profile);
        labels.push((open_label(proc, &text)?, text));
    }
    if !process.selinux_label.is_empty() {
        let text = process.selinux_label.clone();
        labels.push((open_label(proc, &text)?, text));
    }
    Ok(labels)
}

/// AppArmor's words begin with `exec`, and it has a directory of its own from Linux 5.8 on.
fn open_label(proc: &Root, text: &str) -> Result<File, Failure> {
    let open = |path| proc.open_file(path, Access::Write, 0).map_err(at_path("label", text));
    if text.starts_with("exec ")
        && let Ok(file) = open("/self/attr/apparmor/exec")
    {
        return Ok(file);
    }
    open("/self/attr/exec")
}

/// User, groups, capabilities and working directory: what the program may do. The capabilities that it will hold:
/// until then there may be one more.
fn become_user(process: &Process, user: &Identity, filtered: bool) -> Result<Sets, Failure> {
    let held = caps::current().map_err(at("capabilities"))?.permitted;
    let wanted = process.capabilities.as_ref().map(|names| Wanted::of(names, held)).unwrap_or_default();
    caps::bound(wanted.bounding).map_err(at("capabilities"))?;
    if process.no_new_privileges {
        caps::set_no_new_privileges().map_err(at("capabilities"))?;
    }
    // Some directories only root may enter, some only the user: whoever can, does.
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    let entered = sys::process::change_directory(cwd);
    caps::become_user(user.uid, user.gid, &user.groups).map_err(at("user"))?;
    let mut sets =
        Sets { effective: wanted.effective, permitted: wanted.permitted, inheritable: wanted.inheritable };
    if user.uid != 0 {
        // As the kernel does it when a process leaves root: only what is ambient stays.
        sets.effective = wanted.ambient;
        sets.permitted = wanted.ambient;
    }
    let lasting = sets;
    if filtered && !process.no_new_privileges && held.has(SYS_ADMIN) {
        // Loading the filter needs it. The execve takes it away: the new program's capabilities come from the
        // bounding, inheritable and ambient sets only.
        sets.effective = sets.effective.with(SYS_ADMIN);
        sets.permitted = sets.permitted.with(SYS_ADMIN);
    }
    caps::set(sets).map_err(at("capabilities"))?;
    caps::set_ambient(wanted.ambient).map_err(at("capabilities"))?;
    if entered.is_err() {
        sys::process::change_directory(cwd).map_err(cannot_enter(cwd))?;
    }
    // A directory outside of the root would be a way out (CVE-2024-21626).
    sys::process::check_current_directory().map_err(cannot_enter(cwd))?;
    Ok(lasting)
}

fn cannot_enter(cwd: &str) -> impl Fn(sys::Error) -> Failure + '_ {
    move |error| Failure {
        step: "chdir".into(),
        errno: error.errno(),
        path: cwd.to_owned(),
        detail: format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", errno_text(&error.source)),
    }
}

impl Prepared {
    /// What the program will be told.
    pub(crate) fn env(&self) -> &[CString] {
        &self.env
    }

    /// What the program will hold.
    pub(crate) fn capabilities(&self) -> Sets {
        self.capabilities
    }

    /// Executes the program. Comes back only with a failure.
    pub(crate) fn execute(self, filter: Option<&seccomp::Filter>, caller: &handshake::Child) -> Failure {
        match self.try_execute(filter, caller) {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn try_execute(
        self,
        filter: Option<&seccomp::Filter>,
        caller: &handshake::Child,
    ) -> Result<Infallible, Failure> {
        sys::process::reset_signals();
        for (mut file, text) in self.labels {
            if let Some(proc) = &self.proc {
                file = open_label(proc, &text)?;
            }
            file.write_all(text.as_bytes()).map_err(crate::failure::failed("label", &text))?;
        }
        sys::process::seal_descriptors(3_u32.saturating_add(self.preserved)).map_err(at("exec"))?;
        // Last, so that the filter has to allow nothing of ours but the execve.
        filter.map_or(Ok(()), |filter| filter.load(caller))?;
        Err(program::failed(&sys::process::execute(&self.file, &self.argv, &self.env)))
    }
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::new("spec", "process", format!("a zero byte in {text:?}")))
}

/// The configuration's capabilities, by number, as far as we have them ourselves.
#[derive(Debug, Default)]
struct Wanted {
    bounding: Set,
    effective: Set,
    permitted: Set,
    inheritable: Set,
    ambient: Set,
}

impl Wanted {
    fn of(names: &Capabilities, held: Set) -> Self {
        let set = |names: &[String]| {
            let known = names.iter().filter_map(|name| ALL_CAPABILITIES.iter().position(|c| c == name));
            // A position in a table of 41 names.
            known.fold(Set::default(), |set, number| set.with(number as u32)).and(held)
        };
        let permitted = set(&names.permitted);
        let inheritable = set(&names.inheritable).and(set(&names.bounding));
        Self {
            bounding: set(&names.bounding),
            effective: set(&names.effective).and(permitted),
            permitted,
            inheritable,
            ambient: set(&names.ambient).and(permitted).and(inheritable),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_environment_has_each_name_once() {
        let env = |given: &[&str]| {
            super::environment(&given.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>(), "/h")
        };
        assert_eq!(env(&["A=1", "B=2", "A=3"]), ["A=3", "B=2", "HOME=/h"]);
        assert_eq!(env(&["HOME=/x", "HOME="]), ["HOME=/h"]);
        assert_eq!(env(&["HOME=", "HOME=/x"]), ["HOME=/x"]);
    }
}
