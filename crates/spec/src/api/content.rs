//! What Corten's own client says to Corten's engine when it copies one large file into a container: the tar has a gap where the
//! content belongs, and the file itself comes as the descriptor of the request (unix(7), SCM_RIGHTS).

use std::fmt;
use std::str::FromStr;

/// The header of `PUT /containers/{id}/archive` that carries a [`ContentPlace`].
pub const CONTENT_HEADER: &str = "X-Corten-Content";

/// Where the file's content belongs in the tar, in bytes. As text `OFFSET+LENGTH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentPlace {
    /// So many bytes of the tar come before it.
    pub offset: u64,
    /// So many bytes of the file are in it.
    pub length: u64,
}

impl fmt::Display for ContentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.length)
    }
}

impl FromStr for ContentPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('+')
            .and_then(|(offset, length)| Some((offset.parse().ok()?, length.parse().ok()?)));
        let (offset, length) =
            numbers.ok_or_else(|| format!("invalid {CONTENT_HEADER} {text:?}: expected OFFSET+LENGTH"))?;
        Ok(Self { offset, length })
    }
}
