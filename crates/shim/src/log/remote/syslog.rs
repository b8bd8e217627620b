//! Syslog messages, as the library that Docker uses writes them.
//!
//! | format | message |
//! |---|---|
//! | `Local` | `<30>Jan  2 15:04:05 tag[pid]: text` |
//! | `Rfc3164` | `<30>Jan  2 15:04:05 host tag[pid]: text` |
//! | `Rfc5424` | `<30>1 2006-01-02T15:04:05Z host tag pid tag - text` |
//! | `Rfc5424Micro` | the same with microseconds |

use std::io::Write;

use spec::api::Stream;

use crate::log::split::Piece;
use crate::log::time;
use crate::proto::{Form, SyslogFormat};

/// syslog.h.
const ERR: u8 = 3;
const INFO: u8 = 6;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Appends one message; an empty line is none.
pub(super) fn encode(out: &mut Vec<u8>, form: &Form, piece: &Piece<'_>) {
    let Form::Syslog { facility, tag, hostname, pid, format, utc_offset } = form else { return };
    if piece.text.is_empty() {
        return;
    }
    let priority = (facility << 3) | if piece.stream == Stream::Stderr { ERR } else { INFO };
    let local = piece.time.saturating_add_signed(i64::from(*utc_offset) * 1_000_000_000);
    let written = match format {
        SyslogFormat::Local => write!(out, "<{priority}>{} {tag}[{pid}]: ", stamp(local)),
        SyslogFormat::Rfc3164 => write!(out, "<{priority}>{} {hostname} {tag}[{pid}]: ", stamp(local)),
        SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
            let digits = if *format == SyslogFormat::Rfc5424 { 19 } else { 26 };
            let text = time::format_fixed(local);
            let zone = zone(*utc_offset);
            write!(out, "<{priority}>1 {}{zone} {hostname} {tag} {pid} {tag} - ", &text[..digits])
        }
    };
    written.expect("a Vec takes any bytes");
    out.extend_from_slice(piece.text);
    out.push(b'\n');
}

/// `Jan  2 15:04:05`.
fn stamp(time: u64) -> String {
    let text = time::format_fixed(time);
    let number = |from: usize| text[from..from + 2].parse::<usize>().expect("a time has digits there");
    format!("{} {:>2} {}", MONTHS[number(5) - 1], number(8), &text[11..19])
}

fn zone(offset: i32) -> String {
    if offset == 0 {
        return "Z".into();
    }
    let minutes = offset.unsigned_abs() / 60;
    format!("{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_librarys() {
        let message = |format, stream, utc_offset, text: &[u8]| {
            let (tag, hostname) = ("tag".into(), "host".into());
            let form = Form::Syslog { facility: 3, tag, hostname, pid: 7, format, utc_offset };
            let piece = Piece {
                stream,
                time: 1_136_214_245_123_456_789,
                text,
                ends_line: true,
                partial: None,
                plain: false,
            };
            let mut out = Vec::new();
            encode(&mut out, &form, &piece);
            String::from_utf8(out).unwrap()
        };
        use SyslogFormat::*;
        for (format, stream, offset, expected) in [
            (Local, Stream::Stdout, 0, "<30>Jan  2 15:04:05 tag[7]: hi\n"),
            (Rfc3164, Stream::Stderr, 3600, "<27>Jan  2 16:04:05 host tag[7]: hi\n"),
            (Rfc5424, Stream::Stdout, 0, "<30>1 2006-01-02T15:04:05Z host tag 7 tag - hi\n"),
            (
                Rfc5424Micro,
                Stream::Stdout,
                -5400,
                "<30>1 2006-01-02T13:34:05.123456-01:30 host tag 7 tag - hi\n",
            ),
        ] {
            assert_eq!(message(format, stream, offset, b"hi"), expected);
        }
        assert_eq!(message(Local, Stream::Stdout, 0, b""), "");
    }
}
