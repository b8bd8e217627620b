//! Output becomes log entries: cut into lines and pieces, escaped as Docker's json-file driver escapes.

use std::fmt::Write as _;

use spec::api::Stream;

use super::time;

/// A line longer than this many bytes is cut into pieces (Docker's copier buffer).
pub const PIECE: usize = 16 * 1024;

/// Cuts one stream into pieces. It keeps what has arrived of an unfinished line, at most one piece.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    pending: Vec<u8>,
    /// When the unfinished line's first piece was cut: all pieces of a line carry the same time.
    line_since: Option<Stamp>,
}

/// A time, written once for all the entries that carry it.
#[derive(Debug, Clone)]
pub struct Stamp(String);

impl Stamp {
    /// The text of a time.
    pub fn new(nanos: u64) -> Self {
        Self(time::format(nanos))
    }
}

impl Splitter {
    /// Nothing has arrived yet.
    pub fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new(), line_since: None }
    }

    /// Takes `bytes` that arrived at `now`, and calls `entry` with the encoded entries they complete. `out` is
    /// where entries are encoded: each is appended to it, then `entry` is told where it begins.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        now: &Stamp,
        out: &mut Vec<u8>,
        mut entry: impl FnMut(&mut Vec<u8>, usize),
    ) {
        while !bytes.is_empty() {
            // A full piece is cut even when the next byte is the newline, which is then a piece of its own.
            let room = PIECE - self.pending.len();
            let near = &bytes[..bytes.len().min(room)];
            let (take, skip, whole) = match near.iter().position(|&b| b == b'\n') {
                Some(at) => (at, 1, true),
                None => (near.len(), 0, false),
            };
            let begin = out.len();
            if whole && self.pending.is_empty() {
                let since = self.line_since.take();
                encode(out, &bytes[..take], true, self.stream, since.as_ref().unwrap_or(now));
                entry(out, begin);
            } else {
                self.pending.extend_from_slice(&bytes[..take]);
                if whole {
                    let since = self.line_since.take();
                    encode(out, &self.pending, true, self.stream, since.as_ref().unwrap_or(now));
                    self.pending.clear();
                    entry(out, begin);
                } else if self.pending.len() == PIECE {
                    self.cut(now, out);
                    entry(out, begin);
                }
            }
            bytes = &bytes[take + skip..];
        }
    }

    /// Encodes what is left of an unfinished line, without a newline.
    pub fn finish(&mut self, now: &Stamp, out: &mut Vec<u8>, mut entry: impl FnMut(&mut Vec<u8>, usize)) {
        let since = self.line_since.take();
        if !self.pending.is_empty() {
            let begin = out.len();
            encode(out, &self.pending, false, self.stream, since.as_ref().unwrap_or(now));
            self.pending.clear();
            entry(out, begin);
        }
    }

    /// Gives the memory back that no unfinished line needs.
    pub fn shrink(&mut self) {
        self.pending.shrink_to_fit();
    }

    /// Encodes the pending bytes as one piece of a line that goes on. A character that has arrived in part
    /// waits for the next piece (Docker cuts through it, which loses it).
    fn cut(&mut self, now: &Stamp, out: &mut Vec<u8>) {
        let end = self.pending.len() - unfinished_character(&self.pending);
        let since = self.line_since.get_or_insert_with(|| now.clone());
        encode(out, &self.pending[..end], false, self.stream, since);
        self.pending.drain(..end);
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character that is not complete.
fn unfinished_character(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let length = match bytes[bytes.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => 1,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// Appends one entry.
fn encode(out: &mut Vec<u8>, piece: &[u8], ends_line: bool, stream: Stream, stamp: &Stamp) {
    out.extend_from_slice(b"{\"log\":\"");
    match std::str::from_utf8(piece) {
        Ok(text) => escape(out, text),
        Err(_) => escape_broken(out, piece),
    }
    if ends_line {
        out.extend_from_slice(b"\\n");
    }
    let name: &[u8] = if stream == Stream::Stderr { b"stderr" } else { b"stdout" };
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(stamp.0.as_bytes());
    out.extend_from_slice(b"\"}\n");
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

    fn log_of(chunks: &[&[u8]]) -> Vec<String> {
        let (mut splitter, stamp) = (Splitter::new(Stream::Stdout), Stamp::new(1_000_000_000));
        let mut out = Vec::new();
        chunks.iter().for_each(|chunk| splitter.feed(chunk, &stamp, &mut out, |_, _| ()));
        splitter.finish(&stamp, &mut out, |_, _| ());
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn text_of(line: &str) -> String {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_line_is_byte_for_byte_dockers() {
        let lines = log_of(&[b"a\"\\/\t\r\x01<>&\xff\x7f", "\u{2028}\u{20ac}é\n".as_bytes(), b"no newline"]);
        let first = r#"a\"\\/\u0009\r\u0001\u003c\u003e\u0026\ufffd"#;
        assert_eq!(
            lines[0],
            format!(
                "{{\"log\":\"{first}\x7f\\u2028€é\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01Z\"}}"
            )
        );
        assert_eq!(lines[1], r#"{"log":"no newline","stream":"stdout","time":"1970-01-01T00:00:01Z"}"#);
    }

    #[test]
    fn every_byte_at_every_place_of_a_word_survives() {
        for at in 0..24 {
            for byte in 0..=0x7f_u8 {
                if byte == b'\n' {
                    continue;
                }
                let mut line = vec![b'x'; 24];
                line[at] = byte;
                let lines = log_of(&[&line, b"\n"]);
                assert_eq!(text_of(&lines[0]).as_bytes(), [&line[..], b"\n"].concat());
            }
        }
    }

    #[test]
    fn long_lines_are_cut_as_docker_cuts_them() {
        let long = vec![b'x'; PIECE];
        for chunk in [1, 7, 4096, PIECE - 1, PIECE, PIECE + 1, 4 * PIECE] {
            let bytes = [&long[..], b"\n", &long, b"y\n\nz"].concat();
            let chunks: Vec<&[u8]> = bytes.chunks(chunk).collect();
            let lines: Vec<String> = log_of(&chunks).iter().map(|l| text_of(l)).collect();
            let x = "x".repeat(PIECE);
            assert_eq!(lines, [x.as_str(), "\n", x.as_str(), "y\n", "\n", "z"], "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_cut_never_goes_through_a_character() {
        for shift in 0..4 {
            let line = "x".repeat(shift) + &"😀".repeat(PIECE / 2);
            let lines = log_of(&[line.as_bytes(), b"\n"]);
            assert!(lines.len() > 2);
            assert_eq!(lines.iter().map(|l| text_of(l)).collect::<String>(), line + "\n");
        }
    }
}
