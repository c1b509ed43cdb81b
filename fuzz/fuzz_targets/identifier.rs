//! Any text as each identifier: what is accepted is kept as it is, and what is refused is refused in printable words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::syntax::{Did, DidMethod, Handle, Nsid, NsidPattern, RecordKey, Rev};

/// Parses the text, and holds what holds for every identifier.
macro_rules! parse {
    ($type:ty, $text:expr) => {{
        let parsed = <$type>::parse($text);
        assert_eq!($text.parse::<$type>(), parsed);
        assert_eq!(<$type>::try_from($text.to_owned()), parsed);
        let json = serde_json::to_string($text).expect("JSON");
        assert_eq!(serde_json::from_str::<$type>(&json).ok(), parsed.clone().ok());
        match &parsed {
            Ok(value) => {
                assert!($text.bytes().all(|byte| byte.is_ascii_graphic()));
                assert_eq!((value.as_str(), value.to_string().as_str()), ($text, $text));
                assert_eq!(serde_json::to_string(value).expect("JSON"), json);
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.chars().count() < 300 && !message.contains(char::is_control));
            }
        }
        parsed.ok()
    }};
}

fuzz_target!(|text: &str| {
    if let Some(did) = parse!(Did, text) {
        assert!(did.as_str().len() <= 2048 && did.as_str().ends_with(did.identifier()));
        assert_eq!(did.method() == DidMethod::Plc, text.starts_with("did:plc:"));
    }
    if let Some(handle) = parse!(Handle, text) {
        let lower = handle.to_lowercase();
        assert_eq!(Handle::parse(lower.as_str()).as_ref(), Ok(&lower));
        assert_eq!(lower.to_lowercase(), lower);
    }
    let nsid = parse!(Nsid, text);
    if let Some(nsid) = &nsid {
        assert_eq!(NsidPattern::parse(text), Ok(NsidPattern::Exact(nsid.clone())));
        assert!(RecordKey::parse(text).is_ok(), "an NSID is a record key");
    }
    if let Some(rkey) = parse!(RecordKey, text) {
        assert!(!rkey.as_str().contains('/') && rkey.as_str().len() <= 512);
    }
    if let Some(rev) = parse!(Rev, text) {
        assert!(RecordKey::parse(text).is_ok(), "a TID is a record key");
        let time = rev.timestamp_micros();
        assert!(time < 1 << 54);
        assert_eq!(fake_network::tid(time)[..11], text[..11], "the clock id is the last ten bits");
    }
});
