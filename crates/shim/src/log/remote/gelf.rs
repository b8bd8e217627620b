//! Graylog's extended log format (GELF 1.1): one JSON object per entry, uncompressed. Over TCP a zero byte ends each;
//! over UDP each is one datagram.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use spec::api::Stream;

use crate::log::split::Piece;

/// syslog.h.
const ERR: u8 = 3;
const INFO: u8 = 6;

/// Appends one message; an empty line is none.
pub(super) fn encode(
    out: &mut Vec<u8>,
    host: &str,
    fields: &BTreeMap<String, String>,
    piece: &Piece<'_>,
    stream: bool,
) {
    if piece.text.is_empty() {
        return;
    }
    let mut message = Map::new();
    message.insert("version".into(), "1.1".into());
    message.insert("host".into(), host.into());
    message.insert("short_message".into(), String::from_utf8_lossy(piece.text).into());
    message.insert("timestamp".into(), (piece.time as f64 / 1e9).into());
    message.insert("level".into(), if piece.stream == Stream::Stderr { ERR } else { INFO }.into());
    message.extend(fields.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
    serde_json::to_writer(&mut *out, &message).expect("a map of texts and numbers has a JSON form");
    if stream {
        out.push(0);
    }
}
