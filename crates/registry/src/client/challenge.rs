//! What a registry asks for in `WWW-Authenticate` (RFC 9110 section 11.6; distribution's token specification).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spec::api::AuthConfig;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// Where tokens are given.
        realm: String,
        /// Whom the token is for.
        service: String,
        /// What it is to allow.
        scope: String,
    },
}

/// Reads a header's value; `None` when it asks for nothing that is known here.
pub(crate) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (String::new(), String::new(), String::new());
    for (name, value) in parameters(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = value,
            "service" => service = value,
            "scope" => scope = value,
            _ => {}
        }
    }
    (!realm.is_empty()).then_some(Challenge::Bearer { realm, service, scope })
}

/// `name=value` pairs, values bare or quoted.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        pairs.push((name.trim().to_owned(), value));
        rest = after.trim_start_matches([' ', ',']);
    }
    pairs
}

/// The text up to the closing quote, without its backslashes, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &text[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

/// A user and a password, from either form of an `AuthConfig`.
pub(crate) fn user_and_password(auth: &AuthConfig) -> Option<(String, String)> {
    if !auth.username.is_empty() {
        return Some((auth.username.clone(), auth.password.clone()));
    }
    let decoded = String::from_utf8(STANDARD.decode(auth.auth.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    (!user.is_empty()).then(|| (user.to_owned(), password.to_owned()))
}

/// The value of `Authorization` for basic authentication.
pub(crate) fn basic(auth: &AuthConfig) -> Option<String> {
    let (user, password) = user_and_password(auth)?;
    Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A text as it may stand in a query or a form.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push""#
            ),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: "reg".into(),
                scope: "repository:a/b:pull,push".into(),
            })
        );
        assert_eq!(
            parse(r#"bearer scope=x, realm="a\"b" , error="e""#),
            Some(Challenge::Bearer { realm: "a\"b".into(), service: "".into(), scope: "x".into() })
        );
        assert_eq!(parse(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        assert_eq!(parse("BASIC"), Some(Challenge::Basic));
        for none in ["", "Digest realm=\"x\"", "Bearer service=\"x\"", "Bearer realm"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    /// Damage anywhere: a challenge or none, never a panic, never more than was there.
    #[test]
    fn damage_is_survived() {
        let good = r#"Bearer realm="https://auth.example/tök\en",service="reg", scope=a:b:c,pull"#;
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let mut text: Vec<char> = good.chars().collect();
            for _ in 0..=random(4) {
                let at = random(text.len());
                match random(3) {
                    0 if text.len() > 1 => drop(text.remove(at)),
                    1 => text.insert(at, ['"', '\\', '=', ',', ' ', 'é', '\0'][random(7)]),
                    _ => text.truncate(at.max(1)),
                }
            }
            let text: String = text.into_iter().collect();
            if let Some(Challenge::Bearer { realm, service, scope }) = parse(&text) {
                assert!(realm.len() + service.len() + scope.len() <= text.len(), "{text}");
                read += 1;
            }
        }
        assert!(read > 1000, "{read}");
    }

    #[test]
    fn credentials_come_in_two_forms() {
        let plain = AuthConfig { username: "u".into(), password: "p:q".into(), ..Default::default() };
        let packed = AuthConfig { auth: STANDARD.encode("u:p:q"), ..Default::default() };
        assert_eq!(basic(&plain), basic(&packed));
        assert_eq!(basic(&AuthConfig::default()), None);
        assert_eq!(encode("a b:c/ä"), "a%20b%3Ac%2F%C3%A4");
    }
}
