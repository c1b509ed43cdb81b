//! `signpost config`: which value each setting has, and what carried it.

use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::columns::table;
use crate::config::{self, EffectiveSetting, Flags, Source};
use crate::syntax::printable;

const LONGEST_VALUE: usize = 300;

/// The flags of `signpost config`: those of `serve`, whose values are shown.
#[derive(Debug, Args)]
pub struct ConfigFlags {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub serve: Flags,
}

/// Prints every setting; fails where `serve` would, with its line.
pub fn run(flags: ConfigFlags) -> Result<(), Failure> {
    let settings = config::effective(flags.serve, |name| std::env::var_os(name))?;
    match flags.json {
        true => println!("{}", as_json(&settings)),
        false => print!("{}", as_text(&settings)),
    }
    Ok(())
}

fn as_json(settings: &[EffectiveSetting]) -> Value {
    settings
        .iter()
        .map(|setting| {
            let (kind, name) = match setting.source {
                Source::Flag(name) => ("flag", Some(name)),
                Source::Variable(name) => ("environment", Some(name)),
                Source::Default(_) => ("default", None),
            };
            json!({ "flag": setting.flag, "value": setting.value, "from": kind, "variable_or_flag": name })
        })
        .collect()
}

fn as_text(settings: &[EffectiveSetting]) -> String {
    let row = |setting: &EffectiveSetting| {
        let value =
            setting.value.as_deref().map_or_else(|| "(none)".to_owned(), |value| printable(value, LONGEST_VALUE));
        let from = match setting.source {
            Source::Flag(_) => "flag".to_owned(),
            Source::Variable(name) => name.to_owned(),
            Source::Default(_) => "default".to_owned(),
        };
        vec![setting.flag.to_owned(), value, from]
    };
    table(&["SETTING", "VALUE", "FROM"], settings.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(flags: Flags, variables: &[(&str, &str)]) -> Vec<EffectiveSetting> {
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        config::effective(flags, lookup).expect("accepted")
    }

    #[test]
    fn every_value_is_shown_with_where_it_came_from_but_the_token() {
        let token = "0123456789abcdef0123456789abcdef";
        let flags = Flags { http_addr: Some(":9000".to_owned()), ..Flags::default() };
        let settings = shown(flags, &[("SIGNPOST_ADMIN_TOKEN", token), ("CRAWL_INTERVAL", "1h")]);
        let text = as_text(&settings);
        let line = |flag: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(flag)).expect(flag);
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("--http-addr"), ":9000 flag");
        assert_eq!(line("--crawl-interval"), "1h CRAWL_INTERVAL");
        assert_eq!(line("--collections"), "io.atcr.* default");
        assert_eq!(line("--public-hostname"), "(none) default");
        assert_eq!(line("--admin-token"), "(set, not shown) SIGNPOST_ADMIN_TOKEN");
        let json = as_json(&settings).to_string();
        assert!(!text.contains(token) && !json.contains(token));
        assert!(
            json.contains(
                r#""flag":"--crawl-interval","from":"environment","value":"1h","variable_or_flag":"CRAWL_INTERVAL""#
            ),
            "{json}"
        );
    }

    #[test]
    fn each_setting_of_serve_is_shown_once() {
        use clap::CommandFactory;
        let command = crate::cli::Cli::command();
        let serve = command.find_subcommand("serve").expect("it is a command");
        let mut flags: Vec<String> = serve
            .get_arguments()
            .filter_map(|it| it.get_long())
            .filter(|it| *it != "help")
            .map(|it| format!("--{it}"))
            .collect();
        flags.sort();
        let shown: Vec<String> = shown(Flags::default(), &[]).iter().map(|it| it.flag.to_owned()).collect();
        assert_eq!(shown, flags);
    }
}
