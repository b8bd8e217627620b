//! A picture of the build, drawn over the last one: what is done, what runs, what it wrote last.

use std::collections::VecDeque;
use std::time::Instant;

use spec::api::BuildEvent;

use super::seconds;

/// Lines of output that are shown of a vertex that runs.
const TAIL: usize = 5;
/// Lines of output that are shown of one that failed.
const LAST: usize = 20;

/// What is known of the vertices, in the order in which they began.
#[derive(Debug)]
pub(super) struct Live {
    vertices: Vec<Vertex>,
    began: Instant,
    /// Lines of the last picture, to go up by.
    drawn: usize,
    warnings: Vec<String>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Vertex {
    digest: String,
    name: String,
    since: Option<Instant>,
    started: String,
    done: Option<Done>,
    output: VecDeque<String>,
    pending: String,
}

#[derive(Debug)]
struct Done {
    seconds: f64,
    cached: bool,
    error: bool,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { vertices: Vec::new(), began: Instant::now(), drawn: 0, warnings: Vec::new(), ended: false }
    }

    /// Takes note of one event.
    pub(super) fn take(&mut self, event: &BuildEvent) {
        if let Some(warning) = &event.warning {
            let line = format!(" - {}: {} (line {})\n", warning.rule_name, warning.detail, warning.line);
            self.warnings.push(line);
        }
        if event.vertex.is_empty() {
            return;
        }
        let at = match self.vertices.iter().position(|v| v.digest == event.vertex) {
            Some(at) => at,
            None => {
                self.vertices.push(Vertex { digest: event.vertex.clone(), ..Vertex::default() });
                self.vertices.len() - 1
            }
        };
        let vertex = &mut self.vertices[at];
        if !event.name.is_empty() {
            vertex.name.clone_from(&event.name);
        }
        if !event.started.is_empty() {
            vertex.since = Some(Instant::now());
            vertex.started.clone_from(&event.started);
        }
        vertex.pending.push_str(&event.log);
        while let Some(end) = vertex.pending.find('\n') {
            let line: String = vertex.pending.drain(..=end).collect();
            vertex.output.push_back(clean(&line));
            if vertex.output.len() > LAST {
                vertex.output.pop_front();
            }
        }
        if !event.completed.is_empty() {
            if !vertex.pending.is_empty() {
                let line = std::mem::take(&mut vertex.pending);
                vertex.output.push_back(clean(&line));
            }
            vertex.done = Some(Done {
                seconds: seconds(&vertex.started, &event.completed),
                cached: event.cached,
                error: !event.error.is_empty(),
            });
        }
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// The picture, with what brings the cursor to where the last one began.
    pub(super) fn draw(&mut self, size: Option<[u16; 2]>) -> String {
        let [height, width] = size.unwrap_or([24, 80]);
        let (height, width) = (usize::from(height), usize::from(width).max(20));
        let lines = self.picture(height.saturating_sub(1).max(3), width);
        let mut text = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        text
    }

    fn picture(&self, height: usize, width: usize) -> Vec<String> {
        let begun = || self.vertices.iter().filter(|v| v.since.is_some() || v.done.is_some());
        let done = self.vertices.iter().filter(|v| v.done.is_some()).count();
        let failed = self.vertices.iter().any(|v| v.done.as_ref().is_some_and(|done| done.error));
        let state = match (self.ended, failed) {
            (false, _) => "Building",
            (true, false) => "Built",
            (true, true) => "Failed",
        };
        let warnings = match self.warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".into(),
            more => format!(", {more} warnings"),
        };
        let head = format!(
            "[+] {state} {:.1}s ({done}/{}){warnings}",
            self.began.elapsed().as_secs_f64(),
            self.vertices.len()
        );
        let mut lines = Vec::new();
        for vertex in begun() {
            let (mark, time) = match (&vertex.done, vertex.since) {
                (Some(Done { error: true, seconds, .. }), _) => ("ERROR ", *seconds),
                (Some(Done { cached: true, seconds, .. }), _) => ("CACHED ", *seconds),
                (Some(Done { seconds, .. }), _) => ("", *seconds),
                (None, since) => ("", since.map_or(0.0, |since| since.elapsed().as_secs_f64())),
            };
            let time = format!("{time:.1}s");
            let room = width.saturating_sub(time.len() + 2);
            let name = cut(&format!(" => {mark}{}", vertex.name), room);
            lines.push(format!("{name:<room$} {time}"));
            if vertex.done.is_none() && !self.ended {
                let from = vertex.output.len().saturating_sub(TAIL);
                lines.extend(
                    vertex.output.iter().skip(from).map(|line| cut(&format!(" => => # {line}"), width - 1)),
                );
            }
        }
        // What is done first leaves a small screen first.
        let from = if self.ended { 0 } else { lines.len().saturating_sub(height - 1) };
        std::iter::once(cut(&head, width - 1)).chain(lines.drain(from..)).collect()
    }

    /// The linter's warnings, for the end.
    pub(super) fn warnings(&self) -> String {
        match self.warnings.len() {
            0 => String::new(),
            1 => format!("\n 1 warning found:\n{}", self.warnings.concat()),
            more => format!("\n {more} warnings found:\n{}", self.warnings.concat()),
        }
    }

    /// What the vertex that failed wrote last.
    pub(super) fn failure(&self) -> String {
        let failed = self.vertices.iter().find(|v| v.done.as_ref().is_some_and(|done| done.error));
        let Some(vertex) = failed else { return String::new() };
        let mut text = format!("------\n > {}:\n", vertex.name);
        for line in &vertex.output {
            text.push_str(line);
            text.push('\n');
        }
        text + "------\n"
    }
}

/// Without what moves the cursor: a carriage return begins the line anew.
fn clean(line: &str) -> String {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\x1b' => {
                if characters.next() == Some('[') {
                    for c in characters.by_ref() {
                        if c.is_ascii_alphabetic() {
                            break;
                        }
                    }
                }
            }
            '\t' => text.push_str("    "),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use spec::api::BuildWarning;

    use super::*;

    #[test]
    fn the_picture_is_redrawn_in_place() {
        let mut live = Live::new();
        let of = |vertex: &str| BuildEvent { vertex: vertex.into(), ..BuildEvent::default() };
        live.take(&BuildEvent { name: "[1/2] FROM a".into(), ..of("a") });
        live.take(&BuildEvent { name: "[2/2] RUN b".into(), ..of("b") });
        live.take(&BuildEvent { completed: "2026-01-01T00:00:00Z".into(), cached: true, ..of("a") });
        live.take(&BuildEvent { started: "2026-01-01T00:00:00Z".into(), ..of("b") });
        live.take(&BuildEvent { log: "\x1b[31mred\x1b[0m\rnew\nhalf".into(), ..of("b") });
        let first = live.draw(Some([10, 40]));
        let lines: Vec<&str> = first.lines().map(str::trim_end).collect();
        assert!(lines[0].starts_with("[+] Building") && lines[0].ends_with("(1/2)"), "{first}");
        assert!(lines[1].starts_with(" => CACHED [1/2] FROM a") && lines[1].ends_with("0.0s"), "{first}");
        assert!(lines[2].starts_with(" => [2/2] RUN b") && lines[3] == " => => # new", "{first}");
        assert!(live.draw(Some([10, 40])).starts_with("\x1b[4A\x1b[J"));
        assert_eq!(live.draw(Some([3, 40])).lines().count(), 3, "a small screen");
        live.take(&BuildEvent { completed: "2026-01-01T00:00:02Z".into(), error: "x".into(), ..of("b") });
        let warning =
            BuildWarning { rule_name: "Rule".into(), detail: "x".into(), line: 3, ..Default::default() };
        live.take(&BuildEvent { warning: Some(warning), ..BuildEvent::default() });
        assert_eq!(live.warnings(), "\n 1 warning found:\n - Rule: x (line 3)\n");
        live.end();
        assert!(live.draw(Some([10, 40])).contains("[+] Failed"));
        assert_eq!(live.failure(), "------\n > [2/2] RUN b:\nnew\nhalf\n------\n");
    }
}
