//! `--chmod`: octal, or symbolic as chmod(1) reads it.

/// What is done to permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They become these.
    Octal(u32),
    /// They are changed, clause by clause.
    Symbolic(Vec<Clause>),
}

/// `ug+rw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Whose: bits of 0o7777 that the clause may touch.
    who: u32,
    action: char,
    /// `r`, `w`, `x`, `X`, `s`, `t`; or one of `u`, `g`, `o`, whose bits are copied.
    what: String,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o0007;

impl Mode {
    /// Reads it; `None` when it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Octal);
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let actions = clause.find(['+', '-', '='])?;
            let mut who = 0;
            for c in clause[..actions].chars() {
                who |= match c {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHERS,
                    'a' => USER | GROUP | OTHERS,
                    _ => return None,
                };
            }
            let mut rest = &clause[actions..];
            while let Some(action) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
                let what = &rest[1..end];
                let copied = matches!(what, "u" | "g" | "o");
                if !copied && !what.chars().all(|c| "rwxXst".contains(c)) {
                    return None;
                }
                // Nobody named is everybody, as with a umask of 0.
                let who = if who == 0 { USER | GROUP | OTHERS } else { who };
                clauses.push(Clause { who, action, what: what.to_owned() });
                rest = &rest[end..];
            }
        }
        Some(Self::Symbolic(clauses))
    }

    /// The bits that `mode` becomes.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let mut bits = 0;
        for c in self.what.chars() {
            let of = |shift: u32| (mode >> shift & 7) * 0o111;
            bits |= match c {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_dir || mode & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                'u' => of(6),
                'g' => of(3),
                'o' => of(0),
                _ => 0,
            };
        }
        let sticky = if self.who & OTHERS != 0 { 0o1000 } else { 0 };
        let bits = bits & (self.who | sticky);
        match self.action {
            '+' => mode | bits,
            '-' => mode & !bits,
            // chmod(1) leaves a directory's set-id bits alone unless they are named.
            _ => mode & !(self.who & if is_dir { 0o777 } else { 0o7777 }) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_chmods() {
        for (text, mode, is_dir, expected) in [
            ("755", 0o600, false, 0o755),
            ("4755", 0o600, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go=u", 0o700, false, 0o777),
            ("g=u-w", 0o640, false, 0o640 & !0o070 | 0o040),
            ("u+s,+t", 0o755, false, 0o5755),
            ("o=", 0o757, false, 0o750),
        ] {
            assert_eq!(Mode::parse(text).unwrap().apply(mode, is_dir), expected, "{text}");
        }
        for bad in ["", "8", "77777", "rwx", "z+x", "u+q", "u"] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
