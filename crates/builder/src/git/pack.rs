//! A pack: objects one after the other, some of them as differences to others (gitformat-pack).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use flate2::Crc;
use flate2::bufread::ZlibDecoder;
use sha1::{Digest as _, Sha1};

use super::Oid;

/// As archives may have entries.
const MAX_OBJECTS: u32 = 4_000_000;
/// A file that is larger comes whole, never as a difference, and is not held in memory.
const MAX_IN_MEMORY: u64 = 512 << 20;

/// Inflated, a pack may be this much even when it is small, and else this many times itself: as archives may.
const SMALL: u64 = 1 << 30;
const MAX_RATIO: u64 = 2000;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// One object's place.
#[derive(Debug)]
struct Object {
    /// Of its header.
    offset: u64,
    /// Of its deflated bytes.
    data: u64,
    /// Of what is inflated there.
    size: u64,
    /// Of its bytes in the pack, for an index.
    crc: u32,
    /// `None`: not found out yet.
    kind: Option<Kind>,
    base: Base,
}

#[derive(Debug, Clone, Copy)]
enum Base {
    None,
    Number(usize),
    /// Not known yet which of the pack's objects it is.
    Id(Oid),
}

/// A pack whose objects are all known by their ids.
#[derive(Debug)]
pub(super) struct Pack {
    file: File,
    objects: Vec<Object>,
    by_id: HashMap<Oid, usize>,
    length: u64,
    trailer: Oid,
    /// What may still be inflated while the objects are found out.
    left: u64,
}

/// What is wrong with a pack, or with an object.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("the pack is damaged: {0}")]
    Damaged(&'static str),
    #[error("the pack cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the server did not send object {0}")]
    Missing(Oid),
    #[error("more than {MAX_OBJECTS} objects")]
    TooMany,
    #[error("a difference of {0} bytes: more than {MAX_IN_MEMORY}")]
    TooLarge(u64),
}

type Result<T> = std::result::Result<T, Wrong>;

impl Pack {
    /// Reads a pack and computes the id of every object in it.
    pub(super) fn read(mut file: File) -> Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut from = Tally::new(BufReader::with_capacity(64 << 10, file.try_clone()?));
        let mut header = [0; 12];
        from.read_exact(&mut header)?;
        let [_, _, _, _, _, _, _, version, counted @ ..] = header;
        if !header.starts_with(b"PACK") || !matches!(version, 2 | 3) {
            return Err(Wrong::Damaged("it does not begin as one"));
        }
        let count = u32::from_be_bytes(counted);
        if count > MAX_OBJECTS {
            return Err(Wrong::TooMany);
        }
        let left = SMALL.max(file.metadata()?.len().saturating_mul(MAX_RATIO));
        let mut pack =
            Self { file, objects: Vec::new(), by_id: HashMap::new(), length: 0, trailer: Oid([0; 20]), left };
        for _ in 0..count {
            pack.entry(&mut from)?;
        }
        pack.length = from.at;
        pack.trailer = Oid(from.hash.clone().finalize().into());
        let mut trailer = [0; 20];
        from.read_exact(&mut trailer)?;
        if trailer != pack.trailer.0 {
            return Err(Wrong::Damaged("its checksum is another"));
        }
        pack.resolve()?;
        Ok(pack)
    }

    /// Takes note of the next object.
    fn entry(&mut self, from: &mut Tally) -> Result<()> {
        let offset = from.at;
        from.crc = Crc::new();
        let mut byte = from.byte()?;
        let kind = byte >> 4 & 7;
        let (mut size, mut shift) = (u64::from(byte & 15), 4);
        while byte & 0x80 != 0 {
            byte = from.byte()?;
            size |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if shift > 60 {
                return Err(Wrong::Damaged("an object's size"));
            }
        }
        let (kind, base) = match kind {
            1 => (Some(Kind::Commit), Base::None),
            2 => (Some(Kind::Tree), Base::None),
            3 => (Some(Kind::Blob), Base::None),
            4 => (Some(Kind::Tag), Base::None),
            6 => {
                let mut byte = from.byte()?;
                let mut back = u64::from(byte & 0x7f);
                while byte & 0x80 != 0 {
                    byte = from.byte()?;
                    let more = back.checked_add(1).filter(|back| *back < 1 << 56);
                    back = more.ok_or(Wrong::Damaged("a base"))? << 7 | u64::from(byte & 0x7f);
                }
                let place = offset.checked_sub(back).ok_or(Wrong::Damaged("a base"))?;
                let number = self.objects.binary_search_by_key(&place, |object| object.offset);
                (None, Base::Number(number.map_err(|_| Wrong::Damaged("a base"))?))
            }
            7 => {
                let mut id = [0; 20];
                from.read_exact(&mut id)?;
                (None, Base::Id(Oid(id)))
            }
            _ => return Err(Wrong::Damaged("an object of no kind")),
        };
        self.spend(size)?;
        let data = from.at;
        let mut hash = kind.map(|kind| hasher(kind, size));
        let inflated = {
            let mut inflater = ZlibDecoder::new(&mut *from).take(size + 1);
            match &mut hash {
                Some(hash) => io::copy(&mut inflater, &mut Into(hash))?,
                None => io::copy(&mut inflater, &mut io::sink())?,
            }
        };
        if inflated != size {
            return Err(Wrong::Damaged("an object's size"));
        }
        let number = self.objects.len();
        if let Some(hash) = hash {
            self.by_id.insert(Oid(hash.finalize().into()), number);
        }
        self.objects.push(Object { offset, data, size, crc: from.crc.sum(), kind, base });
        Ok(())
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or(Wrong::Damaged("it inflates to too much"))?;
        Ok(())
    }

    /// The most that its files may be.
    pub(super) fn most(&self) -> u64 {
        SMALL.max(self.length.saturating_mul(MAX_RATIO))
    }

    /// Finds out what the differences are: from each base on, so that each is inflated once.
    fn resolve(&mut self) -> Result<()> {
        let mut by_number: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut by_id: HashMap<Oid, Vec<usize>> = HashMap::new();
        let mut left = 0;
        for (number, object) in self.objects.iter().enumerate() {
            match object.base {
                Base::None => continue,
                Base::Number(base) => by_number.entry(base).or_default().push(number),
                Base::Id(base) => by_id.entry(base).or_default().push(number),
            }
            left += 1;
        }
        let whole: Vec<(Oid, usize)> = self.by_id.iter().map(|(id, number)| (*id, *number)).collect();
        for (id, number) in whole {
            let Some(kind) = self.objects[number].kind else { continue };
            let mut above = by_number.remove(&number).unwrap_or_default();
            above.extend(by_id.remove(&id).unwrap_or_default());
            if above.is_empty() {
                continue;
            }
            let bytes = Arc::new(self.inflate(number)?);
            let mut stack: Vec<(usize, usize, Arc<Vec<u8>>)> =
                above.into_iter().map(|above| (above, number, bytes.clone())).collect();
            while let Some((number, base, below)) = stack.pop() {
                let bytes = apply(&below, &self.inflate(number)?)?;
                self.spend(bytes.len() as u64)?;
                let mut hash = hasher(kind, bytes.len() as u64);
                hash.update(&bytes);
                let id = Oid(hash.finalize().into());
                (self.objects[number].kind, self.objects[number].base) = (Some(kind), Base::Number(base));
                self.by_id.insert(id, number);
                left -= 1;
                let mut above = by_number.remove(&number).unwrap_or_default();
                above.extend(by_id.remove(&id).unwrap_or_default());
                let bytes = Arc::new(bytes);
                stack.extend(above.into_iter().map(|above| (above, number, bytes.clone())));
            }
        }
        if left > 0 {
            return Err(Wrong::Damaged("the base of a difference is missing"));
        }
        Ok(())
    }

    /// An object's kind and bytes.
    pub(super) fn object(&self, id: Oid) -> Result<(Kind, Vec<u8>)> {
        let number = *self.by_id.get(&id).ok_or(Wrong::Missing(id))?;
        let kind = self.objects[number].kind.ok_or(Wrong::Missing(id))?;
        let (mut chain, mut base) = (Vec::new(), number);
        while let Base::Number(next) = self.objects[base].base {
            chain.push(base);
            base = next;
        }
        let mut bytes = self.inflate(base)?;
        while let Some(number) = chain.pop() {
            bytes = apply(&bytes, &self.inflate(number)?)?;
        }
        Ok((kind, bytes))
    }

    /// Writes a file's bytes; one that is stored whole is not held in memory. `most`: more fails.
    pub(super) fn copy(&self, id: Oid, most: u64, to: &mut impl Write) -> Result<u64> {
        let number = *self.by_id.get(&id).ok_or(Wrong::Missing(id))?;
        let object = &self.objects[number];
        if object.kind != Some(Kind::Blob) {
            return Err(Wrong::Damaged("a file is no file"));
        }
        if !matches!(object.base, Base::None) {
            let (_, bytes) = self.object(id)?;
            if bytes.len() as u64 > most {
                return Err(Wrong::TooLarge(bytes.len() as u64));
            }
            to.write_all(&bytes)?;
            return Ok(bytes.len() as u64);
        }
        if object.size > most {
            return Err(Wrong::TooLarge(object.size));
        }
        Ok(io::copy(&mut self.inflater(object).take(object.size), to)?)
    }

    /// What is stored for an object: itself, or a difference.
    fn inflate(&self, number: usize) -> Result<Vec<u8>> {
        let object = &self.objects[number];
        if object.size > MAX_IN_MEMORY {
            return Err(Wrong::TooLarge(object.size));
        }
        let mut bytes = Vec::new();
        self.inflater(object).take(object.size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn inflater(&self, object: &Object) -> ZlibDecoder<BufReader<At<'_>>> {
        let from = At { file: &self.file, at: object.data };
        let buffer = usize::try_from(object.size).unwrap_or(usize::MAX).clamp(512, 64 << 10);
        ZlibDecoder::new(BufReader::with_capacity(buffer, from))
    }

    /// The pack's bytes as they came.
    pub(super) fn bytes(&self) -> impl Read + '_ {
        At { file: &self.file, at: 0 }.take(self.length + 20)
    }

    /// Of everything before itself.
    pub(super) fn trailer(&self) -> Oid {
        self.trailer
    }

    /// Every object: id, checksum, offset; sorted.
    pub(super) fn sorted(&self) -> Vec<(Oid, u32, u64)> {
        let entry = |(id, number): (&Oid, &usize)| {
            let object = &self.objects[*number];
            (*id, object.crc, object.offset)
        };
        let mut all: Vec<_> = self.by_id.iter().map(entry).collect();
        all.sort_unstable();
        all
    }
}

/// What an object's id is the hash of begins with its kind and size.
fn hasher(kind: Kind, size: u64) -> Sha1 {
    let mut hash = Sha1::new();
    hash.update(format!("{} {size}\0", kind.name()));
    hash
}

/// Makes an object of its base and the difference.
fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>> {
    let mut at = delta;
    let expected = length(&mut at)?;
    if expected != base.len() as u64 {
        return Err(Wrong::Damaged("a difference is to another base"));
    }
    let size = length(&mut at)?;
    if size > MAX_IN_MEMORY {
        return Err(Wrong::TooLarge(size));
    }
    let cut = || Wrong::Damaged("a difference is cut");
    let mut bytes = Vec::new();
    while let Some((&code, mut rest)) = at.split_first() {
        let piece = if code & 0x80 == 0 {
            // New bytes.
            let (piece, after) = rest.split_at_checked(usize::from(code)).ok_or_else(cut)?;
            if code == 0 {
                return Err(Wrong::Damaged("a difference says what nobody knows"));
            }
            rest = after;
            piece
        } else {
            // A piece of the base.
            let mut numbers = [0_usize; 7];
            for (bit, number) in numbers.iter_mut().enumerate() {
                if code >> bit & 1 == 1 {
                    let (&byte, after) = rest.split_first().ok_or_else(cut)?;
                    *number = usize::from(byte);
                    rest = after;
                }
            }
            let [a, b, c, d, x, y, z] = numbers;
            let from = a | b << 8 | c << 16 | d << 24;
            let length = match x | y << 8 | z << 16 {
                0 => 0x10000,
                length => length,
            };
            base.get(from..from + length).ok_or_else(cut)?
        };
        if (bytes.len() + piece.len()) as u64 > size {
            return Err(Wrong::Damaged("a difference makes too much"));
        }
        bytes.extend_from_slice(piece);
        at = rest;
    }
    if bytes.len() as u64 != size {
        return Err(cut());
    }
    Ok(bytes)
}

/// A length, seven bits in each byte.
fn length(at: &mut &[u8]) -> Result<u64> {
    let (mut length, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = at.split_first().ok_or(Wrong::Damaged("a difference is cut"))?;
        *at = rest;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
        shift += 7;
        if shift > 56 {
            return Err(Wrong::Damaged("a length"));
        }
    }
}

/// A file from a place on, without its own position.
struct At<'f> {
    file: &'f File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Writes into a hash.
struct Into<'h>(&'h mut Sha1);

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads, and knows where it is and what it has read.
struct Tally {
    inner: BufReader<File>,
    at: u64,
    hash: Sha1,
    crc: Crc,
}

impl Tally {
    fn new(inner: BufReader<File>) -> Self {
        Self { inner, at: 0, hash: Sha1::new(), crc: Crc::new() }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

impl Read for Tally {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let count = have.len().min(buffer.len());
        buffer[..count].copy_from_slice(&have[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Tally {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        let bytes = &self.inner.buffer()[..count];
        self.hash.update(bytes);
        self.crc.update(bytes);
        self.at += count as u64;
        self.inner.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(objects: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = b"PACK\0\0\0\x02".to_vec();
        bytes.extend(u32::try_from(objects.len()).unwrap().to_be_bytes());
        for (kind, base, content) in objects {
            assert!(content.len() < 16);
            bytes.push(kind << 4 | u8::try_from(content.len()).unwrap());
            bytes.extend_from_slice(base);
            let mut deflater = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            deflater.write_all(content).unwrap();
            bytes.extend(deflater.finish().unwrap());
        }
        let hash: [u8; 20] = Sha1::digest(&bytes).into();
        bytes.extend(hash);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Pack> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Pack::read(file)
    }

    #[test]
    fn objects_and_differences_are_found_by_id() {
        // "hello" with what `git hash-object` says, and "hello world" as a difference to it.
        let hello: Oid = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0".parse().unwrap();
        let world: Oid = "95d09f2b10159347eece71399a7e2e907ea3df4f".parse().unwrap();
        let delta = b"\x05\x0b\x90\x05\x06 world";
        let bytes = pack(&[(3, b"", b"hello"), (7, &hello.0, delta)]);
        let found = read(&bytes).unwrap();
        assert_eq!(found.object(world).unwrap(), (Kind::Blob, b"hello world".to_vec()));
        let mut copied = Vec::new();
        assert_eq!(found.copy(hello, 5, &mut copied).unwrap(), 5);
        assert!(copied == b"hello" && found.copy(world, 5, &mut copied).is_err());
        assert!(matches!(found.object(Oid([1; 20])), Err(Wrong::Missing(_))));
    }

    #[test]
    fn damaged_packs_are_refused() {
        let hello: Oid = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0".parse().unwrap();
        let whole = pack(&[(3, b"", b"hello"), (7, &hello.0, b"\x05\x0b\x90\x05\x06 world")]);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            assert!(read(&damaged).is_err(), "byte {at}");
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        // Right as packs, but not as differences.
        for delta in
            [&b"\x04\x0b\x90\x05"[..], b"\x05\x0b\x90\x06", b"\x05\x05\x00", b"\x05\xff", b"\x05\x03\x90\x05"]
        {
            assert!(read(&pack(&[(3, b"", b"hello"), (7, &hello.0, delta)])).is_err(), "{delta:?}");
        }
        // Of each other: neither can be made.
        let (a, b) = ([1; 20], [2; 20]);
        assert!(read(&pack(&[(7, &a, b"\x05\x05"), (7, &b, b"\x05\x05")])).is_err());
    }
}
