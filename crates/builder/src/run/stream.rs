//! A container's output becomes lines for the client.

use std::io::Read;

use spec::Digest;
use spec::api::Stream;

use crate::error::{Error, Result};
use crate::output::Output;

/// A line without an end is sent in pieces of this many bytes.
const LONGEST: usize = 16 << 10;

/// Forwards frames until the other end closes.
pub(crate) fn forward(mut from: impl Read, output: &Output, vertex: &Digest) -> Result<()> {
    let failed = |e: std::io::Error| Error::System(sys::Error::new("read", "the step's output", e));
    let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
    let mut buffer = vec![0; 32 << 10];
    loop {
        let mut header = [0; 8];
        if from.read(&mut header[..1]).map_err(failed)? == 0 {
            break;
        }
        from.read_exact(&mut header[1..]).map_err(failed)?;
        let Some((stream, length)) = Stream::parse(header) else {
            return Err(failed(std::io::Error::other("not a frame")));
        };
        let lines = match stream {
            Stream::Stderr | Stream::System => &mut stderr,
            Stream::Stdin | Stream::Stdout => &mut stdout,
        };
        let mut left = length as usize;
        while left > 0 {
            let piece = left.min(buffer.len());
            from.read_exact(&mut buffer[..piece]).map_err(failed)?;
            left -= piece;
            if let Some(text) = lines.push(&buffer[..piece]) {
                output.log(vertex, text)?;
            }
        }
    }
    for lines in [stdout, stderr] {
        if !lines.pending.is_empty() {
            output.log(vertex, String::from_utf8_lossy(&lines.pending).into_owned())?;
        }
    }
    Ok(())
}

/// Bytes until the next newline.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Adds bytes; returns the lines that are whole now.
    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        self.pending.extend_from_slice(bytes);
        let end = match self.pending.iter().rposition(|b| *b == b'\n') {
            Some(newline) => newline + 1,
            None if self.pending.len() > LONGEST => whole_characters(&self.pending),
            None => return None,
        };
        let rest = self.pending.split_off(end);
        let line = std::mem::replace(&mut self.pending, rest);
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

/// How many bytes there are up to a character that is still incomplete at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_streams_apart() {
        let mut bytes = Vec::new();
        for (stream, text) in [
            (Stream::Stdout, "a\nb"),
            (Stream::Stderr, "e1\n"),
            (Stream::Stdout, "c\n\u{fc}"),
            (Stream::Stderr, "e2"),
        ] {
            bytes.extend(stream.header(u32::try_from(text.len()).unwrap()));
            bytes.extend(text.as_bytes());
        }
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        let vertex = Digest::from_bytes([1; 32]);
        forward(&bytes[..], &Output::new(sender, false, true), &vertex).unwrap();
        let mut lines = Vec::new();
        while let Ok(progress) = receiver.try_recv() {
            lines.push(progress.aux.unwrap()["log"].as_str().unwrap().to_owned());
        }
        assert_eq!(lines, ["a\n", "e1\n", "bc\n", "\u{fc}", "e2"]);
    }

    #[test]
    fn an_endless_line_goes_out_in_pieces() {
        let mut lines = Lines::default();
        let mut text = "x".repeat(LONGEST).into_bytes();
        text.push(0xc3);
        assert_eq!(lines.push(&text).map(|t| t.len()), Some(LONGEST));
        assert_eq!(lines.push(&[0xbc, b'\n']).as_deref(), Some("\u{fc}\n"));
    }
}
