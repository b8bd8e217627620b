//! An engine on another machine, reached through the user's `ssh`.
//!
//! `ssh` runs the command line there with `system dial-stdio`, which joins its two pipes to the engine's socket.
//! Keys, agents, jump hosts and passwords are ssh's affair; what it has to say goes to the user's standard error.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::host::SshHost;

/// Run by the shell there: Corten's command line if the machine has it, or else Docker's.
const REMOTE: &str =
    r#"sh -c 'command -v corten >/dev/null 2>&1 && exec corten "$@"; exec docker "$@"' dial-stdio"#;

/// A running `ssh` as a stream. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Ssh {
    // Killed on drop.
    _child: Child,
    // Closed by leaving it: a pipe has no other way to say that nothing follows.
    input: Option<ChildStdin>,
    output: ChildStdout,
    command: String,
    heard: bool,
}

impl Ssh {
    pub(crate) fn connect(host: &SshHost) -> io::Result<Self> {
        let arguments = arguments(host);
        let mut child = Command::new("ssh")
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot run ssh: {error}")))?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("piped above");
        Ok(Self {
            _child: child,
            input,
            output,
            command: format!("ssh {}", arguments.join(" ")),
            heard: false,
        })
    }

    fn ended(&self) -> io::Error {
        io::Error::other(format!(
            "command [{}] has ended without an answer: is the URL right, and is corten or docker installed there?",
            self.command
        ))
    }
}

fn arguments(host: &SshHost) -> Vec<String> {
    let mut arguments = Vec::new();
    if let Some(user) = &host.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = host.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    // `--`: a host that begins with a dash is no option.
    arguments.extend(["-o", "ConnectTimeout=30", "-T", "--", &host.host].map(str::to_owned));
    let socket = host
        .socket
        .as_ref()
        .map_or_else(String::new, |path| format!(" --host 'unix://{}'", path.replace('\'', r"'\''")));
    arguments.push(format!("{REMOTE}{socket} system dial-stdio"));
    arguments
}

impl AsyncRead for Ssh {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.heard = true;
        } else if !self.heard {
            return Poll::Ready(Err(self.ended()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ssh {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => {
                let written = ready!(Pin::new(input).poll_write(cx, bytes));
                // Whether the end is met first by writing or by reading is chance: it has the same words.
                let unheard = !self.heard;
                Poll::Ready(written.map_err(|error| match error.kind() {
                    io::ErrorKind::BrokenPipe if unheard => self.ended(),
                    _ => error,
                }))
            }
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().map_or(Poll::Ready(Ok(())), |input| Pin::new(input).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_address_becomes_an_option_or_a_command() {
        let host = SshHost {
            user: Some("me".into()),
            host: "-oProxyCommand=x".into(),
            port: Some(2222),
            socket: Some("/run/it's".into()),
        };
        let arguments = arguments(&host);
        assert_eq!(
            arguments[..9],
            ["-l", "me", "-p", "2222", "-o", "ConnectTimeout=30", "-T", "--", "-oProxyCommand=x"]
        );
        assert!(
            arguments[9].ends_with(r" --host 'unix:///run/it'\''s' system dial-stdio"),
            "{}",
            arguments[9]
        );
    }
}
