//! Output is cut into lines, and long lines into pieces.

use spec::api::Stream;

/// A line longer than this many bytes is cut into pieces (Docker's copier buffer).
pub const PIECE: usize = 16 * 1024;

/// One line, or a piece of a long one.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Where it was written to.
    pub stream: Stream,
    /// When, in nanoseconds since 1970. All pieces of a line carry the same time.
    pub time: u64,
    /// The text, without the newline.
    pub text: &'a [u8],
    /// A newline followed.
    pub ends_line: bool,
    /// Set for pieces of a long line, and for one that the stream's end left without a newline.
    pub partial: Option<Partial<'a>>,
    /// It is known that every byte stands for itself in JSON: see [`is_plain`].
    pub plain: bool,
}

/// Which piece of which line.
#[derive(Debug, Clone, Copy)]
pub struct Partial<'a> {
    /// A name that all pieces of the line have and no other line: 64 hex digits.
    pub line: &'a str,
    /// 1 for the first.
    pub ordinal: u32,
}

/// Cuts one stream into pieces. It keeps what has arrived of an unfinished line, at most one piece.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    pending: Vec<u8>,
    /// All that is pending is known to be plain.
    pending_plain: bool,
    long: Option<Long>,
}

/// A line of which a piece was cut already.
#[derive(Debug)]
struct Long {
    id: String,
    ordinal: u32,
    since: u64,
}

impl Splitter {
    /// Nothing has arrived yet.
    pub fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new(), pending_plain: true, long: None }
    }

    /// Takes `bytes` that arrived at `now`, and calls `take` with each piece that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], now: u64, mut take: impl FnMut(&Piece<'_>)) {
        // Once for all lines: line by line it takes several times as long.
        let plain = is_plain(bytes);
        while !bytes.is_empty() {
            // A full piece is cut even when the next byte is the newline, which is then a piece of its own.
            let room = PIECE - self.pending.len();
            let near = &bytes[..bytes.len().min(room)];
            let Some(end) = memchr::memchr(b'\n', near) else {
                self.extend_pending(near, plain);
                bytes = &bytes[near.len()..];
                if self.pending.len() == PIECE {
                    self.cut(now, &mut take);
                }
                continue;
            };
            if self.pending.is_empty() {
                end_line(self.stream, self.long.take(), now, &near[..end], plain, &mut take);
            } else {
                self.extend_pending(&near[..end], plain);
                let plain = self.pending_plain;
                end_line(self.stream, self.long.take(), now, &self.pending, plain, &mut take);
                self.pending.clear();
            }
            bytes = &bytes[end + 1..];
        }
    }

    fn extend_pending(&mut self, bytes: &[u8], plain: bool) {
        self.pending_plain = plain && (self.pending_plain || self.pending.is_empty());
        self.pending.extend_from_slice(bytes);
    }

    /// Hands out what is left of an unfinished line.
    pub fn finish(&mut self, now: u64, mut take: impl FnMut(&Piece<'_>)) {
        if !self.pending.is_empty() {
            self.piece(self.pending.len(), now, &mut take);
        }
        self.long = None;
    }

    /// Gives the memory back that no unfinished line needs.
    pub fn shrink(&mut self) {
        self.pending.shrink_to_fit();
    }

    /// Hands out the pending bytes as one piece of a line that goes on. A character that has arrived in part
    /// waits for the next piece (Docker cuts through it, which loses it).
    fn cut(&mut self, now: u64, take: &mut impl FnMut(&Piece<'_>)) {
        self.piece(self.pending.len() - unfinished_character(&self.pending), now, take);
    }

    fn piece(&mut self, length: usize, now: u64, take: &mut impl FnMut(&Piece<'_>)) {
        let long = self.long.get_or_insert_with(|| Long { id: new_id(), ordinal: 0, since: now });
        long.ordinal = long.ordinal.saturating_add(1);
        take(&Piece {
            stream: self.stream,
            time: long.since,
            text: &self.pending[..length],
            ends_line: false,
            partial: Some(Partial { line: &long.id, ordinal: long.ordinal }),
            plain: self.pending_plain,
        });
        self.pending.drain(..length);
    }
}

fn end_line(
    stream: Stream,
    long: Option<Long>,
    now: u64,
    text: &[u8],
    plain: bool,
    take: &mut impl FnMut(&Piece<'_>),
) {
    let Some(long) = long else {
        return take(&Piece { stream, time: now, text, ends_line: true, partial: None, plain });
    };
    let partial = Some(Partial { line: &long.id, ordinal: long.ordinal.saturating_add(1) });
    take(&Piece { stream, time: long.since, text, ends_line: true, partial, plain });
}

/// How many bytes are looked at together: two vector registers.
const WIDTH: usize = 32;

/// Whether all bytes but newlines are ASCII that JSON needs no escape for, as Docker writes it. This is done to every
/// byte, so it is to be fast: the compiler makes vector instructions of the loop, because it has no early exit.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<WIDTH>();
    let mut last = [b' '; WIDTH];
    last[..rest.len()].copy_from_slice(rest);
    let mut marks = [0; WIDTH];
    for chunk in chunks.iter().chain([&last]) {
        for (mark, byte) in marks.iter_mut().zip(chunk) {
            *mark |= special(*byte);
        }
    }
    marks == [0; WIDTH]
}

/// 1 for a byte that needs an escape, or is no ASCII.
fn special(byte: u8) -> u8 {
    // Above 0x7f it is negative.
    let control = u8::from(byte.cast_signed() < 0x20) & u8::from(byte != b'\n');
    // Each two differ in one bit: `"` and `&`, `<` and `>`.
    let pairs = u8::from(byte & !0x04 == b'"') | u8::from(byte & !0x02 == b'<');
    control | pairs | u8::from(byte == b'\\')
}

fn new_id() -> String {
    sys::random::bytes::<32>().iter().map(|b| format!("{b:02x}")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_what_needs_no_escape() {
        for length in [0, 1, 31, 32, 33, 100] {
            assert!(is_plain(&vec![b'x'; length]));
            for (at, byte) in (0..length).flat_map(|at| (0..=0xff_u8).map(move |byte| (at, byte))) {
                let mut text = vec![b'x'; length];
                text[at] = byte;
                let plain = matches!(byte, b'\n' | 0x20..=0x7f) && !b"\"\\<>&".contains(&byte);
                assert_eq!(is_plain(&text), plain, "{byte} at {at}");
            }
        }
    }

    /// Text, whether it ends its line, and the ordinal, 0 for a whole line.
    fn pieces(chunks: &[&[u8]]) -> Vec<(String, bool, u32)> {
        let mut splitter = Splitter::new(Stream::Stdout);
        let mut pieces = Vec::new();
        let mut take = |p: &Piece<'_>| {
            let text = String::from_utf8(p.text.to_vec()).unwrap();
            pieces.push((text, p.ends_line, p.partial.map_or(0, |p| p.ordinal)));
        };
        chunks.iter().for_each(|chunk| splitter.feed(chunk, 1, &mut take));
        splitter.finish(1, &mut take);
        pieces
    }

    #[test]
    fn long_lines_are_cut_as_docker_cuts_them() {
        let x = "x".repeat(PIECE);
        let bytes = [x.as_bytes(), b"\n", x.as_bytes(), b"y\n\nz"].concat();
        for chunk in [1, 7, 4096, PIECE - 1, PIECE, PIECE + 1, 4 * PIECE] {
            let chunks: Vec<&[u8]> = bytes.chunks(chunk).collect();
            let expected = [
                (x.clone(), false, 1),
                (String::new(), true, 2),
                (x.clone(), false, 1),
                ("y".into(), true, 2),
                (String::new(), true, 0),
                ("z".into(), false, 1),
            ];
            assert_eq!(pieces(&chunks), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_cut_never_goes_through_a_character() {
        for shift in 0..4 {
            let line = "x".repeat(shift) + &"😀".repeat(PIECE / 2);
            let pieces = pieces(&[line.as_bytes(), b"\n"]);
            assert!(pieces.len() > 2);
            assert_eq!(pieces.iter().map(|p| p.0.as_str()).collect::<String>(), line);
        }
    }
}
