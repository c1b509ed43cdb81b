//! The configuration from the outside: where a value comes from, what is accepted, and the one line for the
//! rest.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use clap::CommandFactory;

use super::*;

fn resolve(flags: Flags, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let lookup = |name: &str| variables.get(name).map(OsString::from);
    Config::resolve(flags, lookup).map_err(|error| error.to_string())
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Config, String> {
    resolve(Flags::default(), variables)
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn without_flags_and_variables_every_setting_has_its_default() {
    let config = from_variables(&[]).unwrap();
    assert_eq!(config.store.path.to_str(), Some("./signpost.db"));
    assert_eq!(config.store.filter.to_string(), "io.atcr.*");
    assert_eq!(config.http.addr.to_string(), "127.0.0.1:8080");
    assert_eq!(config.http.internal.unwrap().to_string(), "127.0.0.1:8081");
    assert_eq!(config.outbound.policy, HostPolicy::PublicOnly);
    assert_eq!(config.outbound.plc_url, "https://plc.directory");
    assert_eq!(config.outbound.public_hostname, None);
    assert_eq!(config.outbound.user_agent, concat!("signpost/", env!("CARGO_PKG_VERSION")));
    assert_eq!(config.crawl.interval, Duration::from_secs(12 * 60 * 60));
    assert_eq!(config.repos, ReposConfig { max_bytes: 512 << 20, memory_bytes: 96 << 20 });
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!((config.http.max_connections, config.http.max_connections_per_client), (1024, 32));
    assert_eq!(config.min_free_bytes, 64 << 20);
    assert_eq!(config.store.limits, Limits::default());
}

#[test]
fn a_flag_wins_over_both_variables_and_the_prefixed_variable_over_the_other() {
    let both = [("SIGNPOST_DATABASE_PATH", "/prefixed"), ("DATABASE_PATH", "/plain")];
    let flags = Flags { database: DatabaseFlag { database_path: some("/flag") }, ..Flags::default() };
    assert_eq!(resolve(flags, &both).unwrap().store.path.to_str(), Some("/flag"));
    assert_eq!(from_variables(&both).unwrap().store.path.to_str(), Some("/prefixed"));
    assert_eq!(from_variables(&both[1..]).unwrap().store.path.to_str(), Some("/plain"));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let config = from_variables(&[("SIGNPOST_HTTP_ADDR", ""), ("HTTP_ADDR", ":9000")]).unwrap();
    assert_eq!(config.http.addr.to_string(), "0.0.0.0:9000");
    let config = from_variables(&[("SIGNPOST_PUBLIC_HOSTNAME", ""), ("CRAWL_INTERVAL", "")]).unwrap();
    assert_eq!(config.outbound.public_hostname, None);
    assert_eq!(config.crawl.interval, Duration::from_secs(12 * 60 * 60));
}

#[test]
fn every_variable_of_the_table_is_read() {
    let wrong = "\u{1}";
    for setting in setting::ALL.iter().chain(limits::ALL) {
        for variable in setting.variables {
            if variable.ends_with("DATABASE_PATH") {
                continue; // nearly any text is a path; covered above
            }
            let error = from_variables(&[(variable, wrong)]).unwrap_err();
            let shown = if setting.flag == "--admin-token" { "(not shown)" } else { wrong };
            assert!(error.starts_with(&format!("{variable}: {shown:?} is not ")), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn every_flag_of_the_table_is_in_the_help_with_its_variables_and_default() {
    let mut command = crate::cli::Cli::command();
    let serve = command.find_subcommand_mut("serve").unwrap();
    for setting in setting::ALL.iter().chain(limits::ALL) {
        let flag = setting.flag.trim_start_matches("--");
        let argument = serve
            .get_arguments()
            .find(|argument| argument.get_long() == Some(flag))
            .unwrap_or_else(|| panic!("{flag} is no flag of serve"));
        let help = argument.get_long_help().unwrap().to_string();
        let last = format!(
            "[environment: {}] [default: {}]",
            setting.variables.join(", else "),
            setting.default.unwrap_or("none")
        );
        assert!(help.ends_with(&last), "{flag} ends otherwise: {help}");
    }
}

#[test]
fn the_environment_file_and_the_readme_list_every_setting_with_its_default() {
    let (file, readme) = (include_str!("../../deploy/signpost.env"), include_str!("../../README.md"));
    for setting in setting::ALL.iter().chain(limits::ALL) {
        let line = format!("#{}={}", setting.variables[0], setting.default.unwrap_or_default());
        assert!(file.lines().any(|known| known == line), "{line} is missing");
        let row = format!("| `{}` | `{}`", setting.flag, setting.variables[0]);
        let row = readme.lines().find(|known| known.starts_with(&row)).unwrap_or_else(|| panic!("{row} is missing"));
        assert!(row.contains(&format!("`{}`", setting.default.unwrap_or("none"))) || row.contains("| none"), "{row}");
    }
}

#[test]
fn listen_addresses_are_numbers_localhost_or_all_interfaces() {
    for (value, expected) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        (":8080", "0.0.0.0:8080"),
        (":0", "0.0.0.0:0"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::]:8080", "[::]:8080"),
    ] {
        let config = from_variables(&[("SIGNPOST_HTTP_ADDR", value), ("SIGNPOST_INTERNAL_ADDR", value)]).unwrap();
        assert_eq!(config.http.addr.to_string(), expected);
        assert_eq!(config.http.internal.unwrap().to_string(), expected);
    }
    for value in ["8080", "127.0.0.1", "localhost", "localhost:", ":", ":+80", ":65536", "example.com:80", "::1:80x"] {
        let error = from_variables(&[("HTTP_ADDR", value)]).unwrap_err();
        assert!(error.starts_with(&format!("HTTP_ADDR: {value:?} is not an address")), "{error}");
    }
    assert!(from_variables(&[("HTTP_ADDR", "off")]).is_err());
    assert_eq!(from_variables(&[("SIGNPOST_INTERNAL_ADDR", "off")]).unwrap().http.internal, None);
}

#[test]
fn the_error_line_names_the_flag_the_value_and_what_is_accepted() {
    let flags = Flags { crawl_interval: some("12 parsecs"), ..Flags::default() };
    assert_eq!(
        resolve(flags, &[]).unwrap_err(),
        "--crawl-interval: \"12 parsecs\" is not a duration: give a number with a unit, for example 30m, 12h or 1d"
    );
}

#[test]
fn crawl_intervals_have_units_and_bounds() {
    for (value, seconds) in [("1m", 60), ("30d", 2_592_000), ("12h0m0s", 43_200), ("1h 30m", 5_400), ("90s", 90)] {
        let config = from_variables(&[("CRAWL_INTERVAL", value)]).unwrap();
        assert_eq!(config.crawl.interval, Duration::from_secs(seconds), "{value}");
    }
    for value in ["12", "h", "-1h", "0", "1e9d"] {
        let error = from_variables(&[("CRAWL_INTERVAL", value)]).unwrap_err();
        assert!(error.starts_with(&format!("CRAWL_INTERVAL: {value:?} is ")), "{error}");
    }
    for value in ["59s", "31d", "0s"] {
        let error = from_variables(&[("CRAWL_INTERVAL", value)]).unwrap_err();
        assert_eq!(error, format!("CRAWL_INTERVAL: {value:?} is out of range: give 1m to 30d"));
    }
}

#[test]
fn sizes_have_units_and_bounds() {
    for (value, bytes) in [("1MiB", 1 << 20), ("2048KiB", 2 << 20), ("3GiB", 3 << 30), ("16 MiB", 16 << 20)] {
        assert_eq!(from_variables(&[("SIGNPOST_MAX_REPO_SIZE", value)]).unwrap().repos.max_bytes, bytes, "{value}");
    }
    let refused = [
        "512",
        "512MB",
        "MiB",
        "1.5GiB",
        "-1MiB",
        "+1MiB",
        "99999999999999999999GiB",
        "17179869184GiB",
        "0KiB",
        "4GiB",
    ];
    for value in refused {
        let error = from_variables(&[("SIGNPOST_MAX_REPO_SIZE", value)]).unwrap_err();
        let expected =
            format!("SIGNPOST_MAX_REPO_SIZE: {value:?} is not accepted: give a size from 1MiB to 3GiB, a whole number");
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(from_variables(&[("SIGNPOST_MIN_FREE_SPACE", "0B")]).unwrap().min_free_bytes, 0);
}

#[test]
fn numbers_are_digits_within_bounds() {
    for value in ["0", "100001", "-1", "+5", "many", "1e3"] {
        for name in ["SIGNPOST_MAX_CONNECTIONS", "SIGNPOST_MAX_CONNECTIONS_PER_CLIENT"] {
            let error = from_variables(&[(name, value)]).unwrap_err();
            assert_eq!(error, format!("{name}: {value:?} is not accepted: give a whole number from 1 to 100000"));
        }
    }
    assert_eq!(from_variables(&[("SIGNPOST_MAX_CONNECTIONS", "7")]).unwrap().http.max_connections, 7);
}

#[test]
fn a_plc_url_is_a_plain_http_url_and_loses_its_trailing_slash() {
    for (value, expected) in [
        ("https://plc.directory/", "https://plc.directory"),
        ("http://localhost:2582", "http://localhost:2582"),
        ("https://mirror.example.com/plc/", "https://mirror.example.com/plc"),
    ] {
        assert_eq!(from_variables(&[("SIGNPOST_PLC_URL", value)]).unwrap().outbound.plc_url, expected);
    }
    for value in [
        "plc.directory",
        "ftp://plc.directory",
        "https://plc.directory/?a=b",
        "https://plc.directory/#x",
        "https://",
        "https://user:secret@plc.directory",
    ] {
        let error = from_variables(&[("SIGNPOST_PLC_URL", value)]).unwrap_err();
        assert!(error.starts_with(&format!("SIGNPOST_PLC_URL: {value:?} is not ")), "{error}");
    }
}

#[test]
fn private_hosts_are_allowed_by_any_usual_yes() {
    for value in ["true", "1", "yes", "on", "TRUE"] {
        let config = from_variables(&[("SIGNPOST_ALLOW_PRIVATE_HOSTS", value)]).unwrap();
        assert_eq!(config.outbound.policy, HostPolicy::AllowPrivate, "{value}");
    }
    for value in ["false", "0", "no", "off"] {
        let config = from_variables(&[("SIGNPOST_ALLOW_PRIVATE_HOSTS", value)]).unwrap();
        assert_eq!(config.outbound.policy, HostPolicy::PublicOnly, "{value}");
    }
    assert!(from_variables(&[("SIGNPOST_ALLOW_PRIVATE_HOSTS", "maybe")]).is_err());
}

#[test]
fn the_public_hostname_goes_into_the_user_agent() {
    let config = from_variables(&[("SIGNPOST_PUBLIC_HOSTNAME", "Relay.Signpost.Dev")]).unwrap();
    assert_eq!(
        config.outbound.user_agent,
        concat!("signpost/", env!("CARGO_PKG_VERSION"), " (+https://relay.signpost.dev)")
    );
    assert_eq!(config.outbound.public_hostname.unwrap().as_str(), "relay.signpost.dev");
}

#[test]
fn a_private_public_hostname_needs_allow_private_hosts() {
    let private = ("SIGNPOST_PUBLIC_HOSTNAME", "localhost:8080");
    let error = from_variables(&[private]).unwrap_err();
    assert!(error.starts_with("SIGNPOST_PUBLIC_HOSTNAME: \"localhost:8080\" is not a public hostname ("));
    let config = from_variables(&[private, ("SIGNPOST_ALLOW_PRIVATE_HOSTS", "true")]).unwrap();
    assert_eq!(config.outbound.public_hostname.unwrap().as_str(), "localhost:8080");
}

#[test]
fn collections_and_log_format_name_what_is_accepted() {
    let error = from_variables(&[("SIGNPOST_COLLECTIONS", "io..atcr")]).unwrap_err();
    assert!(error.starts_with("SIGNPOST_COLLECTIONS: \"io..atcr\" is not a list of collections ("), "{error}");
    assert_eq!(
        from_variables(&[("SIGNPOST_LOG_FORMAT", "xml")]).unwrap_err(),
        "SIGNPOST_LOG_FORMAT: \"xml\" is not a log format: give text or json"
    );
    assert_eq!(from_variables(&[("SIGNPOST_LOG_FORMAT", "json")]).unwrap().log_format, LogFormat::Json);
}

#[test]
fn an_empty_flag_is_a_wrong_value() {
    let flags = Flags { database: DatabaseFlag { database_path: some("") }, ..Flags::default() };
    let error = resolve(flags, &[]).unwrap_err();
    assert!(error.starts_with("--database-path: \"\" is not a path: "), "{error}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let error =
        Config::resolve(Flags::default(), |name| (name == "HTTP_ADDR").then(|| OsString::from_vec(vec![b':', 0xff])));
    assert_eq!(error.unwrap_err().to_string(), "HTTP_ADDR: \":\u{fffd}\" is not UTF-8");
}

#[test]
fn limits_are_whole_numbers_and_sizes_have_a_unit() {
    let read = |variable: &str, value: &str| from_variables(&[(variable, value)]).map(|config| config.store.limits);
    assert_eq!(read("SIGNPOST_MAX_ACCOUNTS_PER_HOST", "100").unwrap().accounts_per_host, 100);
    assert_eq!(read("SIGNPOST_HOST_EVENTS_PER_DAY", "1").unwrap().host_events.per_day, 1);
    for (value, size_bytes) in [("1B", 1), ("16KiB", 16 << 10), ("64MiB", 64 << 20), ("2 GiB", 2 << 30)] {
        assert_eq!(read("SIGNPOST_MAX_BYTES_PER_REPO", value).unwrap().bytes_per_repo, size_bytes, "{value}");
    }
    for value in ["0", "-1", "+1", "1e3", "99999999999999999999", "1MiB"] {
        let error = read("SIGNPOST_MAX_ACCOUNTS_PER_HOST", value).unwrap_err();
        assert!(error.starts_with(&format!("SIGNPOST_MAX_ACCOUNTS_PER_HOST: {value:?} is not accepted")), "{error}");
    }
    for value in ["0MiB", "64", "64MB", "MiB", "99999999999GiB", "-1B"] {
        let error = read("SIGNPOST_MAX_BYTES_PER_HOST", value).unwrap_err();
        assert!(error.starts_with(&format!("SIGNPOST_MAX_BYTES_PER_HOST: {value:?} is not accepted")), "{error}");
    }
    assert!(read("SIGNPOST_PLC_REQUESTS_PER_SECOND", "0").is_err());
}
