//! What every set of the kernel's flags can do.

/// Gives a tuple struct of one number the methods of a set.
macro_rules! flags {
    ($name:ident) => {
        impl $name {
            /// None.
            pub const fn empty() -> Self {
                Self(0)
            }

            /// Whether none is in the set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// These and those.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// These but not those.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether all of `other` are in this set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }
    };
}

pub(crate) use flags;
