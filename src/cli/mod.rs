//! The command line: one file for each subcommand, and how a command line that makes no sense is answered.
//!
//! Owns the manual (`--help`), the log set-up and the exit codes. What a setting means is in `config`.

pub mod admin;
mod allocator;
pub mod backup;
pub mod check;
mod columns;
pub mod config;
pub mod dump;
pub mod health;
mod internal_call;
pub mod logging;
pub mod manual;
mod progress;
pub mod request_crawl;
pub mod serve;
pub mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::config::{BackupFlags, ConfigError, DatabaseFlag, Flags, InternalAddrFlag};

/// A whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "signpost",
    version,
    about = "A collection-filtered discovery relay for AT Protocol",
    long_about = include_str!("about.txt"),
    after_long_help = include_str!("after_help.txt")
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What signpost can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    #[command(long_about = include_str!("serve_about.txt"), after_long_help = include_str!("serve_after_help.txt"))]
    Serve(Box<Flags>),
    /// Show how the signpost on this machine is
    #[command(long_about = include_str!("status_about.txt"))]
    Status(status::StatusFlags),
    /// Ask a running signpost on this machine whether it is ready
    #[command(long_about = include_str!("health_about.txt"))]
    Health(InternalAddrFlag),
    /// Copy the database while it is served
    #[command(long_about = include_str!("backup_about.txt"))]
    Backup(BackupFlags),
    /// Write everything to a portable file
    #[command(long_about = include_str!("dump_about.txt"))]
    Dump(BackupFlags),
    /// Make a database out of a dump
    #[command(long_about = include_str!("restore_about.txt"))]
    Restore(dump::RestoreFlags),
    /// Check the database, and that its sums are those of its rows
    #[command(long_about = include_str!("check_about.txt"))]
    Check(DatabaseFlag),
    /// Show every setting, its value and where that comes from
    #[command(long_about = include_str!("config_about.txt"))]
    Config(Box<config::ConfigFlags>),
    /// Announce a host to relays
    #[command(long_about = include_str!("request_crawl_about.txt"))]
    RequestCrawl(request_crawl::RequestCrawlFlags),
    /// Print the completions of a shell
    #[command(long_about = include_str!("completions_about.txt"))]
    Completions(manual::CompletionsFlags),
    /// Write the manual pages into a directory
    Man(manual::ManFlags),
    /// Tell a running signpost on this machine which hosts and accounts to keep out, fetch again or forget
    #[command(long_about = include_str!("admin_about.txt"), after_long_help = include_str!("admin_after_help.txt"))]
    Admin(Box<admin::AdminFlags>),
}

/// Why the process ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing failed: help or the version was asked for, and has been printed.
    #[error("help was shown")]
    Shown,
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A setting has a value that is not accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command was understood, and failed.
    #[error("{0:#}")]
    Run(#[from] anyhow::Error),
}

impl Failure {
    /// 2 for what the operator has to write differently, 1 for what went wrong afterwards.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Shown => ExitCode::SUCCESS,
            Failure::Usage(_) | Failure::Config(_) => ExitCode::from(2),
            Failure::Run(_) => ExitCode::from(1),
        }
    }
}

/// Reads a command line, the program's name first; prints the help or the version if that is what it asks
/// for.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Failure> {
    Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => Failure::Shown,
            Err(error) => Failure::Run(error.into()),
        },
        _ => Failure::Usage(one_line(&error)),
    })
}

/// Clap's first line, and what it suggests, without the usage text around them.
fn one_line(error: &clap::Error) -> String {
    if matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        if error.to_string().contains("Usage: signpost admin ") {
            return "no command: give a command of signpost admin (see signpost admin --help)".to_owned();
        }
        return "no command: give serve, or another of those that signpost --help lists".to_owned();
    }
    let text = error.to_string();
    let problem = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let suggestion = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .into_iter()
        .find_map(|kind| error.get(kind))
        .and_then(|suggestion| match suggestion {
            ContextValue::String(name) => Some(name.as_str()),
            ContextValue::Strings(names) => names.first().map(String::as_str),
            _ => None,
        });
    match suggestion {
        Some(name) => format!("{problem}: did you mean {name}? (see signpost --help)"),
        None => format!("{problem} (see signpost --help)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_error(line: &str) -> String {
        match parse(line.split(' ').map(OsString::from)) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{line:?} gave {other:?}"),
        }
    }

    #[test]
    fn clap_accepts_the_declarations() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_line_that_makes_no_sense_is_answered_in_one_line() {
        let cases = [
            ("signpost", "no command: give serve, or another of those that signpost --help lists"),
            ("signpost admin", "no command: give a command of signpost admin (see signpost admin --help)"),
            ("signpost admin dance", "unrecognized subcommand 'dance' (see signpost --help)"),
            ("signpost dance", "unrecognized subcommand 'dance' (see signpost --help)"),
            ("signpost srve", "unrecognized subcommand 'srve': did you mean serve? (see signpost --help)"),
            (
                "signpost serve --http-adr :80",
                "unexpected argument '--http-adr' found: did you mean --http-addr? (see signpost --help)",
            ),
            ("signpost serve --bogus", "unexpected argument '--bogus' found (see signpost --help)"),
            ("signpost serve extra", "unexpected argument 'extra' found (see signpost --help)"),
            (
                "signpost serve --http-addr",
                "a value is required for '--http-addr <ADDR>' but none was supplied (see signpost --help)",
            ),
            (
                "signpost serve --plc-url a --plc-url b",
                "the argument '--plc-url <URL>' cannot be used multiple times (see signpost --help)",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(usage_error(line), expected, "{line}");
        }
    }

    #[test]
    fn a_line_break_in_an_argument_stays_one_line() {
        let arguments = ["signpost", "serve", "--a\nb"].map(OsString::from);
        let Err(Failure::Usage(text)) = parse(arguments) else { panic!("accepted") };
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }

    #[test]
    fn allow_private_hosts_is_a_bare_flag_or_takes_a_value() {
        for (line, expected) in [
            ("signpost serve", None),
            ("signpost serve --allow-private-hosts", Some("true")),
            ("signpost serve --allow-private-hosts=false", Some("false")),
            ("signpost serve --allow-private-hosts maybe", Some("maybe")),
            ("signpost serve --allow-private-hosts --http-addr :1", Some("true")),
        ] {
            let Ok(Cli { command: Command::Serve(flags) }) = parse(line.split(' ').map(OsString::from)) else {
                panic!("{line} is refused")
            };
            assert_eq!(flags.allow_private_hosts.as_deref(), expected, "{line}");
        }
    }
}
