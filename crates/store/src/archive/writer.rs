//! Entries → bytes: ustar headers, with a pax header before an entry when a value does not fit. The same entries give
//! the same bytes.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use sys::root::Time;
use tar::{EntryType, Header};

use super::{Entry, EntryKind, acl};
use crate::error::{Error, Result};

const BLOCK: usize = 512;
/// Eleven octal digits.
const MAX_SIZE: u64 = 0o777_7777_7777;
/// Seven octal digits.
const MAX_ID: u32 = 0o777_7777;
const WHAT: &str = "archive";

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// An archive into `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, buffer: vec![0; 128 << 10] }
    }

    /// Adds an entry, and for a file `entry.size` bytes of `content`. A content that ends early (the file shrank
    /// since it was looked at) is filled up with zeros; what is more is left out.
    ///
    /// # Errors
    /// The receiver's, or `content`'s.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let records = pax_records(entry);
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            header.set_size(records.len() as u64);
            put(&mut header.as_old_mut().name, b"PaxHeaders.0");
            self.write_header(header)?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.write_header(header_of(entry))?;
        let mut left = entry.size;
        let mut ended = false;
        while left > 0 {
            let most = usize::try_from(left).map_or(self.buffer.len(), |l| l.min(self.buffer.len()));
            let mut n = 0;
            if !ended {
                n = match content.read(&mut self.buffer[..most]) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(|source| Error::Read { what: "file", source })?,
                };
                ended = n == 0;
            }
            if ended {
                self.buffer[..most].fill(0);
                n = most;
            }
            self.out.write_all(&self.buffer[..n]).map_err(|source| Error::Write { what: WHAT, source })?;
            left -= n as u64;
        }
        self.pad(entry.size)
    }

    /// Adds an entry without content.
    ///
    /// # Errors
    /// The receiver's.
    pub fn append_empty(&mut self, entry: &Entry) -> Result<()> {
        self.append(entry, &mut io::empty())
    }

    /// Adds a file from memory.
    ///
    /// # Errors
    /// The receiver's.
    pub fn append_bytes(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let entry = Entry { size: bytes.len() as u64, ..Entry::new(path, EntryKind::File, mode) };
        self.append(&entry, &mut &*bytes)
    }

    /// Ends the archive and returns what it was written to.
    ///
    /// # Errors
    /// The receiver's.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(|source| Error::Write { what: WHAT, source })?;
        Ok(self.out)
    }

    fn write_header(&mut self, mut header: Header) -> Result<()> {
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write(&[0; BLOCK][..usize::try_from(padding).expect("less than a block")])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::Write { what: WHAT, source })
    }
}

fn header_of(entry: &Entry) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(match entry.kind {
        EntryKind::File => EntryType::Regular,
        EntryKind::Directory => EntryType::Directory,
        EntryKind::Symlink => EntryType::Symlink,
        EntryKind::HardLink => EntryType::Link,
        EntryKind::CharDevice => EntryType::Char,
        EntryKind::BlockDevice => EntryType::Block,
        EntryKind::Fifo => EntryType::Fifo,
    });
    header.set_mode(entry.mode & 0o7777);
    // What does not fit is in the pax header; readers without pax then see the nearest that does.
    header.set_uid(entry.uid.min(MAX_ID).into());
    header.set_gid(entry.gid.min(MAX_ID).into());
    header.set_size(entry.size.min(MAX_SIZE));
    header.set_mtime(u64::try_from(entry.modified.seconds).unwrap_or(0).min(MAX_SIZE));
    if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice)
        && let Some(ustar) = header.as_ustar_mut()
    {
        ustar.set_device_major(entry.major);
        ustar.set_device_minor(entry.minor);
    }
    let old = header.as_old_mut();
    put(&mut old.name, &path_bytes(entry));
    put(&mut old.linkname, entry.link.as_bytes());
    header
}

/// Directories end in a slash.
fn path_bytes(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.as_os_str().as_bytes().to_vec();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let n = bytes.len().min(field.len());
    field[..n].copy_from_slice(&bytes[..n]);
}

fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, value: Vec<u8>| records.push((key.into(), value));
    let path = path_bytes(entry);
    // pax text is UTF-8; names of other bytes are told the old way as long as they fit.
    if path.len() > 100 {
        add("path", path);
    }
    if entry.link.len() > 100 {
        add("linkpath", entry.link.as_bytes().to_vec());
    }
    if entry.uid > MAX_ID {
        add("uid", entry.uid.to_string().into());
    }
    if entry.gid > MAX_ID {
        add("gid", entry.gid.to_string().into());
    }
    if entry.size > MAX_SIZE {
        add("size", entry.size.to_string().into());
    }
    let Time { seconds, nanos } = entry.modified;
    if nanos != 0 || u64::try_from(seconds).map_or(true, |s| s > MAX_SIZE) {
        add("mtime", pax_time(entry.modified).into());
    }
    for (key, value) in &entry.xattrs {
        let mut name = b"SCHILY.xattr.".to_vec();
        name.extend_from_slice(key.as_bytes());
        records.push((name, value.clone()));
        // Lists as text, too: GNU tar and bsdtar know them in this form only.
        if let Some(kind) = key.to_str().and_then(|key| key.strip_prefix("system.posix_acl_"))
            && let Some(text) = acl::to_text(value)
        {
            records.push((format!("SCHILY.acl.{kind}").into(), text.into()));
        }
    }
    records.sort();
    records.iter().flat_map(|(key, value)| pax_record(key, value)).collect()
}

/// `seconds[.fraction]`, possibly negative.
fn pax_time(time: Time) -> String {
    let Time { seconds, nanos } = time;
    if nanos == 0 {
        return seconds.to_string();
    }
    let (sign, whole, fraction) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanos),
        // The fraction counts from the second before.
        _ => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
    };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() != rest.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}
