//! Stdout and stderr come in one stream, each piece behind a header of eight bytes.

use spec::api::Stream;

use crate::Error;

/// Takes a multiplexed stream apart, however it is cut into pieces.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; 8],
    /// Bytes of the header read so far.
    have: usize,
    /// The frame being read, and what is left of it.
    frame: Option<(Stream, usize)>,
}

impl Frames {
    /// Takes the next piece of payload from the front of `input`; `None` when the input is used up.
    ///
    /// # Errors
    /// [`Error::UnknownStream`]: this is not a multiplexed stream.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<(Stream, &'a [u8])>, Error> {
        loop {
            if let Some((stream, left)) = self.frame {
                let (piece, rest) = input.split_at(left.min(input.len()));
                *input = rest;
                self.frame = Some((stream, left - piece.len())).filter(|(_, left)| *left > 0);
                return Ok(if piece.is_empty() { None } else { Some((stream, piece)) });
            }
            let wanted = (8 - self.have).min(input.len());
            self.header[self.have..self.have + wanted].copy_from_slice(&input[..wanted]);
            *input = &input[wanted..];
            self.have += wanted;
            if self.have < 8 {
                return Ok(None);
            }
            self.have = 0;
            let (stream, len) = Stream::parse(self.header).ok_or(Error::UnknownStream(self.header[0]))?;
            self.frame = Some((stream, len as usize)).filter(|(_, len)| *len > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_bytes() {
        let mut wire = Vec::new();
        for (stream, text) in [(Stream::Stdout, "hello"), (Stream::Stderr, ""), (Stream::Stderr, "oh\n")] {
            wire.extend(stream.header(u32::try_from(text.len()).unwrap()));
            wire.extend(text.as_bytes());
        }
        for size in 1..=wire.len() {
            let (mut frames, mut out, mut err) = (Frames::default(), Vec::new(), Vec::new());
            for mut piece in wire.chunks(size) {
                while let Some((stream, bytes)) = frames.next(&mut piece).unwrap() {
                    if stream == Stream::Stdout { &mut out } else { &mut err }.extend_from_slice(bytes);
                }
                assert!(piece.is_empty());
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"hello"[..], &b"oh\n"[..]), "cut at {size}");
        }
        assert!(Frames::default().next(&mut &b"xxxxxxxx"[..]).is_err());
    }
}
