//! What all parsers share: lines, words, numbers, escapes, and errors that know where they stand.
//!
//! Everything works on bytes. Number readers are strict: no sign unless asked for, no `0x`, no white space, no
//! overflow.

use memchr::memchr;

use crate::ParseError;

/// A place in a file, from which errors are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) file: &'static str,
    pub(crate) line: usize,
}

impl At {
    /// The file as a whole.
    pub(crate) const fn file(file: &'static str) -> Self {
        Self { file, line: 0 }
    }

    pub(crate) fn bad(self, what: impl Into<String>) -> ParseError {
        ParseError { file: self.file, what: what.into(), line: self.line }
    }

    pub(crate) fn expected(self, wanted: &str, found: &[u8]) -> ParseError {
        self.bad(format!("expected {wanted}, found {}", quoted(found)))
    }

    /// The word itself, or a complaint that the line ended too early.
    pub(crate) fn word<'a>(self, word: Option<&'a [u8]>, wanted: &str) -> Result<&'a [u8], ParseError> {
        word.ok_or_else(|| self.bad(format!("the line ends where {wanted} should stand")))
    }

    pub(crate) fn dec<T: TryFrom<u64>>(self, word: Option<&[u8]>, wanted: &str) -> Result<T, ParseError> {
        self.number(word, wanted, |word| radix(word, 10))
    }

    pub(crate) fn hex<T: TryFrom<u64>>(self, word: Option<&[u8]>, wanted: &str) -> Result<T, ParseError> {
        self.number(word, wanted, |word| radix(word, 16))
    }

    pub(crate) fn oct<T: TryFrom<u64>>(self, word: Option<&[u8]>, wanted: &str) -> Result<T, ParseError> {
        self.number(word, wanted, |word| radix(word, 8))
    }

    /// `0x` and then hexadecimal digits.
    pub(crate) fn hex_0x<T: TryFrom<u64>>(self, word: Option<&[u8]>, wanted: &str) -> Result<T, ParseError> {
        self.number(word, wanted, |word| radix(word.strip_prefix(b"0x")?, 16))
    }

    pub(crate) fn signed<T: TryFrom<i64>>(self, word: Option<&[u8]>, wanted: &str) -> Result<T, ParseError> {
        self.number(word, wanted, signed)
    }

    fn number<N, T: TryFrom<N>>(
        self,
        word: Option<&[u8]>,
        wanted: &str,
        read: impl Fn(&[u8]) -> Option<N>,
    ) -> Result<T, ParseError> {
        let word = self.word(word, wanted)?;
        let value = read(word).and_then(|value| T::try_from(value).ok());
        value.ok_or_else(|| self.expected(wanted, word))
    }
}

/// How much of an offending text an error message repeats.
const QUOTE_LIMIT: usize = 60;

fn quoted(found: &[u8]) -> String {
    match found.get(..QUOTE_LIMIT) {
        Some(start) => format!("\"{}\"...", start.escape_ascii()),
        None => format!("\"{}\"", found.escape_ascii()),
    }
}

/// The lines of a file without their newlines; a last line may lack one.
pub(crate) fn lines<'a>(file: &'static str, text: &'a [u8]) -> impl Iterator<Item = (At, &'a [u8])> {
    let mut rest = text;
    let mut line = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (head, tail) = cut(rest, b'\n').unwrap_or((rest, &[]));
        rest = tail;
        line += 1;
        Some((At { file, line }, head))
    })
}

/// Splits at the first `byte`, which belongs to neither side.
pub(crate) fn cut(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Words between spaces and tabs. Kept as a struct so that what follows the words read so far can be taken whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// What has not been read yet, without the blanks in front of it.
    pub(crate) fn rest(self) -> &'a [u8] {
        trim_start(self.rest)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = trim_start(self.rest);
        if text.is_empty() {
            return None;
        }
        let end = text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

pub(crate) fn words(line: &[u8]) -> Words<'_> {
    Words { rest: line }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Without the spaces and tabs in front.
pub(crate) fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// Without the spaces and tabs around.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let end = text.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// A number in base 8, 10 or 16.
#[inline]
pub(crate) fn radix(word: &[u8], base: u32) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |value, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        value.checked_mul(u64::from(base))?.checked_add(u64::from(digit))
    })
}

/// A decimal number with or without a minus sign.
pub(crate) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        Some(digits) => 0_i64.checked_sub_unsigned(radix(digits, 10)?),
        None => radix(word, 10)?.try_into().ok(),
    }
}

/// A name of the form `kind:[inode]`, as the links in `/proc/PID/ns` and `/proc/PID/fd` read.
pub(crate) fn bracketed_inode(text: &[u8]) -> Option<(&[u8], u64)> {
    let (kind, rest) = cut(text, b':')?;
    let digits = rest.strip_prefix(b"[")?.strip_suffix(b"]")?;
    Some((kind, radix(digits, 10)?))
}

/// Undoes the `\ooo` escapes that the kernel makes of the bytes in `escaped`, and of no others.
///
/// The kernel escapes a chosen set of bytes per file. Where the backslash is in that set the text is unambiguous;
/// where it is not (`maps`: only the newline is), a name that holds a literal `\012` reads the same as one with
/// a newline, and whoever must be sure has to ask elsewhere (`/proc/PID/map_files`).
#[must_use]
pub fn unescape(text: &[u8], escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = cut(rest, b'\\') {
        out.extend_from_slice(head);
        let byte = tail.get(..3).and_then(octal_byte).filter(|byte| escaped.contains(byte));
        out.push(byte.unwrap_or(b'\\'));
        rest = if byte.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    out.extend_from_slice(rest);
    out
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    radix(digits, 8)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_strict() {
        assert_eq!(radix(b"18446744073709551615", 10), Some(u64::MAX));
        assert_eq!(radix(b"18446744073709551616", 10), None);
        assert_eq!(radix(b"", 10), None);
        assert_eq!(radix(b"+1", 10), None);
        assert_eq!(radix(b"fF", 16), Some(255));
        assert_eq!(radix(b"8", 8), None);
        assert_eq!(signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed(b"-9223372036854775809"), None);
        assert_eq!(signed(b"--1"), None);
        assert_eq!(signed(b"-"), None);
    }

    #[test]
    fn only_the_named_bytes_are_unescaped() {
        assert_eq!(unescape(br"a\012b\040c\134", b"\n"), b"a\nb\\040c\\134");
        assert_eq!(unescape(br"l\134\0542", b"\\,"), br"l\,2");
        assert_eq!(unescape(br"\134012", b"\\\n"), br"\012");
        assert_eq!(unescape(br"cut\01", b"\n\x01"), br"cut\01");
        assert_eq!(unescape(br"\777", b"\xff"), br"\777");
        assert_eq!(unescape(br"\\012", b"\n"), b"\\\n");
    }

    #[test]
    fn lines_need_no_final_newline_and_make_no_empty_one() {
        let seen: Vec<_> = lines("f", b"a\n\nb").map(|(at, line)| (at.line, line)).collect();
        assert_eq!(seen, [(1, &b"a"[..]), (2, b""), (3, b"b")]);
        assert_eq!(lines("f", b"a\n").count(), 1);
        assert_eq!(lines("f", b"").count(), 0);
    }

    #[test]
    fn words_leave_the_rest_whole() {
        let mut read = words(b"  one\ttwo   /a b ");
        assert_eq!(read.next(), Some(&b"one"[..]));
        assert_eq!(read.next(), Some(&b"two"[..]));
        assert_eq!(read.rest(), b"/a b ");
        assert_eq!(trim(b" \t x y \t"), b"x y");
        assert_eq!(trim(b"  "), b"");
    }

    #[test]
    fn errors_are_sentences() {
        let error = At { file: "/proc/PID/maps", line: 3 }.expected("a hexadecimal offset", b"zz\n");
        assert_eq!(
            error.to_string(),
            r#"/proc/PID/maps, line 3: expected a hexadecimal offset, found "zz\n""#
        );
        let error = At::file("/proc/PID/stat").bad("the file is empty");
        assert_eq!(error.to_string(), "/proc/PID/stat: the file is empty");
    }
}
