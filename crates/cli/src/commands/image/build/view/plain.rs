//! Plain lines, as BuildKit writes them: `#3 [2/4] RUN make`, `#3 0.8 output`, `#3 DONE 1.2s`.

use std::collections::HashMap;

use spec::api::BuildEvent;

use super::seconds;

/// What is known of the vertices.
#[derive(Debug, Default)]
pub(super) struct Plain {
    vertices: HashMap<String, Vertex>,
    numbers: usize,
}

#[derive(Debug, Default)]
struct Vertex {
    name: String,
    /// 0: nothing was said of it yet.
    number: usize,
    started: String,
    /// What has no end of line yet.
    pending: String,
}

impl Plain {
    /// The lines for one event.
    pub(super) fn take(&mut self, event: &BuildEvent) -> String {
        if let Some(warning) = &event.warning {
            return format!("WARNING: {}: {} (line {})\n", warning.rule_name, warning.detail, warning.line);
        }
        if event.vertex.is_empty() {
            return String::new();
        }
        let numbers = &mut self.numbers;
        let vertex = self.vertices.entry(event.vertex.clone()).or_default();
        if !event.name.is_empty() {
            vertex.name.clone_from(&event.name);
            return String::new();
        }
        let mut text = String::new();
        if vertex.number == 0 {
            *numbers += 1;
            vertex.number = *numbers;
            text = format!("#{} {}\n", vertex.number, vertex.name);
        }
        let number = vertex.number;
        if !event.started.is_empty() {
            vertex.started.clone_from(&event.started);
        }
        if !event.log.is_empty() {
            vertex.pending.push_str(&event.log);
            while let Some(end) = vertex.pending.find('\n') {
                let line: String = vertex.pending.drain(..=end).collect();
                text.push_str(&format!("#{number} {line}"));
            }
        }
        if !event.completed.is_empty() {
            if !vertex.pending.is_empty() {
                let line = std::mem::take(&mut vertex.pending);
                text.push_str(&format!("#{number} {line}\n"));
            }
            let took = seconds(&vertex.started, &event.completed);
            text.push_str(&match (event.error.as_str(), event.cached) {
                ("", true) => format!("#{number} CACHED\n\n"),
                ("", false) => format!("#{number} DONE {took:.1}s\n\n"),
                (error, _) => format!("#{number} ERROR: {error}\n\n"),
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vertices_are_numbered_as_they_begin() {
        let mut plain = Plain::default();
        let event = |change: fn(&mut BuildEvent)| {
            let mut event = BuildEvent { vertex: "v".into(), ..BuildEvent::default() };
            change(&mut event);
            event
        };
        assert_eq!(plain.take(&event(|e| e.name = "[1/2] RUN x".into())), "");
        assert_eq!(plain.take(&event(|e| e.started = "2026-01-01T00:00:00Z".into())), "#1 [1/2] RUN x\n");
        assert_eq!(plain.take(&event(|e| e.log = "a\nb".into())), "#1 a\n");
        let end = plain.take(&event(|e| e.completed = "2026-01-01T00:00:01.5Z".into()));
        assert_eq!(end, "#1 b\n#1 DONE 1.5s\n\n");
    }
}
