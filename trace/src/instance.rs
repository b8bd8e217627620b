//! An instance of tracefs: a buffer and switches of our own.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{at, run};

/// A mount of tracefs with an instance in it. Dropped: nothing is left of either.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Also a name for what else is ours.
    pub(crate) name: String,
    pub(crate) mount: PathBuf,
    directory: PathBuf,
}

/// Instances of this process so far: each has names of its own.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Instance {
    pub(crate) fn make() -> io::Result<Self> {
        let name = format!("corten_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mount = std::env::temp_dir().join(format!("trace-{name}"));
        std::fs::create_dir_all(&mount)?;
        run("mount", &["-t", "tracefs", "none", &mount.display().to_string()])?;
        let directory = mount.join("instances").join(&name);
        let instance = Self { name, mount, directory };
        std::fs::create_dir(&instance.directory).map_err(|e| at(&instance.directory, &e))?;
        Ok(instance)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let path = self.file(name);
        // These are files of the kernel's: one write is one command, and creating makes no sense.
        let file = std::fs::File::options().write(true).open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes())).map_err(|e| at(&path, &e))
    }

    /// What it has written; an error if the kernel's buffer was too small for all of it.
    pub(crate) fn read(&self) -> io::Result<String> {
        let path = self.file("trace");
        let text = std::fs::read(&path).map_err(|e| at(&path, &e))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        // `# entries-in-buffer/entries-written: 100/100   #P:2`
        let kept = text.lines().find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written: "));
        let kept = kept.and_then(|counts| counts.split_whitespace().next()?.split_once('/'));
        if let Some((kept, written)) = kept
            && kept != written
        {
            return Err(io::Error::other(format!("the kernel kept {kept} of {written} events: trace less")));
        }
        Ok(text)
    }

    /// Ends it; what was set up elsewhere for it can be taken away then.
    pub(crate) fn close(&self) {
        for name in ["tracing_on", "events/enable"] {
            let _ = self.write(name, "0");
        }
        let _ = std::fs::remove_dir(&self.directory);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.close();
        let _ = run("umount", &[&self.mount.display().to_string()]);
        let _ = std::fs::remove_dir(&self.mount);
    }
}
