//! Digests as a registry meets them: sha256, and sha512, which the specification allows as well.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};
use spec::digest::from_hex;

/// A digest. `Display` gives `<algorithm>:<hex>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Digest {
    Sha256(spec::Digest),
    Sha512([u8; 64]),
}

/// Text that is no digest.
#[derive(Debug, thiserror::Error)]
#[error("invalid digest {0:?}: expected sha256: or sha512: and 64 or 128 lower-case hex digits")]
pub(crate) struct InvalidDigest(String);

impl Digest {
    /// The sha256 digest of some bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::Sha256(crate::digest::of(bytes))
    }

    /// The digest of some bytes, by the algorithm of this one.
    pub(crate) fn alike(&self, bytes: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::of(bytes),
            Self::Sha512(_) => Self::Sha512(Sha512::digest(bytes).into()),
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// The digits alone: a safe file name, whose length tells the algorithm.
    pub(crate) fn hex(&self) -> String {
        match self {
            Self::Sha256(digest) => digest.hex(),
            Self::Sha512(bytes) => spec::digest::hex(bytes),
        }
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        match text.len() {
            64 => Some(Self::Sha256(spec::Digest::from_bytes(from_hex(text)?))),
            128 => Some(Self::Sha512(from_hex(text)?)),
            _ => None,
        }
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.split_once(':')
            .and_then(|(algorithm, hex)| Self::from_hex(hex).filter(|d| d.algorithm() == algorithm))
            .ok_or_else(|| InvalidDigest(text.chars().take(140).collect()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A running sha256 that can be put aside, and gone on with by another process.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::Sha256(spec::Digest::from_bytes(self.0.finalize().into()))
    }

    pub(crate) fn save(&self) -> String {
        spec::digest::hex(&self.0.serialize())
    }

    pub(crate) fn restore(text: &str) -> Option<Self> {
        let state: Vec<u8> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| from_hex::<1>(std::str::from_utf8(pair).ok()?))
            .collect::<Option<Vec<_>>>()?
            .concat();
        Sha256::deserialize(state.as_slice().try_into().ok()?).ok().map(Self)
    }
}

/// A running hash by the algorithm of a digest.
pub(crate) enum Check {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Check {
    pub(crate) fn alike(digest: &Digest) -> Self {
        match digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::Sha512(_) => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(spec::Digest::from_bytes(hash.finalize().into())),
            Self::Sha512(hash) => Digest::Sha512(hash.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_are_read_and_written() {
        for of in [Digest::of(b"x"), Digest::Sha512([0; 64]).alike(b"x")] {
            assert_eq!(of.to_string().parse::<Digest>().unwrap(), of);
            assert_eq!(Digest::from_hex(&of.hex()).unwrap(), of);
        }
        let hex = Digest::of(b"x").hex();
        for bad in ["", "sha256:", &hex, &format!("sha512:{hex}"), &format!("sha256:{}", hex.to_uppercase())]
        {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hash_goes_on_where_it_was_put_aside() {
        let mut first = Hasher::default();
        first.update(&[7; 100]);
        let mut second = Hasher::restore(&first.save()).unwrap();
        second.update(&[8; 100]);
        assert_eq!(second.finish(), Digest::of(&[[7; 100], [8; 100]].concat()));
        assert!(Hasher::restore("00ff").is_none() && Hasher::restore("zz").is_none());
    }
}
