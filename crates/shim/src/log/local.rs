//! Docker's `local` format: each entry is a protocol buffer between two copies of its length.
//!
//! ```text
//! length: u32 BE, entry, length: u32 BE
//! entry: 1 source: string, 2 time: nanoseconds, 3 line: bytes, 4 partial: bool,
//!        5 { 1 last: bool, 2 id: string, 3 ordinal }, 6 { 1 key: string, 2 value: string } …
//! ```
//!
//! (`entry.proto` of Docker's log driver package; field 6 is new in 29.5.) A line's newline is not written.

use std::collections::BTreeMap;

use spec::api::Stream;

use super::read::Entry;
use super::split::Piece;

/// The length before an entry, and the one after it.
pub(super) const LENGTH: usize = 4;

/// How every entry begins: the source's field, its length, and what both sources' names begin with.
pub(super) const BEGIN: &[u8] = b"\x0a\x06std";

/// Protocol buffers' wire types.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Writes entries.
#[derive(Debug)]
pub struct Encoder {
    /// The attributes' fields, the same in every entry.
    attrs: Vec<u8>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// Every entry gets these attributes.
    pub fn new(attrs: &BTreeMap<String, String>) -> Self {
        let mut fields = Vec::new();
        for (key, value) in attrs {
            let mut pair = Vec::new();
            bytes_field(&mut pair, 1, key.as_bytes());
            bytes_field(&mut pair, 2, value.as_bytes());
            bytes_field(&mut fields, 6, &pair);
        }
        Self { attrs: fields, scratch: Vec::new() }
    }

    /// Appends one entry.
    pub fn append(&mut self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        let begin = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        bytes_field(out, 1, if piece.stream == Stream::Stderr { b"stderr" } else { b"stdout" });
        varint_field(out, 2, piece.time);
        bytes_field(out, 3, piece.text);
        if let Some(partial) = piece.partial {
            varint_field(out, 4, 1);
            self.scratch.clear();
            if piece.ends_line {
                varint_field(&mut self.scratch, 1, 1);
            }
            bytes_field(&mut self.scratch, 2, partial.line.as_bytes());
            varint_field(&mut self.scratch, 3, partial.ordinal.into());
            bytes_field(out, 5, &self.scratch);
        }
        out.extend_from_slice(&self.attrs);
        let length = u32::try_from(out.len() - begin - LENGTH).expect("a piece and its attributes are short");
        out[begin..begin + LENGTH].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How long the entry is whose length stands there.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<LENGTH>()?);
    usize::try_from(length).ok()
}

/// Reads what stands between two lengths; `None` when it is no entry.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Entry> {
    let mut entry = Entry {
        stream: Stream::Stdout,
        time: 0,
        text: Vec::new(),
        begins_line: true,
        attrs: BTreeMap::new(),
    };
    let (mut known, mut partial, mut last) = (false, false, false);
    while let Some(field) = next_field(&mut bytes)? {
        match field {
            (1, Field::Bytes(b"stdout")) => known = true,
            (1, Field::Bytes(b"stderr")) => {
                entry.stream = Stream::Stderr;
                known = true;
            }
            (2, Field::Varint(time)) => entry.time = time,
            (3, Field::Bytes(line)) => entry.text.extend_from_slice(line),
            (4, Field::Varint(value)) => partial = value != 0,
            (5, Field::Bytes(mut inner)) => {
                while let Some(field) = next_field(&mut inner)? {
                    if let (1, Field::Varint(value)) = field {
                        last = value != 0;
                    }
                }
            }
            (6, Field::Bytes(mut inner)) => {
                let (mut key, mut value) = (String::new(), String::new());
                while let Some(field) = next_field(&mut inner)? {
                    match field {
                        (1, Field::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                        (2, Field::Bytes(text)) => value = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
                entry.attrs.insert(key, value);
            }
            // A newer writer's.
            _ => {}
        }
    }
    if !partial || last {
        entry.text.push(b'\n');
    }
    known.then_some(entry)
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The next field and its number; `Some(None)` at the end, `None` for what is no protocol buffer.
#[expect(clippy::option_option, reason = "an error without a reason around an optional value")]
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<Option<(u64, Field<'a>)>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let key = take_varint(bytes)?;
    let field = match key & 7 {
        VARINT => Field::Varint(take_varint(bytes)?),
        BYTES => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Field::Bytes(value)
        }
        _ => return None,
    };
    Some(Some((key >> 3, field)))
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::split::Partial;

    #[test]
    fn entries_have_dockers_bytes_and_come_back() {
        let attrs = BTreeMap::from([("tag".to_owned(), "t".to_owned())]);
        let mut out = Vec::new();
        let piece = Piece {
            stream: Stream::Stdout,
            time: 300,
            text: b"hi",
            ends_line: true,
            partial: None,
            plain: false,
        };
        Encoder::new(&BTreeMap::new()).append(&mut out, &piece);
        assert_eq!(out, b"\0\0\0\x0f\x0a\x06stdout\x10\xac\x02\x1a\x02hi\0\0\0\x0f");
        let partial = Some(Partial { line: "ab", ordinal: 2 });
        for (ends_line, text) in [(false, b"\xffx".to_vec()), (true, b"\xffx\n".to_vec())] {
            let mut out = Vec::new();
            let piece =
                Piece { stream: Stream::Stderr, time: 1, text: b"\xffx", ends_line, partial, plain: false };
            Encoder::new(&attrs).append(&mut out, &piece);
            let inner = &out[LENGTH..out.len() - LENGTH];
            assert_eq!(length(&out), Some(inner.len()));
            let entry = decode(inner).unwrap();
            assert_eq!(entry.text, text);
            assert_eq!((entry.stream, entry.time, &entry.attrs), (Stream::Stderr, 1, &attrs));
        }
    }

    #[test]
    fn nonsense_is_no_entry() {
        for bytes in
            [&b""[..], b"\0", b"\x0a\x7fabc", b"\x0a\x01x", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(decode(bytes).is_none(), "{bytes:?}");
        }
    }
}
