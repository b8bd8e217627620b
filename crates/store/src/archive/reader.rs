//! Bytes → entries, as a stream, every length bounded before it is believed.
//!
//! Formats: POSIX ustar and pax (IEEE Std 1003.1, pax), GNU long names and sparse files (tar(5) of libarchive), access
//! control lists (star's `SCHILY.acl`).

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use sys::root::Time;
use tar::{EntryType, GnuExtSparseHeader, Header};

use super::{Entry, EntryKind, MAX_ENTRIES, MAX_EXTENDED, MAX_PATH, MAX_SPARSE};
use crate::error::{Error, Result};

const BLOCK: usize = 512;
const WHAT: &str = "archive";

/// Reads an archive. After [`Reader::entry`] returned a file, reading from the reader gives its bytes.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes of the present entry not read yet, and the padding after them.
    content: u64,
    padding: u64,
    entries: u64,
    global: Extended,
    ended: bool,
}

/// What extension headers say of the entry after them.
#[derive(Debug, Clone, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<Time>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    sparse: Option<PaxSparse>,
}

/// A sparse file in pax form (GNU tar's manual, "PAX Format": versions 0.0, 0.1 and 1.0).
#[derive(Debug, Clone, Default)]
struct PaxSparse {
    /// The map is in front of the content (1.0).
    map_in_content: bool,
    /// The file's own name; the header's is made up.
    path: Option<Vec<u8>>,
    size: Option<u64>,
    /// Offsets and lengths, one after the other.
    numbers: Vec<u64>,
}

impl<R: Read> Reader<R> {
    /// Reads an inflated archive. Give a buffered source: headers are read 512 bytes at a time.
    pub fn new(source: R) -> Self {
        Self { source, content: 0, padding: 0, entries: 0, global: Extended::default(), ended: false }
    }

    /// The next entry; what is left of the one before is skipped. `None` at the end of the archive.
    ///
    /// # Errors
    /// The source's, a malformed header, or a bound passed.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        let mut extended = self.global.clone();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::Invalid(format!("the archive has more than {MAX_ENTRIES} entries")));
            }
            let bad = |detail| Error::Entry { entry: lossy(&header.path_bytes()), detail };
            let kind = match header.entry_type() {
                EntryType::XHeader => {
                    let bytes = self.extension(&header)?;
                    extended.read_pax(&bytes).map_err(bad)?;
                    continue;
                }
                EntryType::XGlobalHeader => {
                    let bytes = self.extension(&header)?;
                    self.global.read_pax(&bytes).map_err(bad)?;
                    extended = self.global.clone();
                    continue;
                }
                EntryType::GNULongName => {
                    extended.path = Some(until_nul(self.extension(&header)?));
                    continue;
                }
                EntryType::GNULongLink => {
                    extended.link = Some(until_nul(self.extension(&header)?));
                    continue;
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
                EntryType::Link => EntryKind::HardLink,
                EntryType::Symlink => EntryKind::Symlink,
                EntryType::Char => EntryKind::CharDevice,
                EntryType::Block => EntryKind::BlockDevice,
                EntryType::Directory => EntryKind::Directory,
                EntryType::Fifo => EntryKind::Fifo,
                other if other.as_byte() == b'V' => {
                    // A volume's label.
                    self.expect(number(&header.as_old().size).map_err(bad)?);
                    continue;
                }
                _ => return Err(bad("unknown kind of entry")),
            };
            return self.finish_entry(&header, kind, extended).map(Some);
        }
    }

    fn finish_entry(&mut self, header: &Header, kind: EntryKind, mut extended: Extended) -> Result<Entry> {
        let pax_sparse = extended.sparse.take().filter(|_| kind == EntryKind::File);
        let own_path = pax_sparse.as_ref().and_then(|sparse| sparse.path.clone());
        let path = own_path.or(extended.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |detail| Error::Entry { entry: lossy(&path), detail };
        let link =
            extended.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
        if path.len() > MAX_PATH || link.len() > MAX_PATH {
            return Err(bad("path longer than 4096 bytes"));
        }
        if path.contains(&0) || link.contains(&0) {
            return Err(bad("a zero byte in a path"));
        }
        // Before ustar a directory was a file whose name ends in a slash.
        let kind = if kind == EntryKind::File && path.ends_with(b"/") { EntryKind::Directory } else { kind };
        let old = header.as_old();
        let id = |field: &[u8]| number(field).and_then(|n| u32::try_from(n).map_err(|_| "id over 32 bits"));
        let stored = extended.size.map_or_else(|| number(&old.size), Ok).map_err(bad)?;
        let mut size = 0;
        let mut sparse = None;
        if kind == EntryKind::File {
            size = stored;
            if header.entry_type().is_gnu_sparse() {
                let (pieces, real) = self.sparse_map(header, stored, bad)?;
                (size, sparse) = (real, Some(pieces));
            }
            self.expect(stored);
            if let Some(map) = pax_sparse {
                let (pieces, real) = self.pax_sparse_map(map, bad)?;
                (size, sparse) = (real, Some(pieces));
            }
        }
        let device = |n: io::Result<Option<u32>>| n.ok().flatten().unwrap_or(0);
        let entry = Entry {
            kind,
            mode: u32::try_from(number(&old.mode).map_err(bad)? & 0o7777).expect("twelve bits"),
            uid: extended.uid.map_or_else(|| id(&old.uid), Ok).map_err(bad)?,
            gid: extended.gid.map_or_else(|| id(&old.gid), Ok).map_err(bad)?,
            size,
            modified: match extended.modified {
                Some(time) => time,
                // Negative times are two's complement in GNU's binary form.
                None => Time { seconds: number(&old.mtime).map_err(bad)?.cast_signed(), nanos: 0 },
            },
            major: device(header.device_major()),
            minor: device(header.device_minor()),
            xattrs: extended.xattrs,
            sparse,
            link: OsString::from_vec(link),
            path: PathBuf::from(OsString::from_vec(path)),
        };
        Ok(entry)
    }

    /// Reads what is left of the source, padding after the end of the archive included, so that a hash below sees all.
    ///
    /// # Errors
    /// The source's.
    pub fn drain(&mut self) -> Result<()> {
        io::copy(&mut self.source, &mut io::sink()).map_err(|source| Error::Read { what: WHAT, source })?;
        self.ended = true;
        Ok(())
    }

    /// The source.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn expect(&mut self, content: u64) {
        self.content = content;
        self.padding = content.wrapping_neg() % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<()> {
        let left = self.content.saturating_add(self.padding);
        if left > 0 {
            let skipped = io::copy(&mut self.source.by_ref().take(left), &mut io::sink())
                .map_err(|source| Error::Read { what: WHAT, source })?;
            if skipped != left {
                return Err(cut_off());
            }
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    /// The next header block; `None` at a block of zeros, or at the end of a source that has none.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(0) => return Err(cut_off()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { what: WHAT, source }),
            }
        }
        if block.iter().all(|&b| b == 0) {
            self.ended = true;
            return Ok(None);
        }
        // The sum of the block's bytes, with the sum's own field taken as spaces.
        let sum: u64 = block[..148].iter().chain(&block[156..]).map(|&b| u64::from(b)).sum::<u64>() + 8 * 32;
        if number(&header.as_old().cksum) != Ok(sum) {
            return Err(Error::Invalid(
                "not a tar archive, or a damaged one: a header's checksum is wrong".into(),
            ));
        }
        Ok(Some(header))
    }

    /// The content of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let bad = |detail| Error::Entry { entry: lossy(&header.path_bytes()), detail };
        let size = number(&header.as_old().size).map_err(bad)?;
        if size > MAX_EXTENDED {
            return Err(bad("extended header over 1 MiB"));
        }
        self.expect(size);
        let mut bytes = Vec::new();
        self.by_ref()
            .take(size)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::Read { what: WHAT, source })?;
        Ok(bytes)
    }

    /// The pieces of a GNU sparse file and its whole size.
    fn sparse_map(
        &mut self,
        header: &Header,
        stored: u64,
        bad: impl Fn(&'static str) -> Error,
    ) -> Result<(Vec<(u64, u64)>, u64)> {
        let gnu = header.as_gnu().ok_or_else(|| bad("sparse file without a GNU header"))?;
        let real = gnu.real_size().map_err(|_| bad("sparse file without a size"))?;
        let mut pieces = Vec::new();
        let mut add = |sparse: &[tar::GnuSparseHeader]| -> Result<()> {
            for piece in sparse.iter().filter(|s| !s.is_empty()) {
                let (Ok(offset), Ok(length)) = (piece.offset(), piece.length()) else {
                    return Err(bad(BAD_MAP));
                };
                pieces.push((offset, length));
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        let mut blocks = 0;
        while more {
            blocks += 1;
            if blocks > MAX_EXTENDED / BLOCK as u64 {
                return Err(bad("sparse map over 1 MiB"));
            }
            let mut block = GnuExtSparseHeader::new();
            self.source
                .read_exact(block.as_mut_bytes())
                .map_err(|source| Error::Read { what: WHAT, source })?;
            add(block.sparse())?;
            more = block.is_extended();
        }
        check_map(&pieces, real, stored).map_err(bad)?;
        Ok((pieces, real))
    }

    /// The same of a file in pax form, whose content is next.
    fn pax_sparse_map(
        &mut self,
        map: PaxSparse,
        bad: impl Fn(&'static str) -> Error,
    ) -> Result<(Vec<(u64, u64)>, u64)> {
        let real = map.size.ok_or_else(|| bad("sparse file without a size"))?;
        let numbers = if map.map_in_content { self.map_in_content(&bad)? } else { map.numbers };
        if numbers.len() % 2 != 0 {
            return Err(bad(BAD_MAP));
        }
        let pieces: Vec<(u64, u64)> = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        check_map(&pieces, real, self.content).map_err(bad)?;
        Ok((pieces, real))
    }

    /// A map in decimal lines, first how many pieces there are, in blocks of their own in front of the content.
    fn map_in_content(&mut self, bad: &impl Fn(&'static str) -> Error) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut number: Option<u64> = None;
        let mut blocks = 0;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            blocks += 1;
            if blocks > MAX_EXTENDED / BLOCK as u64 {
                return Err(bad("sparse map over 1 MiB"));
            }
            let mut block = [0; BLOCK];
            self.read_exact(&mut block).map_err(|source| Error::Read { what: WHAT, source })?;
            for byte in block {
                let done = wanted.is_some_and(|wanted| numbers.len() == wanted);
                match byte {
                    _ if done => break,
                    b'0'..=b'9' => {
                        let so_far = number.unwrap_or(0).checked_mul(10);
                        number = so_far.and_then(|n| n.checked_add(u64::from(byte - b'0')));
                        if number.is_none() {
                            return Err(bad(BAD_MAP));
                        }
                    }
                    b'\n' => match (number.take(), wanted) {
                        (None, _) => return Err(bad(BAD_MAP)),
                        (Some(count), None) => {
                            let count = usize::try_from(count).ok().and_then(|count| count.checked_mul(2));
                            wanted = Some(count.ok_or_else(|| bad(BAD_MAP))?);
                        }
                        (Some(n), Some(_)) => numbers.push(n),
                    },
                    _ => return Err(bad(BAD_MAP)),
                }
            }
        }
        Ok(numbers)
    }
}

const BAD_MAP: &str = "bad sparse map";

/// The pieces are in order, inside the file, and are what is stored of it.
fn check_map(pieces: &[(u64, u64)], real: u64, stored: u64) -> std::result::Result<(), &'static str> {
    if real > MAX_SPARSE {
        return Err("a sparse file of over 16 TiB");
    }
    let (mut end, mut sum) = (0_u64, 0_u64);
    for &(offset, length) in pieces {
        if offset < end || offset.checked_add(length).is_none_or(|e| e > real) {
            return Err(BAD_MAP);
        }
        end = offset + length;
        sum += length;
    }
    if sum == stored { Ok(()) } else { Err(BAD_MAP) }
}

impl<R: Read> Read for Reader<R> {
    /// Reads from the present entry's content.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.content == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.content).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = self.source.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends in the middle of a file",
            ));
        }
        self.content -= n as u64;
        Ok(n)
    }
}

impl Extended {
    /// Reads pax records: `<length> <key>=<value>\n`, the length counting all of it.
    fn read_pax(&mut self, mut bytes: &[u8]) -> std::result::Result<(), &'static str> {
        const BAD: &str = "bad pax record";
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&b| b == b' ').ok_or(BAD)?;
            let length: usize =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|n| n.parse().ok()).ok_or(BAD)?;
            if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
                return Err(BAD);
            }
            let record = &bytes[space + 1..length - 1];
            bytes = &bytes[length..];
            let equals = record.iter().position(|&b| b == b'=').ok_or(BAD)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let text = || std::str::from_utf8(value).map_err(|_| BAD);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(text()?.parse().map_err(|_| BAD)?),
                b"uid" => self.uid = Some(text()?.parse().map_err(|_| "id over 32 bits")?),
                b"gid" => self.gid = Some(text()?.parse().map_err(|_| "id over 32 bits")?),
                b"mtime" => self.modified = Some(pax_time(text()?).ok_or(BAD)?),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.push((OsString::from_vec(name.to_vec()), value.to_vec()));
                    } else if let Some(name) = key.strip_prefix(b"SCHILY.acl.") {
                        self.read_acl(name, text()?);
                    } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.get_or_insert_default().read(name, value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Extended {
    /// An access control list as text; one of users or groups by name cannot be known here and is left out.
    fn read_acl(&mut self, which: &[u8], text: &str) {
        let key = match which {
            b"access" => "system.posix_acl_access",
            b"default" => "system.posix_acl_default",
            _ => return,
        };
        if let Some(acl) = super::acl::from_text(text) {
            self.xattrs.push((key.into(), acl));
        }
    }
}

impl PaxSparse {
    fn read(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), &'static str> {
        let number = |value: &[u8]| {
            std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok()).ok_or(BAD_MAP)
        };
        match key {
            b"major" if number(value)? > 1 => return Err("a sparse file of an unknown version"),
            b"major" => self.map_in_content = number(value)? == 1,
            b"name" => self.path = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" | b"numbytes" => self.numbers.push(number(value)?),
            b"map" => {
                let parts = value.split(|&b| b == b',').filter(|part| !part.is_empty());
                self.numbers = parts.map(number).collect::<std::result::Result<_, _>>()?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// `seconds[.fraction]`, possibly negative.
fn pax_time(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let mut nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        seconds = seconds.checked_sub(1)?;
        nanos = 1_000_000_000 - nanos;
    }
    Some(Time { seconds, nanos })
}

/// A header's number: octal digits, or GNU's binary form when the first bit is set. An empty field is 0.
fn number(field: &[u8]) -> std::result::Result<u64, &'static str> {
    const BAD: &str = "a number in the header is malformed";
    if field[0] & 0x80 != 0 {
        // The last eight bytes hold what fits; what is before them must be its sign.
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let mut bytes = [0; 8];
        bytes[8 - low.len()..].copy_from_slice(low);
        if high.is_empty() {
            bytes[0] &= 0x7f;
        } else if !(high[0] == 0x80 && high[1..].iter().all(|&b| b == 0) || high.iter().all(|&b| b == 0xff)) {
            return Err(BAD);
        }
        return Ok(u64::from_be_bytes(bytes));
    }
    let digits = field.split(|&b| b == 0).next().unwrap_or_default().trim_ascii();
    if digits.is_empty() {
        return Ok(0);
    }
    std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 8).ok()).ok_or(BAD)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
}

fn cut_off() -> Error {
    Error::Read { what: WHAT, source: io::ErrorKind::UnexpectedEof.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Writer;

    fn everything() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        let long = format!("{}/f", "d".repeat(200));
        let file = Entry {
            size: 700,
            uid: 3_000_000,
            modified: Time { seconds: -5, nanos: 0 },
            xattrs: vec![("user.k".into(), b"a\nb=\0".to_vec())],
            ..Entry::new(long, EntryKind::File, 0o4755)
        };
        writer.append(&file, &mut io::repeat(7)).unwrap();
        let link = Entry { link: "t".repeat(150).into(), ..Entry::new("l", EntryKind::Symlink, 0o777) };
        writer.append_empty(&link).unwrap();
        let device = Entry { major: 7, minor: 300, ..Entry::new("n", EntryKind::BlockDevice, 0o600) };
        writer.append_empty(&device).unwrap();
        writer.append_bytes("end", 0o644, b"end").unwrap();
        writer.finish().unwrap()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Entry>> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = reader.entry()? {
            io::copy(&mut reader, &mut io::sink()).map_err(|source| Error::Read { what: WHAT, source })?;
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn what_is_written_is_read() {
        let entries = read_all(&everything()).unwrap();
        let [file, link, device, end] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((file.uid, file.mode, file.size, file.modified.seconds), (3_000_000, 0o4755, 700, -5));
        assert_eq!(file.path.as_os_str().len(), 202);
        assert_eq!(file.xattrs, [("user.k".into(), b"a\nb=\0".to_vec())]);
        assert_eq!((link.kind, link.link.len()), (EntryKind::Symlink, 150));
        assert_eq!((device.kind, device.major, device.minor), (EntryKind::BlockDevice, 7, 300));
        assert_eq!(end.path.to_str(), Some("end"));
    }

    /// Damage anywhere, with the checksum made good again so that it is believed: an error or an entry, never a panic,
    /// never more than a bounded amount of memory.
    #[test]
    fn damage_is_survived() {
        let good = everything();
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut errors = 0;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=random(3) {
                let block = random(bytes.len() / BLOCK) * BLOCK;
                let at = block + random(BLOCK);
                bytes[at] = [0, 0x80, 0xff, b'9', b'x', b'S', b'L'][random(7)];
                let block = &mut bytes[block..block + BLOCK];
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            errors += usize::from(read_all(&bytes).is_err());
        }
        assert!(errors > 1000);
    }
}
