//! Fluentd's forward protocol in message mode: MessagePack of `[tag, time, record]` (github.com/fluent/fluentd wiki,
//! Forward Protocol Specification v1). The record has the keys of Docker's fluentd driver.

use spec::api::Stream;

use crate::log::split::Piece;
use crate::proto::Form;

/// Appends one message. `name`: what the server is to acknowledge it by, if it is to.
pub(super) fn encode(out: &mut Vec<u8>, form: &Form, piece: &Piece<'_>, name: Option<&str>) {
    let Form::Fluentd { tag, fields, sub_second, acknowledged: _ } = form else { return };
    // An array of three, or of four.
    out.push(if name.is_some() { 0x94 } else { 0x93 });
    string(out, tag.as_bytes());
    let seconds = (piece.time / 1_000_000_000) as u32;
    if *sub_second {
        // EventTime: extension type 0 of eight bytes, seconds and nanoseconds.
        out.extend_from_slice(&[0xd7, 0]);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&((piece.time % 1_000_000_000) as u32).to_be_bytes());
    } else {
        out.push(0xce);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    let count = fields.len() + 2 + if piece.partial.is_some() { 4 } else { 0 };
    out.push(0xde);
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
    let mut pair = |key: &str, value: &[u8]| {
        string(out, key.as_bytes());
        string(out, value);
    };
    for (key, value) in fields.iter().take(usize::from(u16::MAX) - 6) {
        pair(key, value.as_bytes());
    }
    pair("source", if piece.stream == Stream::Stderr { b"stderr" } else { b"stdout" });
    pair("log", piece.text);
    if let Some(partial) = piece.partial {
        pair("partial_message", b"true");
        pair("partial_id", partial.line.as_bytes());
        pair("partial_ordinal", partial.ordinal.to_string().as_bytes());
        pair("partial_last", if piece.ends_line { b"true" } else { b"false" });
    }
    if let Some(name) = name {
        // The options: a map of one.
        out.push(0x81);
        string(out, b"chunk");
        string(out, name.as_bytes());
    }
}

/// What stands first in what a server has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// It has the message of this name; so many bytes said it.
    Has(&'a [u8], usize),
    /// Too little to know.
    Part,
    /// Nothing that this protocol knows.
    Else,
}

/// Reads an acknowledgement: a map of one, `ack` and a name.
pub(super) fn said(bytes: &[u8]) -> Said<'_> {
    const HEAD: &[u8] = b"\x81\xa3ack";
    let Some(rest) = bytes.strip_prefix(HEAD) else {
        return if HEAD.starts_with(bytes) { Said::Part } else { Said::Else };
    };
    let (length, rest) = match rest {
        [] | [0xd9] => return Said::Part,
        [0xd9, length, rest @ ..] => (usize::from(*length), rest),
        [short @ 0xa0..=0xbf, rest @ ..] => (usize::from(short & 0x1f), rest),
        _ => return Said::Else,
    };
    match rest.get(..length) {
        Some(name) => Said::Has(name, bytes.len() - rest.len() + length),
        None => Said::Part,
    }
}

/// MessagePack's str, in the shortest form.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 256..65536 => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn messages_are_message_pack() {
        let piece = Piece {
            stream: Stream::Stdout,
            time: 1_000_000_002,
            text: b"hi",
            ends_line: true,
            partial: None,
            plain: false,
        };
        let fields = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let mut out = Vec::new();
        let form =
            Form::Fluentd { tag: "t".into(), fields: fields.clone(), sub_second: false, acknowledged: false };
        encode(&mut out, &form, &piece, None);
        assert_eq!(out, b"\x93\xa1t\xce\0\0\0\x01\xde\0\x03\xa1a\xa1b\xa6source\xa6stdout\xa3log\xa2hi");
        let mut out = Vec::new();
        let form = Form::Fluentd { tag: "t".into(), fields, sub_second: true, acknowledged: true };
        encode(&mut out, &form, &Piece { text: &[b'x'; 300], ..piece }, None);
        assert!(out.starts_with(b"\x93\xa1t\xd7\0\0\0\0\x01\0\0\0\x02\xde\0\x03"));
        assert!(out.ends_with(&[&b"\xa3log\xda\x01\x2c"[..], &[b'x'; 300]].concat()));
        let mut out = Vec::new();
        encode(&mut out, &form, &piece, Some("n1"));
        assert!(out.starts_with(b"\x94\xa1t") && out.ends_with(b"\xa2hi\x81\xa5chunk\xa2n1"));
    }

    #[test]
    fn acknowledgements_are_read() {
        let long = [&b"\x81\xa3ack\xd9\x20"[..], &[b'n'; 32]].concat();
        assert_eq!(said(&long), Said::Has(&[b'n'; 32], 39));
        assert_eq!(said(b"\x81\xa3ack\xa2n1\x81"), Said::Has(b"n1", 8));
        for length in 0..long.len() {
            assert_eq!(said(&long[..length]), Said::Part, "{length}");
        }
        for other in [&b"HTTP"[..], b"\x82\xa3ack", b"\x81\xa3ack\xc0"] {
            assert_eq!(said(other), Said::Else);
        }
    }
}
