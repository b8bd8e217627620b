//! Names for containers that were given none: `adjective_surname`.

/// What a pleasant companion is.
const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amber", "ample", "arctic", "autumn", "azure", "balmy", "bold", "brave", "breezy",
    "bright", "brisk", "calm", "candid", "clever", "coastal", "copper", "cosmic", "crisp", "curious",
    "daring", "deft", "eager", "early", "easy", "fair", "fluent", "fond", "frank", "gentle", "glad",
    "golden", "grand", "hardy", "honest", "humble", "ideal", "jolly", "keen", "kind", "lively", "loyal",
    "lucid", "mellow", "merry", "mild", "modest", "nimble", "noble", "patient", "placid", "polite", "quick",
    "quiet", "rapid", "serene", "silver", "steady", "sunny", "tidy", "vivid", "warm", "witty",
];

/// People who built, computed, measured or explored.
const SURNAMES: [&str; 64] = [
    "abbe",
    "agnesi",
    "ampere",
    "angstrom",
    "avogadro",
    "backus",
    "banach",
    "barnes",
    "bernoulli",
    "bessel",
    "boole",
    "braille",
    "brunel",
    "cantor",
    "carnot",
    "cayley",
    "celsius",
    "chadwick",
    "clausius",
    "coulomb",
    "cray",
    "daguerre",
    "dalton",
    "descartes",
    "diesel",
    "eckert",
    "eiffel",
    "erdos",
    "fisher",
    "fourier",
    "foucault",
    "fresnel",
    "frege",
    "galois",
    "gauss",
    "gibbs",
    "godel",
    "hamming",
    "henry",
    "hollerith",
    "huygens",
    "jacquard",
    "joule",
    "kolmogorov",
    "lagrange",
    "laplace",
    "leibniz",
    "linnaeus",
    "mauchly",
    "mercator",
    "minsky",
    "napier",
    "naur",
    "ohm",
    "peano",
    "planck",
    "poincare",
    "ramanujan",
    "riemann",
    "shannon",
    "siemens",
    "telford",
    "vitruvius",
    "zuse",
];

/// A name from random bytes. From the second attempt on a digit is added, as the plain pairs get used up.
pub(crate) fn generate(random: [u8; 3], attempt: u32) -> String {
    let adjective = ADJECTIVES[usize::from(random[0]) % ADJECTIVES.len()];
    let surname = SURNAMES[usize::from(random[1]) % SURNAMES.len()];
    if attempt == 0 {
        format!("{adjective}_{surname}")
    } else {
        format!("{adjective}_{surname}{}", random[2] % 10)
    }
}

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_valid_and_the_rule_is_dockers() {
        for byte in 0..=255 {
            assert!(is_valid(&generate([byte, byte, byte], 1)));
        }
        for good in ["ab", "a.b", "A_-9"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "a", "_a", ".a", "a b", "a/b", "é1"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
