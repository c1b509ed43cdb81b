//! The flag that `serve` and `admin` share.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use clap::Args;

/// The operator's token.
#[derive(Clone, Default, Args)]
pub struct AdminTokenFlag {
    /// The secret that opens the admin calls of the internal listener; without one there are none
    ///
    /// At least 32 characters, for example of "openssl rand -hex 32". A flag can be seen by every user of this
    /// machine: better set the variable.
    ///
    /// [environment: SIGNPOST_ADMIN_TOKEN] [default: none]
    #[arg(long, value_name = "TOKEN", global = true)]
    pub admin_token: Option<String>,
}

/// Without the token.
impl std::fmt::Debug for AdminTokenFlag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminTokenFlag").field("is_given", &self.admin_token.is_some()).finish()
    }
}
