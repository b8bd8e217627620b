//! A program run to its end.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

/// A program and its arguments, to be run to its end.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    words: String,
    stdin: Vec<u8>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The command as typed, for messages.
    pub words: String,
    /// Exit code; 128 + signal when it was killed.
    pub code: i32,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Command {
    /// A command.
    pub fn new(words: &[&str]) -> Self {
        let mut inner = std::process::Command::new(words[0]);
        inner.args(&words[1..]);
        Self { inner, words: words.join(" "), stdin: Vec::new() }
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn directory(mut self, directory: &std::path::Path) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// Starts it with pipes, for a test that talks to it.
    pub fn spawn(mut self) -> Child {
        self.inner.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.inner.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.words))
    }

    /// Runs it to its end, whatever that is.
    pub fn output(self) -> Output {
        let (words, stdin) = (self.words.clone(), self.stdin.clone());
        let mut child = self.spawn();
        let mut input = child.stdin.take().expect("piped");
        let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (stdout, stderr) = std::thread::scope(|scope| {
            // A program that does not read its input is no fault of the test's.
            scope.spawn(move || drop(input.write_all(&stdin)));
            let err = scope.spawn(move || {
                let mut bytes = Vec::new();
                err.read_to_end(&mut bytes).expect("reading stderr");
                bytes
            });
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).expect("reading stdout");
            (bytes, err.join().expect("reading stderr"))
        });
        let status = child.wait().expect("waiting for the program");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let code = status.code().or_else(|| signal.map(|s| 128 + s)).unwrap_or(-1);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { words, code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs it; it must end with 0. Gives its standard output without the last newline.
    #[track_caller]
    pub fn ok(self) -> String {
        let output = self.output();
        output.expect(0);
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs it; it must fail with this code. Gives its standard error.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        let output = self.output();
        output.expect(code);
        output.stderr
    }
}

impl Output {
    /// It must have ended with `code`.
    #[track_caller]
    pub fn expect(&self, code: i32) {
        assert_eq!(
            self.code, code,
            "`{}` ended with {}\nstdout: {}\nstderr: {}",
            self.words, self.code, self.stdout, self.stderr
        );
    }
}
