//! The faults of a host name; their messages are the 400 answers of requestCrawl.

use std::net::IpAddr;

/// Why a text does not name a host that can be crawled; each message says what is wrong and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostSyntaxError {
    /// Nothing, or nothing but a scheme, slashes and dots.
    #[error("the host name is missing: give one such as pds.example.com")]
    Empty,
    /// Blanks, tabs or line ends before or after the name.
    #[error("there is white space around the host name: give the bare name, such as pds.example.com")]
    WhiteSpace,
    /// A control character anywhere.
    #[error("there is a control character in the host name: give the bare name, such as pds.example.com")]
    ControlCharacter,
    /// A letter outside ASCII.
    #[error("the host name is not ASCII: give its punycode form, such as xn--bcher-kva.example.com")]
    NotAscii,
    /// A scheme that the policy does not allow.
    #[error("the scheme {0}:// is not accepted: give the bare host name, or {1}")]
    Scheme(Box<str>, &'static str),
    /// `https:` without its two slashes.
    #[error("the URL is malformed: give the bare host name, or https://host")]
    MalformedUrl,
    /// User name or password.
    #[error("a user name or password is not accepted: give the bare host name, such as pds.example.com")]
    UserInfo,
    /// Anything behind the first slash.
    #[error("a path is not accepted: give the bare host name, such as pds.example.com")]
    Path,
    /// Anything behind a question mark.
    #[error("a query is not accepted: give the bare host name, such as pds.example.com")]
    Query,
    /// Anything behind a hash sign.
    #[error("a fragment is not accepted: give the bare host name, such as pds.example.com")]
    Fragment,
    /// A port, where only 443 is spoken and none may be named.
    #[error("a port is not accepted, not even :443: give the bare host name, which is crawled by https on port 443")]
    Port,
    /// A port that is not a number of a port.
    #[error("the port is not a number from 1 to 65535: give host:port, such as localhost:2583")]
    BadPort,
    /// An IP address in any spelling.
    #[error("an IP address is not accepted: give the host's name, such as pds.example.com")]
    Address,
    /// A public or unusable address, in development.
    #[error("the IP address {0} is neither loopback nor private: give the host's name, such as pds.example.com")]
    PublicAddress(IpAddr),
    /// An IPv4 address that is not written as four decimal numbers.
    #[error("the IP address is in an unusual spelling: write it as four decimal numbers, such as 127.0.0.1")]
    UnusualAddress,
    /// An IPv6 address without brackets, or one that is none.
    #[error("an IPv6 address is written in full and in brackets: give it as in [::1] or [::1]:2583")]
    BadIpv6,
    /// A last label that is a number.
    #[error("the last label \"{0}\" is a number, which no top-level domain is: give a name such as pds.example.com")]
    NumericTopLevel(Box<str>),
    /// A name without a dot.
    #[error("\"{0}\" is a single label: give the host's full public name, such as pds.example.com")]
    SingleLabel(Box<str>),
    /// A name that is not part of the public DNS.
    #[error("names under \"{0}\" are reserved and not reachable in public: give a public name such as pds.example.com")]
    Reserved(Box<str>),
    /// Two dots in a row, or one at the beginning.
    #[error("there is an empty label (a dot too many) in the host name: give one such as pds.example.com")]
    EmptyLabel,
    /// A label of more than 63 characters.
    #[error("a label of the host name has more than the 63 characters that DNS accepts")]
    LabelTooLong,
    /// A name of more than 253 characters.
    #[error("the host name has more than the 253 characters that DNS accepts")]
    NameTooLong,
    /// An underscore.
    #[error("there is an underscore in the host name: only letters, digits, hyphens and dots are accepted")]
    Underscore,
    /// A hyphen at an end of a label.
    #[error("a label of the host name begins or ends with a hyphen: only letters and digits are accepted there")]
    Hyphen,
    /// A label that begins with `xn--` and is no punycode.
    #[error("a label of the host name begins with xn-- but is not the punycode of anything")]
    BadPunycode,
    /// Any other character.
    #[error("the character '{0}' is not accepted in a host name: only letters, digits, hyphens and dots are")]
    Character(char),
}
