//! Numbers as people write them.

/// `1234567` as `1,234,567`.
pub(super) fn grouped(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = String::from(if count < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 host`, `1,000 hosts`.
pub(super) fn many(count: i64, one: &str) -> String {
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_threes() {
        let counts = [0, 12, 999, 1000, 12_345, 1_234_567, -4_000];
        assert_eq!(counts.map(grouped), ["0", "12", "999", "1,000", "12,345", "1,234,567", "-4,000"]);
        assert_eq!([1, 2000].map(|count| many(count, "repo")), ["1 repo", "2,000 repos"]);
    }
}
