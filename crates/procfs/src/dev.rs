//! Device numbers. `/proc` prints them in three ways: `fe:00` (hexadecimal: maps, locks), `254:0` (decimal:
//! mountinfo) and `fe00000` (the kernel's own `dev_t`, 12 bits major and 20 bits minor: fdinfo of inotify, epoll).

use crate::text::{cut, radix};

/// A device number in its two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Dev {
    /// Which driver (12 bits in today's kernels).
    pub major: u32,
    /// Which device of that driver (20 bits in today's kernels).
    pub minor: u32,
}

impl Dev {
    /// From the `sdev:` of fdinfo, which is the kernel's internal `dev_t` (include/linux/kdev_t.h: `MINORBITS` is 20).
    #[must_use]
    pub const fn from_kernel(dev: u32) -> Self {
        Self { major: dev >> 20, minor: dev & 0xf_ffff }
    }

    /// The number as stat(2) gives it in `st_dev`, by the rule of makedev(3).
    #[must_use]
    pub const fn to_st_dev(self) -> u64 {
        let (major, minor) = (self.major as u64, self.minor as u64);
        (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
    }

    /// From the number that stat(2) gives in `st_dev`, by the rule of major(3) and minor(3).
    #[must_use]
    pub const fn from_st_dev(dev: u64) -> Self {
        let major = (dev >> 32 & 0xffff_f000) | (dev >> 8 & 0xfff);
        let minor = (dev >> 12 & 0xffff_ff00) | (dev & 0xff);
        Self { major: major as u32, minor: minor as u32 }
    }

    /// `MAJOR:MINOR` in base 10 or 16.
    pub(crate) fn parse(text: &[u8], base: u32) -> Option<Self> {
        let (major, minor) = cut(text, b':')?;
        let half = |digits| radix(digits, base)?.try_into().ok();
        Some(Self { major: half(major)?, minor: half(minor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_spellings_agree() {
        let dev = Dev { major: 254, minor: 3 };
        assert_eq!(Dev::parse(b"fe:03", 16), Some(dev));
        assert_eq!(Dev::parse(b"254:3", 10), Some(dev));
        assert_eq!(Dev::from_kernel(0xfe0_0003), dev);
        assert_eq!(dev.to_st_dev(), 0xfe03);
        assert_eq!(Dev::parse(b"fe", 16), None);
        assert_eq!(Dev::parse(b"1ffffffff:0", 16), None);
    }

    #[test]
    fn st_dev_goes_both_ways() {
        for dev in [
            Dev { major: 0, minor: 0xf_ffff },
            Dev { major: 0xfff, minor: 0x100 },
            Dev { major: 8, minor: 1 },
        ] {
            assert_eq!(Dev::from_st_dev(dev.to_st_dev()), dev);
        }
    }
}
