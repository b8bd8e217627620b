//! A real terminal: `-it`, resize, ctrl-C, detach keys, attach. tmux is the terminal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Command, Host, program, until};

/// A tmux server of the test's own with one window, in which a shell on the host runs.
struct Terminal<'a> {
    host: &'a Host,
    socket: String,
}

impl<'a> Terminal<'a> {
    fn open(host: &'a Host) -> Self {
        let socket = host.path("tmux.sock").display().to_string();
        let terminal = Self { host, socket };
        let corten = format!("{} -H {}", program("corten").display(), host.socket());
        let shell = format!("alias c='{corten}'; PS1='host$ '");
        let namespace = format!("--net=/run/netns/{}", host.name);
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "nsenter",
            &namespace,
            "--",
            "sh",
        ]);
        terminal.type_line(&shell);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        Command::new(&[&["tmux", "-S", &self.socket], arguments].concat()).ok()
    }

    fn type_line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn wait_for(&self, text: &str) {
        let mut screen = String::new();
        let start = std::time::Instant::now();
        until(&format!("{text:?} on the screen"), || {
            screen = self.tmux(&["capture-pane", "-p"]);
            if start.elapsed().as_secs() > 20 {
                panic!("{text:?} is not on the screen:\n{screen}");
            }
            screen.contains(text).then_some(())
        });
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = Command::new(&["tmux", "-S", &self.socket, "kill-server"]).output();
        let _ = self.host;
    }
}

#[test]
fn a_shell_in_a_container() {
    let host = Host::new();
    let terminal = Terminal::open(&host);
    terminal.type_line("c run -it --name t1 -e PS1='inside# ' busybox sh; echo left $?");
    terminal.wait_for("inside#");
    terminal.type_line("tty; stty size");
    terminal.wait_for("/dev/pts/0");
    terminal.wait_for("30 100");

    // Resize: the container's terminal follows.
    terminal.tmux(&["resize-window", "-x", "90", "-y", "25"]);
    until("the new size", || {
        terminal.type_line("stty size");
        terminal.tmux(&["capture-pane", "-p"]).contains("25 90").then_some(())
    });

    // ctrl-C goes to the foreground process in the container, not to corten.
    terminal.type_line("sleep 1000");
    until("the sleep", || host.corten(&["top", "t1"]).ok().contains("sleep 1000").then_some(()));
    terminal.press("C-c");
    terminal.type_line("echo code $?");
    terminal.wait_for("code 130");

    // ctrl-P ctrl-Q detaches; the container goes on; attach comes back to it.
    terminal.press("C-p");
    terminal.press("C-q");
    terminal.wait_for("left 0");
    assert_eq!(host.corten(&["inspect", "-f", "{{.State.Running}}", "t1"]).ok(), "true");
    terminal.type_line("clear; c attach t1; echo host code $?");
    terminal.type_line("echo back again");
    terminal.wait_for("back again");
    terminal.type_line("exit 4");
    until("the end", || {
        (host.corten(&["inspect", "-f", "{{.State.ExitCode}}", "t1"]).ok() == "4").then_some(())
    });
    terminal.wait_for("host code 4");
    drop(terminal);
    host.finish();
}

#[test]
fn exec_with_a_terminal() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let terminal = Terminal::open(&host);
    // One line: what is typed before the exec has ended would go to its terminal.
    terminal.type_line("c exec -it c1 sh -c 'tty; stty size; read x; exit 9'; echo host code $?");
    terminal.wait_for("30 100");
    terminal.type_line("");
    terminal.wait_for("host code 9");
    drop(terminal);
    host.finish();
}

#[test]
fn a_terminal_is_needed_for_t() {
    let host = Host::new();
    let refused = host.corten(&["run", "-it", "--rm", "busybox", "sh"]).output();
    assert!(refused.stderr.contains("the input device is not a TTY"), "{refused:?}");
    assert_ne!(refused.code, 0);
    host.finish();
}
