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
    assert_eq!(merge(&[0xff; 20], &[Change { repo: 1, listed: None }]), Err(Damaged));
    assert_eq!(cut(&[0xff; 20], 1, 1), Err(Damaged));
}

proptest! {
    #[test]
    fn a_row_holds_what_was_put_into_it_and_not_what_was_taken_out(
        repos in prop::collection::btree_map(1_i64..200, "did:plc:[a-z2-7]{24}|did:web:[a-z.]{1,60}", 0..40),
        changes in prop::collection::btree_map(1_i64..250, prop::option::of("did:plc:[a-z2-7]{24}|did:web:[a-z.]{1,300}"), 1..40),
    ) {
        let named: Vec<Change> =
            changes.iter().map(|(repo, did)| Change { repo: *repo, listed: did.as_deref() }).collect();
        let chunk = packed(&repos);
        prop_assert_eq!(unpacked(&chunk), repos.clone().into_iter().collect::<Vec<_>>());
        let mut wanted = repos.clone();
        for Change { repo, listed } in &named {
            match listed {
                Some(did) => _ = wanted.entry(*repo).or_insert((*did).to_owned()),
                None => _ = wanted.remove(repo),
            }
        }
        let only_grew = wanted.keys().take(repos.len()).eq(repos.keys());
        let merged = (wanted != repos).then(|| Merged { bytes: packed(&wanted), only_grew });
        prop_assert_eq!(merge(&chunk, &named).unwrap(), merged);
    }

    #[test]
    fn a_row_is_cut_between_repos_where_it_is_enough_or_would_be_too_much(
        repos in prop::collection::btree_map(1_i64..1 << 34, "did:plc:[a-z2-7]{24}|did:web:[a-z.]{1,60}", 0..40),
        enough_bytes in 1_usize..300,
        more_bytes in 0_usize..100,
    ) {
        let most_bytes = enough_bytes + more_bytes;
        let pieces = cut(&packed(&repos), enough_bytes, most_bytes).unwrap();
        let parts: Vec<_> = pieces.iter().map(|piece| unpacked(&piece.bytes)).collect();
        prop_assert_eq!(parts.concat(), repos.into_iter().collect::<Vec<_>>());
        for (piece, part) in pieces.iter().zip(&parts) {
            prop_assert_eq!(part.last().map(|(repo, _)| *repo), Some(piece.last));
            prop_assert!(part.len() == 1 || piece.bytes.len() <= most_bytes);
        }
        for (piece, next) in pieces.iter().zip(pieces.iter().skip(1)) {
            let first_bytes = Entries::of(&next.bytes).next().unwrap().unwrap().most_bytes();
            prop_assert!(piece.bytes.len() >= enough_bytes || piece.bytes.len() + first_bytes > most_bytes);
        }
    }
}
