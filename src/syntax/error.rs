//! What is wrong with an identifier, in words fit for a log line or an API answer.

/// Text that is not the identifier that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{input}\" is not {kind}: {rule}")]
pub struct SyntaxError {
    input: Box<str>,
    kind: &'static str,
    rule: &'static str,
}

impl SyntaxError {
    /// `kind` with its article ("an NSID"), `rule` as what holds for every valid one ("it has at least three segments").
    pub(super) fn new(input: &str, kind: &'static str, rule: &'static str) -> SyntaxError {
        SyntaxError { input: printable(input, 80).into(), kind, rule }
    }
}

/// The text cut to `max_chars`, with everything that could harm a terminal or a log line shown as `?`.
pub fn printable(text: &str, max_chars: usize) -> String {
    let shown = |c: char| if c.is_control() || is_invisible(c) { '?' } else { c };
    let mut cut: String = text.chars().take(max_chars).map(shown).collect();
    if text.chars().nth(max_chars).is_some() {
        cut.push('…');
    }
    cut
}

/// Characters that reorder or hide the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_defanged() {
        assert_eq!(printable("plain", 10), "plain");
        assert_eq!(printable("red\u{1b}[31m\r\n", 20), "red?[31m??");
        assert_eq!(printable("a\u{202e}b", 10), "a?b");
        assert_eq!(printable("ééééé", 3), "ééé…");
        assert_eq!(printable("ééé", 3), "ééé");
    }

    #[test]
    fn message_names_the_input_the_kind_and_the_rule() {
        let error = SyntaxError::new("x", "an NSID", "it has at least three segments");
        assert_eq!(error.to_string(), "\"x\" is not an NSID: it has at least three segments");
    }
}
