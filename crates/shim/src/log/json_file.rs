//! Docker's json-file format: one JSON object per piece.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","attrs":{"tag":"x"},"time":"2006-01-02T15:04:05.123Z"}
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use spec::api::Stream;

use super::split::{Piece, is_plain};
use super::time;

/// Writes entries. What follows an entry's text is written out once for all that share it.
#[derive(Debug)]
pub struct Encoder {
    /// `,"attrs":{…}`, or nothing.
    attrs: Vec<u8>,
    tail: Vec<u8>,
    tail_of: Option<(Stream, u64)>,
}

impl Encoder {
    /// Every entry gets these attributes.
    pub fn new(attrs: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        for (key, value) in attrs {
            text.extend_from_slice(if text.is_empty() { b",\"attrs\":{\"" } else { b",\"" });
            escape(&mut text, key);
            text.extend_from_slice(b"\":\"");
            escape(&mut text, value);
            text.push(b'"');
        }
        if !text.is_empty() {
            text.push(b'}');
        }
        Self { attrs: text, tail: Vec::new(), tail_of: None }
    }

    /// Appends one entry.
    pub fn append(&mut self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        if self.tail_of != Some((piece.stream, piece.time)) {
            self.set_tail(piece.stream, piece.time);
        }
        out.reserve(piece.text.len() + self.tail.len() + 16);
        out.extend_from_slice(b"{\"log\":\"");
        if piece.plain || is_plain(piece.text) {
            out.extend_from_slice(piece.text);
        } else {
            match std::str::from_utf8(piece.text) {
                Ok(text) => escape(out, text),
                Err(_) => escape_broken(out, piece.text),
            }
        }
        if piece.ends_line {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(&self.tail);
    }

    fn set_tail(&mut self, stream: Stream, time: u64) {
        let name: &[u8] = if stream == Stream::Stderr { b"stderr" } else { b"stdout" };
        self.tail.clear();
        self.tail.extend_from_slice(b"\",\"stream\":\"");
        self.tail.extend_from_slice(name);
        self.tail.push(b'"');
        self.tail.extend_from_slice(&self.attrs);
        self.tail.extend_from_slice(b",\"time\":\"");
        self.tail.extend_from_slice(time::format(time).as_bytes());
        self.tail.extend_from_slice(b"\"}\n");
        self.tail_of = Some((stream, time));
    }
}

/// Bytes that are not UTF-8 become one replacement character each, as in Go.
fn escape_broken(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        escape(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Escapes as Docker does: quotes, backslashes and control characters as JSON must, `<`, `>`, `&` and the
/// separators U+2028 and U+2029 so that the text is safe in HTML and JavaScript.
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = next_special(bytes, at) {
        let (short, width): (&[u8], usize) = match bytes[found] {
            b'"' => (b"\\\"", 1),
            b'\\' => (b"\\\\", 1),
            b'\n' => (b"\\n", 1),
            b'\r' => (b"\\r", 1),
            0xe2 => match bytes.get(found + 1..found + 3) {
                Some([0x80, 0xa8]) => (b"\\u2028", 3),
                Some([0x80, 0xa9]) => (b"\\u2029", 3),
                _ => {
                    at = found + 1;
                    continue;
                }
            },
            _ => (b"", 1),
        };
        out.extend_from_slice(&bytes[copied..found]);
        if short.is_empty() {
            let mut code = String::with_capacity(6);
            write!(code, "\\u{:04x}", bytes[found]).expect("a String takes any text");
            out.extend_from_slice(code.as_bytes());
        } else {
            out.extend_from_slice(short);
        }
        at = found + width;
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2)
}

/// Where the next byte is that may need an escape, at or after `from`. Eight bytes are looked at together.
fn next_special(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = &bytes[from..];
    let (words, tail) = rest.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let marks = special_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(from + i * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let done = rest.len() - tail.len();
    tail.iter().position(|&b| is_special(b)).map(|i| from + done + i)
}

/// Sets the high bit of the first special byte. A byte above that one may be marked wrongly, by the borrow of
/// the subtraction; below it none is.
fn special_marks(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let below = |x: u64, n: u8| x.wrapping_sub(ONES * u64::from(n)) & !x & HIGH;
    let equal = |c: u8| below(word ^ (ONES * u64::from(c)), 1);
    below(word, 0x20) | equal(b'"') | equal(b'\\') | equal(b'<') | equal(b'>') | equal(b'&') | equal(0xe2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::split::Splitter;

    fn log_of(chunks: &[&[u8]], attrs: &BTreeMap<String, String>) -> Vec<String> {
        let (mut splitter, mut encoder) = (Splitter::new(Stream::Stdout), Encoder::new(attrs));
        let mut out = Vec::new();
        let mut take = |piece: &Piece<'_>| encoder.append(&mut out, piece);
        chunks.iter().for_each(|chunk| splitter.feed(chunk, 1_000_000_000, &mut take));
        splitter.finish(1_000_000_000, &mut take);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn text_of(line: &str) -> String {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_line_is_byte_for_byte_dockers() {
        let bytes: [&[u8]; 3] =
            [b"a\"\\/\t\r\x01<>&\xff\x7f", "\u{2028}\u{20ac}é\n".as_bytes(), b"no newline"];
        let lines = log_of(&bytes, &BTreeMap::new());
        let first = r#"a\"\\/\u0009\r\u0001\u003c\u003e\u0026\ufffd"#;
        assert_eq!(
            lines[0],
            format!(
                "{{\"log\":\"{first}\x7f\\u2028€é\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01Z\"}}"
            )
        );
        assert_eq!(lines[1], r#"{"log":"no newline","stream":"stdout","time":"1970-01-01T00:00:01Z"}"#);
        let attrs = BTreeMap::from([("tag".into(), "a\"b".into()), ("env".into(), "x".into())]);
        assert_eq!(
            log_of(&[b"x\n"], &attrs)[0],
            r#"{"log":"x\n","stream":"stdout","attrs":{"env":"x","tag":"a\"b"},"time":"1970-01-01T00:00:01Z"}"#
        );
    }

    #[test]
    fn every_byte_at_every_place_of_a_chunk_survives() {
        for length in [1, 15, 16, 17, 40] {
            for (at, byte) in (0..length).flat_map(|at| (0..=0x7f_u8).map(move |byte| (at, byte))) {
                if byte == b'\n' {
                    continue;
                }
                let mut line = vec![b'x'; length];
                line[at] = byte;
                let lines = log_of(&[&line, b"\n"], &BTreeMap::new());
                assert_eq!(text_of(&lines[0]).as_bytes(), [&line[..], b"\n"].concat());
            }
        }
    }
}
