//! The protocol's identifiers, parsed once at the edge: DIDs, NSIDs, record keys, revs, handles, collection
//! patterns and host names; and the domains and address blocks that an operator names.
//!
//! Owns their syntax and canonical forms; knows nothing of networks, DNS or storage.
//! Invariant: a value of one of these types is valid, whatever it was made from.

mod address_block;
mod did;
mod domain;
mod error;
mod handle;
mod host;
mod key_range;
mod nsid;
mod pattern;
mod record_key;
mod rev;

pub use address_block::AddressBlock;
pub use did::{Did, DidMethod};
pub use domain::Domain;
pub use error::{SyntaxError, printable};
pub use handle::Handle;
pub use host::{Host, HostPolicy, HostSyntaxError, Scheme};
pub use key_range::KeyRange;
pub use nsid::Nsid;
pub use pattern::{CollectionFilter, NsidPattern};
pub use record_key::RecordKey;
pub use rev::Rev;

/// Gives a string newtype with a `check(&str) -> Result<(), SyntaxError>` its common surface.
macro_rules! checked_string {
    ($name:ident) => {
        impl $name {
            /// Reads the identifier; the error says which rule it breaks.
            pub fn parse(text: &str) -> Result<Self, crate::syntax::SyntaxError> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::syntax::SyntaxError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::syntax::SyntaxError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0.into()
            }
        }
    };
}
use checked_string;

/// Whether `label` is one label of a domain name: 1 to 63 letters, digits and inner hyphens.
fn is_domain_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod test_vectors {
    /// The lines of an interop file that hold a vector (blank lines and `#` comments do not; some vectors start with `#`).
    pub fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
        file.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
    }
}
