//! The operator's token: its setting, and what is kept of it.
//!
//! Invariant: the token itself is in no error, no log line and no `Config`.

use std::ffi::OsString;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha2::{Digest, Sha256};

use super::flags::AdminTokenFlag;
use super::setting::{ConfigError, Resolver, Setting};

const SHORTEST_TOKEN: usize = 32;
const LONGEST_TOKEN: usize = 512;

pub(super) const ADMIN_TOKEN: Setting =
    Setting { flag: "--admin-token", variables: &["SIGNPOST_ADMIN_TOKEN"], default: None };

/// What tells the operator's token from others: its digest.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// The token of this text.
    pub fn of(token: &str) -> AdminToken {
        AdminToken(digest(token.as_bytes()))
    }

    /// Whether this is the token. How long it takes tells nothing of the token.
    pub fn is(&self, candidate: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &digest(candidate)).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Resolves only the operator's token, for the commands that ask a running signpost; `None` when there is none.
pub fn admin_token(
    flag: AdminTokenFlag,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, ConfigError> {
    resolve(&Resolver::new(&variable), flag)
}

pub(super) fn resolve(resolver: &Resolver, flag: AdminTokenFlag) -> Result<Option<String>, ConfigError> {
    let token = resolver.optional(&ADMIN_TOKEN, flag.admin_token, |value| read_admin_token(value).map(str::to_owned));
    token.map_err(|error| ConfigError { value: "(not shown)".to_owned(), ..error })
}

/// A token as it may be written in a header; the error does not show it.
pub fn read_admin_token(value: &str) -> Result<&str, String> {
    if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&value.len()) || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "is not a token: give {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits and signs without spaces, for example \
             of `openssl rand -hex 32`"
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn given(token: &str) -> Result<Option<String>, String> {
        let flag = AdminTokenFlag { admin_token: Some(token.to_owned()) };
        admin_token(flag, |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_long_enough_and_fits_in_a_header() {
        assert_eq!(given(TOKEN), Ok(Some(TOKEN.to_owned())));
        assert_eq!(admin_token(AdminTokenFlag::default(), |_| None), Ok(None));
        for secret in ["", "hunter2", &TOKEN[1..], &format!("{TOKEN} "), &format!("{TOKEN}\n"), &format!("{TOKEN}é")] {
            let error = given(secret).unwrap_err();
            assert!(error.starts_with("--admin-token: \"(not shown)\" is not a token: "), "{error}");
            assert!(secret.is_empty() || !error.contains(secret.trim()), "{error}");
        }
        let from_variable = admin_token(AdminTokenFlag::default(), |name| {
            (name == "SIGNPOST_ADMIN_TOKEN").then(|| OsString::from("hunter2"))
        });
        let error = from_variable.unwrap_err().to_string();
        assert!(error.starts_with("SIGNPOST_ADMIN_TOKEN: ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn only_the_token_is_the_token() {
        let token = AdminToken::of(TOKEN);
        assert!(token.is(TOKEN.as_bytes()));
        for other in ["", &TOKEN[1..], &format!("{TOKEN}0"), &TOKEN.to_uppercase()] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "AdminToken(..)");
    }
}
