//! Who may come in: an htpasswd file with bcrypt hashes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::sync::Semaphore;

use super::access::fingerprint;
use super::digest::Digest;

/// How long a password that was right is right without being checked again: bcrypt is slow by design.
const REMEMBERED: Duration = Duration::from_secs(300);
const REMEMBERED_LIMIT: usize = 1024;
/// Checks at a time.
const CHECKS: usize = 2;
/// What an unknown user's password is checked against, so that it takes as long as a known one's.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8VHl8sNXIQuxkSDeZqCkJq8mV8o4xG";

/// Hashes by name.
type Known = HashMap<String, String>;

/// The users.
pub(crate) struct Users {
    path: PathBuf,
    /// As they were when the file could be read last.
    known: Arc<Mutex<Arc<Known>>>,
    remembered: Mutex<HashMap<Digest, Instant>>,
    checks: Arc<Semaphore>,
}

impl Users {
    /// Reads the file once, to find its faults now.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let users = parse(&read(path)?)?;
        if users.is_empty() {
            return Err("there is no user in it: htpasswd -B adds one".into());
        }
        Ok(Self {
            path: path.to_owned(),
            known: Arc::new(Mutex::new(Arc::new(users))),
            remembered: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS)),
        })
    }

    /// Whether this is the user's password. The file is read again for ones that were not seen lately; one that cannot be read
    /// leaves all as it was.
    pub(crate) async fn admit(&self, user: &str, password: &str) -> bool {
        let key = fingerprint(user, password);
        if self.lock().get(&key).is_some_and(|since| since.elapsed() < REMEMBERED) {
            return true;
        }
        let (user, password) = (user.to_owned(), password.to_owned());
        let _check = self.checks.acquire().await.expect("it is never closed");
        let (path, kept) = (self.path.clone(), self.known.clone());
        let admitted = tokio::task::spawn_blocking(move || {
            let read = read(&path).and_then(|text| parse(&text));
            let users = {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                match read {
                    Ok(users) => *kept = Arc::new(users),
                    Err(error) => {
                        tracing::error!(path = %path.display(), error, "the users stay as they were");
                    }
                }
                kept.clone()
            };
            let known = users.get(&user).map(String::as_str);
            // A hash that is damaged fits no password.
            let fits = bcrypt::verify(&password, known.unwrap_or(NOBODY)).unwrap_or(false);
            fits && known.is_some()
        })
        .await
        .unwrap_or(false);
        if admitted {
            let mut remembered = self.lock();
            if remembered.len() >= REMEMBERED_LIMIT {
                remembered.clear();
            }
            remembered.insert(key, Instant::now());
        }
        admitted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Instant>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = sys::file::read(path).map_err(|e| format!("{}", e.source))?;
    String::from_utf8(bytes).map_err(|_| "it is not text".into())
}

/// `user:hash` lines; `#` begins a comment.
fn parse(text: &str) -> Result<Known, String> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((user, hash)) if ["$2a$", "$2b$", "$2y$"].iter().any(|p| hash.starts_with(p)) => {
                users.insert(user.to_owned(), hash.to_owned());
            }
            _ => {
                return Err(format!(
                    "line {}: expected user:hash with a bcrypt hash (htpasswd -B)",
                    number + 1
                ));
            }
        }
    }
    Ok(users)
}

/// User and password of an `Authorization` header, if it has such.
pub(crate) fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_cannot_be_read_leaves_the_users_as_they_were() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| {
            let durability = sys::file::Durability::Process;
            sys::file::write_atomic(file.path(), text.as_bytes(), 0o600, durability).unwrap();
        };
        let line = |user: &str| format!("{user}:{}\n", bcrypt::hash(user, 4).unwrap());
        write(&line("ada"));
        let users = Users::open(file.path()).unwrap();
        write(&(line("ada") + &line("bob") + &line("eve")));
        assert!(users.admit("bob", "bob").await);
        write("nonsense\n");
        assert!(users.admit("eve", "eve").await);
        write(&line("bob"));
        assert!(!users.admit("ada", "ada").await);
    }

    #[tokio::test]
    async fn only_the_right_password_lets_in() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hash = bcrypt::hash("secret", 4).unwrap();
        sys::file::write_atomic(
            file.path(),
            format!("# users\nada:{hash}\n").as_bytes(),
            0o600,
            sys::file::Durability::Process,
        )
        .unwrap();
        let users = Users::open(file.path()).unwrap();
        for _ in 0..2 {
            assert!(users.admit("ada", "secret").await);
            assert!(!users.admit("ada", "wrong").await);
            assert!(!users.admit("bob", "secret").await);
        }
        let header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode("ada:a:b"))).unwrap();
        assert_eq!(credentials(&header), Some(("ada".into(), "a:b".into())));
        assert_eq!(credentials(&HeaderValue::from_static("Bearer x")), None);
        assert!(bcrypt::verify("x", NOBODY).is_ok(), "the stand-in must be a hash");
        assert!(parse("ada:plain").is_err());
    }
}
