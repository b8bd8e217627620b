//! The functions of a template: Go's own, and Docker's `json split join title lower upper pad truncate`.

use std::cmp::Ordering;

use super::{HIDDEN, types};
use crate::json::Json;

const NAMES: [&str; 26] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf",
    "println", "html", "json", "split", "join", "title", "lower", "upper", "pad", "truncate", "js",
    "urlquery",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: Vec<Json>) -> Result<Json, String> {
    let count = arguments.len();
    let wrong = |wanted: usize| format!("wrong number of args for {name}: want {wanted} got {count}");
    let first = || arguments.first().ok_or_else(|| wrong(1));
    let second = || arguments.get(1).ok_or_else(|| wrong(2));
    let text = |value: &Json| print(value);
    Ok(match name {
        // Their arguments were looked at one by one; the last decides.
        "and" | "or" => arguments.last().cloned().ok_or_else(|| wrong(1))?,
        "not" => Json::Bool(!truth(first()?)),
        "eq" => {
            let (a, others) = (first()?, &arguments[1..]);
            second()?;
            Json::Bool(others.iter().any(|b| equal(a, b)))
        }
        "ne" => Json::Bool(!equal(first()?, second()?)),
        "lt" => Json::Bool(compare(first()?, second()?)? == Ordering::Less),
        "le" => Json::Bool(compare(first()?, second()?)? != Ordering::Greater),
        "gt" => Json::Bool(compare(first()?, second()?)? == Ordering::Greater),
        "ge" => Json::Bool(compare(first()?, second()?)? != Ordering::Less),
        "len" => Json::Int(length(first()?)?),
        "index" => index(first()?, &arguments[1..])?,
        "slice" => slice(first()?, &arguments[1..])?,
        "print" => Json::Text(spaced(&arguments, false)),
        "println" => Json::Text(spaced(&arguments, true) + "\n"),
        "printf" => Json::Text(format(&text(first()?), &arguments[1..])),
        "html" => Json::Text(
            text(first()?)
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;")
                .replace('\'', "&#39;"),
        ),
        "js" => Json::Text(
            text(first()?)
                .replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('"', "\\\"")
                .replace('<', "\\u003C")
                .replace('>', "\\u003E")
                .replace('&', "\\u0026")
                .replace('=', "\\u003D")
                .replace('\n', "\\u000A"),
        ),
        "urlquery" => Json::Text(query(&text(first()?))),
        "json" => Json::Text(visible(first()?).compact()),
        "split" => {
            let separator = text(second()?);
            let whole = text(first()?);
            Json::List(match separator.as_str() {
                // Go has nothing before the first character and after the last.
                "" => whole.chars().map(|c| Json::from(c.to_string())).collect(),
                separator => whole.split(separator).map(Json::from).collect(),
            })
        }
        "join" => {
            let separator = text(second()?);
            let items = match first()? {
                Json::List(items) => items.iter().map(print).collect::<Vec<_>>(),
                Json::Null => Vec::new(),
                other => return Err(format!("expected a list; got {}", print(other))),
            };
            Json::Text(items.join(&separator))
        }
        "title" => {
            let text = text(first()?);
            let mut chars = text.chars();
            Json::Text(chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect()))
        }
        "lower" => Json::Text(text(first()?).to_lowercase()),
        "upper" => Json::Text(text(first()?).to_uppercase()),
        "pad" => {
            let third = arguments.get(2).ok_or_else(|| wrong(3))?;
            match text(first()?) {
                text if text.is_empty() => Json::Text(text),
                text => Json::Text(" ".repeat(number(second()?)?) + &text + &" ".repeat(number(third)?)),
            }
        }
        "truncate" => Json::Text(text(first()?).chars().take(number(second()?)?).collect()),
        _ => return Err("not a function".into()),
    })
}

/// As Go's `url.QueryEscape`.
fn query(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What a function makes of a column's header: most leave it alone, so that the header still says what is below.
pub(super) fn call_on_header(name: &str, arguments: Vec<Json>) -> Result<Json, String> {
    match (name, arguments.first()) {
        ("json" | "split" | "join" | "title" | "lower" | "upper" | "truncate", Some(first)) => {
            Ok(first.clone())
        }
        _ => call(name, arguments),
    }
}

/// Without the members that are not shown. A list's rows are shown by name, as Go shows a map.
fn visible(value: &Json) -> Json {
    match value {
        Json::Object(members) if members.iter().any(|(key, _)| key.starts_with(HIDDEN)) => {
            Json::Object(members.iter().filter(|(key, _)| !key.starts_with(HIDDEN)).cloned().collect())
        }
        other => other.clone(),
    }
}

/// Whether `if` takes it: not empty, not zero, not false.
pub(super) fn truth(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Int(number) => *number != 0,
        Json::Float(number) => *number != 0.0,
        Json::Text(text) => !text.is_empty(),
        Json::List(items) => !items.is_empty(),
        Json::Object(members) => !members.is_empty(),
    }
}

/// As Go's `fmt.Print` writes it.
pub(super) fn print(value: &Json) -> String {
    match value {
        Json::Null => "<no value>".into(),
        Json::Bool(value) => value.to_string(),
        Json::Int(number) => number.to_string(),
        Json::Float(number) => number.to_string(),
        Json::Text(text) => text.clone(),
        Json::List(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(" ")),
        Json::Object(members) => {
            if let Some(text) = types::print_struct(members) {
                return text;
            }
            let mut members: Vec<_> = members.iter().filter(|(key, _)| !key.starts_with(HIDDEN)).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let member = |(key, value): &(String, Json)| match value {
                Json::Object(inside) if inside.is_empty() && types::is_set_key(key) => format!("{key}:{{}}"),
                Json::Null if types::is_set_key(key) => format!("{key}:[]"),
                value => format!("{key}:{}", inner(value)),
            };
            format!("map[{}]", members.into_iter().map(member).collect::<Vec<_>>().join(" "))
        }
    }
}

fn inner(value: &Json) -> String {
    if *value == Json::Null { "<nil>".into() } else { print(value) }
}

/// `print` puts a blank between operands when neither is a string; `println` always.
fn spaced(values: &[Json], always: bool) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        let texts = matches!(value, Json::Text(_)) || i > 0 && matches!(values[i - 1], Json::Text(_));
        if i > 0 && (always || !texts) {
            out.push(' ');
        }
        out.push_str(&print(value));
    }
    out
}

fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Int(a), Json::Float(b)) | (Json::Float(b), Json::Int(a)) => float(*a) == *b,
        _ => a == b,
    }
}

#[allow(clippy::cast_precision_loss, reason = "compared with a float, which has no more digits")]
fn float(number: i64) -> f64 {
    number as f64
}

fn compare(a: &Json, b: &Json) -> Result<Ordering, String> {
    let order = match (a, b) {
        (Json::Int(a), Json::Int(b)) => Some(a.cmp(b)),
        (Json::Float(a), Json::Float(b)) => a.partial_cmp(b),
        (Json::Int(a), Json::Float(b)) => float(*a).partial_cmp(b),
        (Json::Float(a), Json::Int(b)) => a.partial_cmp(&float(*b)),
        (Json::Text(a), Json::Text(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.ok_or_else(|| "incompatible types for comparison".into())
}

fn length(value: &Json) -> Result<i64, String> {
    let length = match value {
        Json::Text(text) => text.len(),
        Json::List(items) => items.len(),
        Json::Object(members) => members.len(),
        Json::Null => 0,
        Json::Bool(_) | Json::Int(_) | Json::Float(_) => {
            return Err(format!("len of type that has no length: {}", print(value)));
        }
    };
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

fn number(value: &Json) -> Result<usize, String> {
    match value {
        Json::Int(number) => usize::try_from(*number).map_err(|_| format!("index out of range: {number}")),
        _ => Err(format!("cannot index slice/array with {}", print(value))),
    }
}

fn index(value: &Json, keys: &[Json]) -> Result<Json, String> {
    let mut at = value.clone();
    for key in keys {
        at = match at {
            Json::List(items) => {
                let i = number(key)?;
                items
                    .get(i)
                    .cloned()
                    .ok_or_else(|| format!("error calling index: index out of range: {i}"))?
            }
            // A missing key gives the element type's zero value, and most of Docker's maps hold strings.
            Json::Object(_) => at.get(&print(key)).cloned().unwrap_or_else(|| "".into()),
            Json::Text(text) => {
                let i = number(key)?;
                let byte = text.as_bytes().get(i).ok_or_else(|| format!("index out of range: {i}"))?;
                Json::Int(i64::from(*byte))
            }
            Json::Null => return Err("error calling index: index of untyped nil".into()),
            Json::Bool(_) | Json::Int(_) | Json::Float(_) => {
                return Err(format!("error calling index: can't index item of {}", print(&at)));
            }
        };
    }
    Ok(at)
}

fn slice(value: &Json, bounds: &[Json]) -> Result<Json, String> {
    let (from, to) = (bounds.first(), bounds.get(1));
    let from = from.map(number).transpose()?.unwrap_or(0);
    let to = to.map(number).transpose()?;
    let out_of_range = || format!("error calling slice: index out of range: {}", to.unwrap_or(from));
    match value {
        Json::Text(text) => text.get(from..to.unwrap_or(text.len())).map(Json::from).ok_or_else(out_of_range),
        Json::List(items) => items
            .get(from..to.unwrap_or(items.len()))
            .map(|items| Json::List(items.to_vec()))
            .ok_or_else(out_of_range),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Object(_) => {
            Err(format!("error calling slice: can't slice item of {}", print(value)))
        }
    }
}

/// Go's `fmt.Sprintf` with flags `-` and `0`, a width, a precision, and the verbs that make sense here.
fn format(template: &str, arguments: &[Json]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (mut left, mut zero, mut width, mut precision) = (false, false, 0, None);
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
            left |= flag == '-';
            zero |= flag == '0';
        }
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            width = (width * 10 + digit as usize - '0' as usize).min(10_000);
        }
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = 0;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits = (digits * 10 + digit as usize - '0' as usize).min(10_000);
            }
            precision = Some(digits);
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(argument) = arguments.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let text = match (verb, argument) {
            ('q', value) => Json::Text(print(value)).compact(),
            ('x', Json::Int(number)) => format!("{number:x}"),
            ('X', Json::Int(number)) => format!("{number:X}"),
            ('f', Json::Float(number)) => format!("{number:.*}", precision.unwrap_or(6)),
            ('s' | 'v', value) => match precision {
                Some(limit) => print(value).chars().take(limit).collect(),
                None => print(value),
            },
            ('d', Json::Int(number)) => number.to_string(),
            ('t', Json::Bool(value)) => value.to_string(),
            ('T', Json::Text(_)) => "string".into(),
            ('T', Json::Int(_)) => "int".into(),
            ('T', Json::Float(_)) => "float64".into(),
            ('T', Json::Bool(_)) => "bool".into(),
            ('T', Json::List(_)) => "[]interface {}".into(),
            ('T', Json::Object(_)) => "map[string]interface {}".into(),
            ('T', Json::Null) => "<nil>".into(),
            ('c', Json::Int(number)) => {
                u32::try_from(*number).ok().and_then(char::from_u32).map_or_else(String::new, String::from)
            }
            ('e' | 'g', Json::Float(number)) => number.to_string(),
            ('o', Json::Int(number)) => format!("{number:o}"),
            ('b', Json::Int(number)) => format!("{number:b}"),
            ('x', Json::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            (verb, value) => format!("%!{verb}({})", print(value)),
        };
        let blanks = width.saturating_sub(text.chars().count());
        match (left, zero) {
            (true, _) => out.push_str(&(text + &" ".repeat(blanks))),
            (false, true) => out.push_str(&("0".repeat(blanks) + &text)),
            (false, false) => out.push_str(&(" ".repeat(blanks) + &text)),
        }
    }
    out
}
