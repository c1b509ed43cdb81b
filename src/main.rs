//! The signpost binary: reads the command line and runs the command.
//!
//! Exit codes: 0 done, 1 failed while running, 2 not understood (a flag, a variable or a command).

use std::process::ExitCode;

use signpost::cli::{
    Cli, Command, Failure, admin, backup, check, config, dump, health, manual, parse, request_crawl, serve, status,
};

fn main() -> ExitCode {
    let outcome = match parse(std::env::args_os()) {
        Ok(Cli { command: Command::Serve(flags) }) => serve::run(*flags),
        Ok(Cli { command: Command::Status(flags) }) => status::run(flags),
        Ok(Cli { command: Command::Health(flags) }) => health::run(flags),
        Ok(Cli { command: Command::Backup(flags) }) => backup::run(flags),
        Ok(Cli { command: Command::Dump(flags) }) => dump::dump(flags),
        Ok(Cli { command: Command::Restore(flags) }) => dump::restore(flags),
        Ok(Cli { command: Command::Check(flag) }) => check::run(flag),
        Ok(Cli { command: Command::Config(flags) }) => config::run(*flags),
        Ok(Cli { command: Command::RequestCrawl(flags) }) => request_crawl::run(flags),
        Ok(Cli { command: Command::Completions(flags) }) => manual::completions(flags),
        Ok(Cli { command: Command::Man(flags) }) => manual::man(flags),
        Ok(Cli { command: Command::Admin(flags) }) => admin::run(*flags),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Shown) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("signpost: {failure}");
            failure.exit_code()
        }
    }
}
