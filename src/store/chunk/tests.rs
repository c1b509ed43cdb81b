//! Rows of lists: what was put into them, and what is left of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn packed(repos: &BTreeMap<i64, String>) -> Vec<u8> {
    let mut writer = ChunkWriter::default();
    repos.iter().for_each(|(repo, did)| Entry::pack(*repo, did, |entry| writer.push(entry)));
    writer.bytes
}

fn unpacked(chunk: &[u8]) -> Vec<(i64, String)> {
    let text = |did: PackedDid| did.give(|text| String::from_utf8(text.to_vec()).unwrap());
    Entries::of(chunk).map(|entry| entry.map(|entry| (entry.repo, text(entry.did))).unwrap()).collect()
}

#[test]
fn a_plain_did_plc_takes_15_bytes_and_every_other_did_is_written_out() {
    for (did, is_packed) in [
        ("did:plc:abcdefghijklmnopqrstuvwx", true),
        ("did:plc:yz234567yz234567yz234567", true),
        ("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", true),
        ("did:plc:777777777777777777777777", true),
        ("did:plc:ABCDEFGHIJKLMNOPQRSTUVWX", false),
        ("did:plc:abcdefghijklmnopqrstuvw1", false),
        ("did:plc:abcdefghijklmnopqrstuvw", false),
        ("did:plc:abcdefghijklmnopqrstuvwxy", false),
        ("did:web:abcdefghijklmnopqrstuvwx", false),
        ("did:web:hold01.example.com", false),
    ] {
        Entry::pack(1, did, |entry| {
            assert_eq!(matches!(entry.did, PackedDid::Plc(_)), is_packed, "{did}");
            assert_eq!(entry.did.give(|text| text.to_vec()), did.as_bytes());
        });
    }
}

#[test]
fn a_damaged_row_is_an_error_wherever_it_is_cut() {
    let repos = BTreeMap::from([(5, "did:plc:abcdefghijklmnopqrstuvwx".to_owned()), (900, "did:web:a.b".to_owned())]);
    let chunk = packed(&repos);
    for length in (1..chunk.len()).filter(|length| *length != 16) {
        assert_eq!(Entries::of(&chunk[..length]).last(), Some(Err(Damaged)), "{length}");
    }
    assert_eq!(Entries::of(&[0xff; 20]).collect::<Vec<_>>(), [Err(Damaged)]);
    assert_eq!(with(&[0xff; 20], Entry { repo: 1, did: PackedDid::Text(b"did:web:a.b") }), Err(Damaged));
    assert_eq!(without(&[0xff; 20], 1), Err(Damaged));
}

proptest! {
    #[test]
    fn a_row_holds_what_was_put_into_it_and_not_what_was_taken_out(
        repos in prop::collection::btree_map(1_i64..1 << 34, "did:plc:[a-z2-7]{24}|did:web:[a-z.]{1,60}", 1..40),
        (repo, did) in (1_i64..1 << 34, "did:plc:[a-z2-7]{24}|did:web:[a-z.]{1,300}"),
        chosen in any::<prop::sample::Index>(),
    ) {
        let chunk = packed(&repos);
        prop_assert_eq!(unpacked(&chunk), repos.clone().into_iter().collect::<Vec<_>>());
        let known = *repos.keys().nth(chosen.index(repos.len())).unwrap();
        prop_assert_eq!(Entry::pack(known, &did, |entry| with(&chunk, entry)).unwrap(), None);
        let fewer = BTreeMap::from_iter(repos.clone().into_iter().filter(|(repo, _)| *repo != known));
        prop_assert_eq!(without(&chunk, known).unwrap(), Some(packed(&fewer)));
        if !repos.contains_key(&repo) {
            let mut more = repos.clone();
            more.insert(repo, did.clone());
            prop_assert_eq!(Entry::pack(repo, &did, |entry| with(&chunk, entry)).unwrap(), Some(packed(&more)));
            prop_assert_eq!(without(&chunk, repo).unwrap(), None);
        }
    }

    #[test]
    fn a_row_is_split_between_two_repos(
        repos in prop::collection::btree_map(1_i64..1 << 34, "did:plc:[a-z2-7]{24}|did:web:[a-z.]{1,60}", 1..40),
        (chosen, part) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let newest = *repos.keys().nth(chosen.index(repos.len())).unwrap();
        let Some(Halves { left, last_of_left, right }) = split(&packed(&repos), newest, part.index(packed(&repos).len())).unwrap() else {
            prop_assert_eq!(repos.len(), 1);
            return Ok(());
        };
        let (left, right) = (unpacked(&left), unpacked(&right));
        prop_assert_eq!(left.last().unwrap().0, last_of_left);
        prop_assert!(!right.is_empty());
        prop_assert_eq!([left, right.clone()].concat(), repos.clone().into_iter().collect::<Vec<_>>());
        if Some(&newest) == repos.keys().last() {
            prop_assert_eq!(right.len(), 1);
        }
    }
}
