//! Sets of small numbers (processors, memory nodes) in the two forms that `/proc` prints: a mask in hexadecimal
//! (`Cpus_allowed: 00000003,ffffffff`) and a list of ranges (`Cpus_allowed_list: 0-33`).

use crate::text::{cut, radix};

/// A set as a mask, in words of 32 bits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mask {
    /// The words, lowest first: bit 0 of word 0 is number 0. (The kernel prints the highest word first.)
    pub words: Vec<u32>,
}

impl Mask {
    /// The kernel's text: groups of hexadecimal digits of 32 bits each, highest first, between commas.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let groups = text.rsplit(|byte| *byte == b',');
        let words: Option<_> = groups.map(|digits| radix(digits, 16)?.try_into().ok()).collect();
        Some(Self { words: words? })
    }

    /// Whether `number` is in the set.
    #[must_use]
    pub fn contains(&self, number: usize) -> bool {
        self.words.get(number / 32).is_some_and(|word| word >> (number % 32) & 1 == 1)
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.words.len() * 32).filter(|number| self.contains(*number))
    }

    /// The mask in bytes, little-endian, as sched_setaffinity(2) and set_mempolicy(2) take it on a little-endian machine.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// A set as a list of ranges, both ends included, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(pub Vec<(u32, u32)>);

impl Ranges {
    /// The kernel's text: `0-3,8`. Nothing is the empty set.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        text.split(|byte| *byte == b',').map(range).collect::<Option<_>>().map(Self)
    }

    /// Whether `number` is in the set.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// The numbers in the set, in the order of the text. A short hostile text can make this very long.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

fn range(text: &[u8]) -> Option<(u32, u32)> {
    let number = |digits| radix(digits, 10)?.try_into().ok();
    let (first, last) = cut(text, b'-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_printed_highest_first() {
        let mask = Mask::parse(b"3,00000000,80000001").unwrap();
        assert_eq!(mask.words, [0x8000_0001, 0, 3]);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [0, 31, 64, 65]);
        assert!(!mask.contains(4096));
        assert_eq!(&mask.to_le_bytes()[..4], [1, 0, 0, 0x80]);
        assert_eq!(Mask::parse(b""), None);
        assert_eq!(Mask::parse(b"100000000"), None);
        assert_eq!(Mask::parse(b"1,,1"), None);
    }

    #[test]
    fn ranges_keep_their_form() {
        let ranges = Ranges::parse(b"0-3,8").unwrap();
        assert_eq!(ranges.0, [(0, 3), (8, 8)]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert!(ranges.contains(2) && !ranges.contains(4));
        assert_eq!(Ranges::parse(b""), Some(Ranges::default()));
        assert_eq!(Ranges::parse(b"3-1"), None);
        assert_eq!(Ranges::parse(b"0,"), None);
    }
}
