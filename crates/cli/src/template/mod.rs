//! Go's text/template, as far as `--format` needs it, over JSON values.

mod eval;
mod functions;
mod parse;
mod scan;
mod types;

use crate::json::Json;
use parse::{Node, Operand};

/// In front of a member's name: a template finds it, JSON does not show it.
pub(crate) const HIDDEN: char = '\0';

/// A template, parsed.
#[derive(Debug)]
pub(crate) struct Template {
    text: String,
    nodes: Vec<Node>,
    defined: parse::Definitions,
}

/// Why a template cannot be used, in Go's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template parsing error: template: :{line}: {reason}")]
    Parse { line: usize, reason: String },
    #[error("template: :{line}:{column}: executing \"\" at <{at}>: {reason}")]
    Execute { line: usize, column: usize, at: String, reason: String },
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let (nodes, defined) = parse::parse(scan::scan(text)?)?;
        Ok(Self { text: text.to_owned(), nodes, defined })
    }

    /// Fills the template in.
    pub(crate) fn render(&self, data: &Json) -> Result<String, TemplateError> {
        self.fill(data, false)
    }

    /// Fills the template in with the headers of its columns.
    pub(crate) fn render_header(&self, headers: &Json) -> Result<String, TemplateError> {
        self.fill(headers, true)
    }

    /// The members of the data that it shows, if that is all it does with them: there are no others to be made ready.
    pub(crate) fn members(&self) -> Option<Vec<&str>> {
        let mut members = Vec::new();
        for node in &self.nodes {
            match node {
                Node::Text(_) => {}
                Node::Print(pipeline) => {
                    match (pipeline.variables.as_slice(), pipeline.commands.as_slice()) {
                        ([], [command]) => match command.as_slice() {
                            [Operand::Field(path)] => members.push(path.first()?.as_str()),
                            _ => return None,
                        },
                        _ => return None,
                    }
                }
                Node::If(..)
                | Node::With(..)
                | Node::Range(..)
                | Node::Break
                | Node::Continue
                | Node::Template(..) => return None,
            }
        }
        Some(members)
    }

    fn fill(&self, data: &Json, header: bool) -> Result<String, TemplateError> {
        eval::render(&self.nodes, &self.defined, data, header).map_err(|failure| {
            let (line, column) = self.find(&failure.at, failure.offset);
            TemplateError::Execute { line, column, at: failure.at, reason: failure.reason }
        })
    }

    /// Line (from 1) and column (from 0) of what is `within` bytes from the beginning of `at`.
    fn find(&self, at: &str, within: usize) -> (usize, usize) {
        let offset = self.text.find(at).map_or(0, |offset| offset + within);
        let before = &self.text[..offset];
        (before.matches('\n').count() + 1, before.rsplit('\n').next().map_or(0, str::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, TemplateError> {
        let data = Json::parse(
            br#"{"Name":"/x","N":3,"On":true,"Off":false,"Empty":"","List":["a","b"],"None":null,
                 "Config":{"Labels":{"k":"v","a":"b"},"Image":"busybox"},
                 "Nets":{"bridge":{"IP":"1.2.3.4"},"z":{"IP":"5"}}}"#,
        )
        .unwrap();
        Template::parse(template)?.render(&data)
    }

    #[test]
    fn fields_pipes_and_functions() {
        for (template, text) in [
            ("plain", "plain"),
            ("{{.Name}} {{.N}} {{.On}}", "/x 3 true"),
            ("{{json .Config}}", r#"{"Labels":{"k":"v","a":"b"},"Image":"busybox"}"#),
            ("{{.Config.Image | upper | printf \"%s-%s\" \"n\" | len}}", "9"),
            ("{{upper .Config.Image}}{{title \"ab\"}}{{lower \"AB\"}}", "BUSYBOXAbab"),
            ("{{index .List 1}}{{index .Config.Labels \"k\"}}{{index .Config.Labels \"no\"}}", "bv"),
            ("{{(index .Nets \"bridge\").IP}}", "1.2.3.4"),
            ("{{join .List \",\"}} {{len .List}} {{.List}}", "a,b 2 [a b]"),
            ("{{.Config.Labels}}", "map[a:b k:v]"),
            ("{{split \"a:b\" \":\"}}", "[a b]"),
            ("{{printf \"%-5s|%5s|%05d|%q|%v\" \"a\" \"b\" 7 \"c\" .On}}", "a    |    b|00007|\"c\"|true"),
            ("{{pad \"x\" 1 2}}{{truncate \"abcdef\" 3}}", " x  abc"),
            ("{{`raw`}}{{\"a\\tb\"}}", "rawa\tb"),
            ("{{println .N}}", "3\n"),
            (
                "{{define \"x\"}}[{{.}}]{{end}}{{template \"x\" .N}}{{block \"y\" .Name}}<{{.}}>{{end}}",
                "[3]</x>",
            ),
            (
                "{{'a'}} {{0x10}} {{\"\\u00e9\"}} {{urlquery \"a b&c\"}} {{js \"it's\"}}",
                "97 16 \u{e9} a+b%26c it\\'s",
            ),
            ("{{join (split \"abc\" \"\") \"-\"}} {{printf \"%T %x %c\" .N \"hi\" 65}}", "a-b-c int 6869 A"),
            ("{{slice .Config.Image 0 4}}", "busy"),
        ] {
            assert_eq!(render(template).unwrap_or_else(|e| panic!("{template}: {e}")), text, "{template}");
        }
    }

    #[test]
    fn control() {
        for (template, text) in [
            ("{{if .On}}y{{else}}n{{end}}{{if .Off}}y{{else if .N}}m{{else}}n{{end}}", "ym"),
            ("{{if .Empty}}y{{end}}{{if .State}}x{{end}}", ""),
            ("{{range .List}}[{{.}}]{{end}}", "[a][b]"),
            ("{{range $i, $e := .List}}{{$i}}={{$e}}{{$.N}} {{end}}", "0=a3 1=b3 "),
            ("{{range $k, $v := .Nets}}{{$k}}:{{$v.IP}} {{end}}", "bridge:1.2.3.4 z:5 "),
            ("{{range .None}}x{{else}}none{{end}}", "none"),
            ("{{with .Config}}{{.Image}}{{end}}{{with .Empty}}x{{else}}e{{end}}", "busyboxe"),
            ("a {{- .N -}} b{{/* c */}}", "a3b"),
            ("{{$x := .N}}{{if eq $x 3}}three{{end}}", "three"),
            ("{{if and .On (not .Off) (ne .Name \"y\") (lt .N 4) (or .Off .On)}}ok{{end}}", "ok"),
            ("{{range .List}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "b"),
        ] {
            let template = template.replace(".State", ".Health");
            assert_eq!(render(&template).unwrap_or_else(|e| panic!("{template}: {e}")), text, "{template}");
        }
    }

    #[test]
    fn members_are_known_where_nothing_else_is_done() {
        let members = |text: &str| {
            let template = Template::parse(text).unwrap();
            template.members().map(|members| members.join(" "))
        };
        assert_eq!(members("{{.ID}}\t{{.Names.x}} x").as_deref(), Some("ID Names"));
        assert_eq!(members("plain").as_deref(), Some(""));
        for other in
            ["{{json .}}", "{{.}}", "{{.Label \"a\"}}", "{{if .ID}}x{{end}}", "{{$}}", "{{.ID | upper}}"]
        {
            assert_eq!(members(other), None, "{other}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for bad in [
            "{{",
            "{{.N",
            "{{if .N}}",
            "{{end}}",
            "{{nosuch .N}}",
            "{{.Nope}}",
            "{{.N.x}}",
            "{{index .List 9}}",
            "{{if}}x{{end}}",
            "{{template \"none\"}}",
            "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
            "{{.Config.Health.Status}}",
        ] {
            assert!(render(bad).is_err(), "{bad}");
        }
        assert!(render("{{.Nope}}").unwrap_err().to_string().contains("map has no entry for key \"Nope\""));
    }
}
