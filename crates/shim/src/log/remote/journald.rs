//! systemd's native journal protocol: one datagram per entry, a field per line; a value with a newline follows its
//! length (systemd.io/JOURNAL_NATIVE_PROTOCOL). The fields are those of Docker's journald driver.

use std::collections::BTreeMap;

use spec::api::Stream;

use crate::log::split::Piece;
use crate::log::time;

/// syslog.h.
const ERR: &str = "3";
const INFO: &str = "6";

/// Appends one message.
pub(super) fn encode(out: &mut Vec<u8>, fields: &BTreeMap<String, String>, piece: &Piece<'_>) {
    field(out, "MESSAGE", piece.text);
    field(out, "PRIORITY", if piece.stream == Stream::Stderr { ERR } else { INFO }.as_bytes());
    field(out, "SYSLOG_TIMESTAMP", time::format(piece.time).as_bytes());
    for (key, value) in fields {
        field(out, key, value.as_bytes());
    }
    if let Some(partial) = piece.partial {
        if !piece.ends_line {
            field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        field(out, "CONTAINER_PARTIAL_ID", partial.line.as_bytes());
        field(out, "CONTAINER_PARTIAL_ORDINAL", partial.ordinal.to_string().as_bytes());
        field(out, "CONTAINER_PARTIAL_LAST", if piece.ends_line { b"true" } else { b"false" });
    }
}

fn field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::split::Partial;

    #[test]
    fn messages_have_dockers_fields() {
        let fields = BTreeMap::from([("CONTAINER_ID".into(), "abc".into()), ("ENV".into(), "a\nb".into())]);
        let whole = Piece {
            stream: Stream::Stdout,
            time: 0,
            text: b"hi",
            ends_line: true,
            partial: None,
            plain: false,
        };
        let mut out = Vec::new();
        encode(&mut out, &fields, &whole);
        assert_eq!(
            out,
            b"MESSAGE=hi\nPRIORITY=6\nSYSLOG_TIMESTAMP=1970-01-01T00:00:00Z\nCONTAINER_ID=abc\nENV\n\x03\0\0\0\0\0\0\0a\nb\n"
        );
        let partial = Some(Partial { line: "id", ordinal: 1 });
        let mut out = Vec::new();
        encode(
            &mut out,
            &BTreeMap::new(),
            &Piece { stream: Stream::Stderr, ends_line: false, partial, ..whole },
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("PRIORITY=3\n"));
        assert!(text.ends_with(
            "CONTAINER_PARTIAL_MESSAGE=true\nCONTAINER_PARTIAL_ID=id\nCONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\n"
        ));
    }
}
