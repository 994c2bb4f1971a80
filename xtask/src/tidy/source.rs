//! Rust source with everything blanked out that is not code.
//!
//! The rules look for words such as `unsafe`; a comment or a string that mentions one is not a use of it.
//! This is a scanner, not a parser: it knows comments (nested ones too), strings, raw strings, and characters
//! apart from lifetimes. It cannot fail; source that does not compile may be blanked wrongly, and the
//! compiler will say so anyway.

/// Returns `source` with each byte of comments, strings and character literals replaced by a space; line ends
/// stay.
pub(super) fn code_only(source: &str) -> String {
    let mut scanner = Scanner { rest: source, code: String::with_capacity(source.len()) };
    while let Some(length) = scanner.next_length() {
        let (token, rest) = scanner.rest.split_at(length);
        if is_code(token) {
            scanner.code.push_str(token);
        } else {
            blank(token, &mut scanner.code);
        }
        scanner.rest = rest;
    }
    scanner.code
}

/// The words of `line`: maximal runs of letters, digits and underscores.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

impl Scanner<'_> {
    /// The length of the next token in bytes; `None` at the end.
    fn next_length(&self) -> Option<usize> {
        let rest = self.rest;
        let first = rest.chars().next()?;
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            '\'' => character(rest).unwrap_or(1),
            // A word as a whole, so that the `r` in `for"` or the `b` in `grab'` starts nothing.
            c if is_word(c) => raw_string(rest).unwrap_or_else(|| word(rest)),
            c => c.len_utf8(),
        };
        Some(length)
    }
}

fn is_code(token: &str) -> bool {
    let is_literal = token.len() > 1 && (token.ends_with(['"', '\'', '#']) || token.starts_with(['"', '\'']));
    !is_literal && !token.starts_with("//") && !token.starts_with("/*")
}

fn blank(token: &str, code: &mut String) {
    code.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| !is_word(c)).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        let step = if tail.starts_with("/*") {
            depth += 1;
            2
        } else if tail.starts_with("*/") {
            depth -= 1;
            2
        } else {
            tail.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character such as `'a'` or `'\n'`; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        let (_, _escaped) = characters.next()?;
        return characters.find(|&(_, c)| c == '\'').map(|(at, _)| at + 1);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

/// A raw string such as `r"..."`, `br#"..."#` or `cr"..."`; `None` for any other word.
fn raw_string(rest: &str) -> Option<usize> {
    let start = ["r", "br", "cr"].iter().find_map(|prefix| {
        let tail = rest.strip_prefix(prefix)?;
        tail.trim_start_matches('#').starts_with('"').then_some(prefix.len())
    })?;
    let quote = start + rest[start..].find('"')?;
    let end = format!("\"{}", &rest[start..quote]);
    let body = quote + 1;
    Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the code in `source`.
    fn code(source: &str) -> Vec<String> {
        let code = code_only(source);
        assert_eq!(code.lines().count(), source.lines().count(), "lines must stay: {code:?}");
        words(&code).map(str::to_owned).collect()
    }

    #[test]
    fn comments_are_blanked() {
        assert_eq!(code("a // b\nc /* d /* e */ f\n g */ h"), ["a", "c", "h"]);
    }

    #[test]
    fn strings_are_blanked() {
        assert_eq!(code(r#"a "b \" c" d b"e" f"#), ["a", "d", "b", "f"]);
        assert_eq!(code("a r#\"b \" c\"# d br\"e\\\" f"), ["a", "d", "f"]);
        assert_eq!(code("a \"b\n// c\" d"), ["a", "d"]);
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_are_code() {
        assert_eq!(code(r"a '\'' b '\u{1F}' c 'x' d '/' e '\\' f"), ["a", "b", "c", "d", "e", "f"]);
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), ["fn", "f", "a", "x", "a", "str"]);
    }

    #[test]
    fn raw_identifiers_and_words_before_quotes_are_code() {
        assert_eq!(code("r#type for\"x\" y"), ["r", "type", "for", "y"]);
    }

    #[test]
    fn unfinished_source_ends() {
        for source in ["/* a", "\"a", "r#\"a", "'", "'\\", "'a", "ü'ü'", "/*ü"] {
            code_only(source);
        }
    }
}
