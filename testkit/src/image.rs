//! Small images made from what Debian has.

use std::sync::OnceLock;

/// The root file system of a busybox image as a tar: the static busybox with a link for each applet, root's passwd.
pub fn busybox() -> Vec<u8> {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(make_busybox).clone()
}

fn make_busybox() -> Vec<u8> {
    let program = std::fs::read("/bin/busybox").expect("/bin/busybox: apt-get install busybox-static");
    let applets = crate::Command::new(&["/bin/busybox", "--list"]).ok();
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode) in
        [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("tmp/", 0o1777), ("var/", 0o755)]
    {
        entry(&mut tar, path, tar::EntryType::Directory, mode, b"");
    }
    entry(&mut tar, "bin/busybox", tar::EntryType::Regular, 0o755, &program);
    for applet in applets.lines().filter(|a| *a != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("into memory");
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var:/bin/false\n";
    entry(&mut tar, "etc/passwd", tar::EntryType::Regular, 0o644, passwd);
    entry(&mut tar, "etc/group", tar::EntryType::Regular, 0o644, b"root:x:0:\nwww:x:33:\n");
    tar.into_inner().expect("into memory")
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).expect("into memory");
}
