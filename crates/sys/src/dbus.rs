//! A blocking client of D-Bus, as far as talking to systemd and firewalld needs it: calls, their answers, and signals.
//!
//! Little-endian messages of the D-Bus specification; what a body holds, the caller says by its signature.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::{Error, Result, scm};

/// How long an answer or a signal may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Larger messages are nobody's that is talked to here.
const LONGEST: usize = 16 << 20;

const CALL: u8 = 1;
const ANSWER: u8 = 2;
const REFUSAL: u8 = 3;
const SIGNAL: u8 = 4;

/// A connection to a service, or to a bus with services.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Signal>,
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The service's name on a bus.
    pub destination: &'a str,
    /// The object's path.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
}

/// An answer: that of the method, or why there is none.
#[derive(Debug)]
pub enum Answer {
    /// The answer's body.
    Done(Body),
    /// The error's name, and its text.
    Refused(String, String),
}

/// Something that was told without being asked for.
#[derive(Debug)]
pub struct Signal {
    /// Its name.
    pub member: String,
    /// What it tells.
    pub body: Body,
}

impl Connection {
    /// Connects to a socket and says who we are (the kernel confirms it).
    ///
    /// # Errors
    /// connect(2)'s; EACCES when we are not let in.
    pub fn open(path: &Path) -> Result<Self> {
        let socket = scm::connect(path)?;
        let failed = |e: io::Error| Error::new("greet", path.display().to_string(), e);
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut connection = Self { socket, serial: 0, signals: Vec::new() };
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        let greeted = (|| {
            // BEGIN goes with it, as systemd's own clients do it: systemd does not look at a call that it has read
            // together with this word, not until something else comes.
            connection.socket.write_all(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") && line.len() < 256 {
                let mut byte = [0];
                connection.socket.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            if line.starts_with(b"OK ") { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
        })();
        greeted.map_err(failed)?;
        Ok(connection)
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// The connection's; ETIMEDOUT (as EAGAIN) when there is no answer in time.
    pub fn call(&mut self, target: Target<'_>, member: &str, body: &Body) -> Result<Answer> {
        let failed = |e: io::Error| Error::new("call", format!("{}.{member}", target.interface), e);
        self.serial += 1;
        let message = encode(self.serial, target, member, body);
        self.socket.write_all(&message).map_err(failed)?;
        loop {
            let message = self.receive().map_err(failed)?;
            match message.kind {
                ANSWER if message.reply_to == self.serial => return Ok(Answer::Done(message.body)),
                REFUSAL if message.reply_to == self.serial => {
                    let text = message.body.reader().string().unwrap_or_default();
                    return Ok(Answer::Refused(message.error, text));
                }
                SIGNAL => self.signals.push(Signal { member: message.member, body: message.body }),
                _ => {}
            }
        }
    }

    /// The next signal, of those that have come already first.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn signal(&mut self) -> Result<Signal> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive().map_err(|e| Error::new("wait for", "a signal", e))?;
            if message.kind == SIGNAL {
                return Ok(Signal { member: message.member, body: message.body });
            }
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; 16];
        self.socket.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (body, fields) = (number(4) as usize, number(12) as usize);
        if head[0] != b'l' || fields > LONGEST || body > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a message that can be read"));
        }
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        self.socket.read_exact(&mut rest)?;
        let body = Body { signature: String::new(), bytes: rest.split_off(fields.next_multiple_of(8)) };
        let mut message =
            Message { kind: head[1], reply_to: 0, member: String::new(), error: String::new(), body };
        rest.truncate(fields);
        let mut reader = Reader { bytes: &rest, at: 0 };
        while reader.at < rest.len() {
            reader.align(8);
            // A field that cannot be read ends what is known of the message.
            let (Some(code), Some(signature)) = (reader.byte(), reader.signature()) else { break };
            match (code, signature.as_str()) {
                (5, "u") => message.reply_to = reader.number().unwrap_or_default(),
                (3, "s") => message.member = reader.string().unwrap_or_default(),
                (4, "s") => message.error = reader.string().unwrap_or_default(),
                (_, "u") => drop(reader.number()),
                (_, "s" | "o") => drop(reader.string()),
                (_, "g") => drop(reader.signature()),
                _ => break,
            }
        }
        Ok(message)
    }
}

struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Body,
}

fn encode(serial: u32, target: Target<'_>, member: &str, body: &Body) -> Vec<u8> {
    let mut fields = Body::default();
    let texts =
        [(1, "o", target.path), (2, "s", target.interface), (3, "s", member), (6, "s", target.destination)];
    for (code, signature, text) in texts.into_iter().filter(|(_, _, text)| !text.is_empty()) {
        fields.align(8);
        fields.bytes.push(code);
        fields.put_signature(signature);
        fields.put_string(text);
    }
    if !body.signature.is_empty() {
        fields.align(8);
        fields.bytes.push(8);
        fields.put_signature("g");
        fields.put_signature(&body.signature);
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut message = vec![b'l', CALL, 0, 1];
    message.extend(length(&body.bytes));
    message.extend(serial.to_le_bytes());
    message.extend(length(&fields.bytes));
    message.extend(&fields.bytes);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(&body.bytes);
    message
}

/// A value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
}

/// A message's body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    /// One more argument, `s`.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        self.put_string(text);
        self
    }

    /// One more argument, `b`.
    #[must_use]
    pub fn bool(mut self, value: bool) -> Self {
        self.signature.push('b');
        self.put_number(value.into());
        self
    }

    /// One more argument, `a(sv)`.
    #[must_use]
    pub fn properties(mut self, properties: &[(&str, Value)]) -> Self {
        self.signature.push_str("a(sv)");
        self.put_array(8, |body| {
            for (name, value) in properties {
                body.align(8);
                body.put_string(name);
                body.put_variant(value);
            }
        });
        self
    }

    /// One more argument: an array of a type whose alignment is 8, with nothing in it.
    #[must_use]
    pub fn none(mut self, signature: &str) -> Self {
        self.signature.push_str(signature);
        self.put_array(8, |_| {});
        self
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn put_number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }

    fn put_string(&mut self, text: &str) {
        self.put_number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn put_signature(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend(signature.bytes());
        self.bytes.push(0);
    }

    /// The padding before the first element does not count.
    fn put_array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.put_number(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn put_variant(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => {
                self.put_signature("b");
                self.put_number((*value).into());
            }
            Value::Number(number) => {
                self.put_signature("t");
                self.align(8);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Text(text) => {
                self.put_signature("s");
                self.put_string(text);
            }
            Value::Texts(texts) => {
                self.put_signature("as");
                self.put_array(4, |body| texts.iter().for_each(|text| body.put_string(text)));
            }
            Value::Numbers(numbers) => {
                self.put_signature("au");
                self.put_array(4, |body| numbers.iter().for_each(|number| body.put_number(*number)));
            }
            Value::Bytes(bytes) => {
                self.put_signature("ay");
                self.put_array(1, |body| body.bytes.extend(bytes));
            }
        }
    }
}

/// Reads a body; `None` at what is not there.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied()
    }

    /// `u`.
    pub fn number(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 4;
        Some(u32::from_le_bytes(*bytes))
    }

    /// `s` or `o`.
    pub fn string(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.take(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()?.into();
        self.take(length)
    }

    /// Text and the zero after it.
    fn take(&mut self, length: usize) -> Option<String> {
        let text = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length + 1;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_message_of_the_specification() {
        let target = Target { destination: "d", path: "/o", interface: "a.b" };
        let body =
            Body::default().text("xy").bool(true).properties(&[("N", Value::Number(5))]).none("a(sa(sv))");
        assert_eq!(body.signature, "sba(sv)a(sa(sv))");
        #[rustfmt::skip]
        assert_eq!(body.bytes, [
            2, 0, 0, 0, b'x', b'y', 0, 0, // s
            1, 0, 0, 0, // b
            24, 0, 0, 0, // a: its length
            1, 0, 0, 0, b'N', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, // (sv): name, signature, padding
            5, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, // a: nothing, and the padding before its first element
        ]);
        let message = encode(7, target, "M", &body);
        assert_eq!(message.len() % 8, 0);
        assert_eq!(message[..4], [b'l', CALL, 0, 1]);
        assert_eq!(message[8..12], [7, 0, 0, 0]);
        assert!(message.ends_with(&body.bytes));
    }

    #[test]
    fn a_service_is_called_and_heard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus");
        let listener = scm::listen(&path).unwrap();
        let service = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // All of the greeting is here before it is answered: the call comes by itself.
            let greeting = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
            let mut line = [0; 26];
            socket.read_exact(&mut line).unwrap();
            assert_eq!(&line, greeting);
            socket.write_all(b"OK 1\r\n").unwrap();
            let mut rest = [0; 4096];
            let mut had = 0;
            while !rest[..had].windows(2).any(|w| w == b"M\0") {
                had += socket.read(&mut rest[had..]).unwrap();
            }
            let nothing = Target { destination: "", path: "", interface: "" };
            let mut signal = encode(1, nothing, "Told", &Body::default().text("first"));
            signal[1] = SIGNAL;
            // An answer to call 1: its only field is that number.
            let answer = [b'l', ANSWER, 0, 1, 6, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 5, 1, b'u', 0, 1, 0, 0, 0];
            socket.write_all(&signal).unwrap();
            socket.write_all(&answer).unwrap();
            socket.write_all(&[1, 0, 0, 0, b'y', 0]).unwrap();
        });
        let mut connection = Connection::open(&path).unwrap();
        let target = Target { destination: "d", path: "/o", interface: "a.b" };
        let Answer::Done(body) = connection.call(target, "M", &Body::default()).unwrap() else {
            panic!("refused")
        };
        assert_eq!(body.reader().string().as_deref(), Some("y"));
        let signal = connection.signal().unwrap();
        assert_eq!(
            (signal.member.as_str(), signal.body.reader().string().as_deref()),
            ("Told", Some("first"))
        );
        service.join().unwrap();
    }
}
