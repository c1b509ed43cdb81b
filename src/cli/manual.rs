//! `signpost completions` and `signpost man`: what the shell and the manual want, from the same definitions as `--help`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

/// Which shell.
#[derive(Debug, Args)]
pub struct CompletionsFlags {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub struct ManFlags {
    /// The directory, which must be there
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// Prints the completions of a shell.
pub fn completions(flags: CompletionsFlags) -> Result<(), Failure> {
    clap_complete::generate(flags.shell, &mut Cli::command(), "signpost", &mut std::io::stdout());
    Ok(())
}

/// Writes a page for each command: signpost.1, signpost-serve.1 and so on.
pub fn man(flags: ManFlags) -> Result<(), Failure> {
    write_pages(&flags.directory).with_context(|| format!("cannot write to {}", flags.directory.display()))?;
    Ok(())
}

fn write_pages(directory: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let directory = tempfile::tempdir().expect("a directory");
        write_pages(directory.path()).expect("it can be written to");
        let mut completions = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "signpost", &mut completions);
        let completions = String::from_utf8(completions).expect("text");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = std::fs::read_to_string(directory.path().join(format!("signpost-{name}.1"))).expect(name);
            assert!(page.contains(".SH SYNOPSIS"), "{name}");
            assert!(completions.contains(name), "{name}");
        }
        let page = std::fs::read_to_string(directory.path().join("signpost-serve.1")).expect("a page");
        assert!(page.contains("SIGNPOST_COLLECTIONS"));
    }
}
