//! `/proc/PID/pagemap`: one word of 64 bits per page of the address space, at offset `8 * (address / page size)`
//! (Documentation/admin-guide/mm/pagemap.rst).
//!
//! ```text
//! bit 63     present in memory              bits 0-54  page frame number, if present (0 without CAP_SYS_ADMIN)
//! bit 62     swapped out                    bits 0-4   type of swap, if swapped
//! bit 61     of a file or shared anonymous  bits 5-54  offset in swap, if swapped
//! bit 58     guard region (Linux 6.15)      bit 57     write-protected by userfaultfd (Linux 5.13)
//! bit 56     mapped exclusively (Linux 4.2) bit 55     soft-dirty
//! ```

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry(pub u64);

impl Entry {
    /// Whether the page is in memory.
    #[must_use]
    pub const fn present(self) -> bool {
        self.bit(63)
    }

    /// Whether the page is swapped out (or, as a migration entry, on its way elsewhere).
    #[must_use]
    pub const fn swapped(self) -> bool {
        self.bit(62)
    }

    /// Whether it is a page of a file or of shared anonymous memory; not so a changed page of a private mapping.
    #[must_use]
    pub const fn file_or_shared(self) -> bool {
        self.bit(61)
    }

    /// Whether it is a guard page (`MADV_GUARD_INSTALL`, Linux 6.15).
    #[must_use]
    pub const fn guard(self) -> bool {
        self.bit(58)
    }

    /// Whether userfaultfd write-protects it.
    #[must_use]
    pub const fn uffd_wp(self) -> bool {
        self.bit(57)
    }

    /// Whether it is mapped once only.
    #[must_use]
    pub const fn exclusive(self) -> bool {
        self.bit(56)
    }

    /// Whether it was written since `clear_refs`; always clear without CONFIG_MEM_SOFT_DIRTY.
    #[must_use]
    pub const fn soft_dirty(self) -> bool {
        self.bit(55)
    }

    /// The page frame number of a present page; `None` also when the kernel hides it (prints 0) from a reader without
    /// CAP_SYS_ADMIN.
    #[must_use]
    pub const fn pfn(self) -> Option<u64> {
        match self.0 & ((1 << 55) - 1) {
            0 => None,
            pfn if self.present() => Some(pfn),
            _ => None,
        }
    }

    /// Which swap area a swapped page is in, and where in it. Both 0 for a reader without CAP_SYS_ADMIN.
    #[must_use]
    pub const fn swap(self) -> Option<Swap> {
        if !self.swapped() {
            return None;
        }
        Some(Swap { kind: (self.0 & 0x1f) as u8, offset: (self.0 >> 5) & ((1 << 50) - 1) })
    }

    const fn bit(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// A place in swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Swap {
    /// The number of the swap area; the highest numbers are no areas but migration, poison and other markers.
    pub kind: u8,
    /// The page in that area.
    pub offset: u64,
}

/// The entries of a stretch of the file. Bytes behind the last whole entry are not looked at.
pub fn entries(bytes: &[u8]) -> impl ExactSizeIterator<Item = Entry> {
    bytes.as_chunks::<8>().0.iter().map(|entry| Entry(u64::from_ne_bytes(*entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_present_page() {
        let entry = Entry(1 << 63 | 1 << 61 | 1 << 56 | 1 << 55 | 0x1_2345);
        assert!(entry.present() && entry.file_or_shared() && entry.exclusive() && entry.soft_dirty());
        assert!(!entry.swapped() && !entry.uffd_wp() && !entry.guard());
        assert_eq!((entry.pfn(), entry.swap()), (Some(0x1_2345), None));
        assert_eq!(Entry(1 << 63).pfn(), None);
    }

    #[test]
    fn a_swapped_page() {
        let entry = Entry(1 << 62 | 1 << 57 | 77 << 5 | 3);
        assert_eq!((entry.pfn(), entry.swap()), (None, Some(Swap { kind: 3, offset: 77 })));
        assert!(entry.uffd_wp() && !entry.present());
        assert_eq!(Entry(u64::MAX).swap(), Some(Swap { kind: 31, offset: (1 << 50) - 1 }));
    }

    #[test]
    fn a_stretch() {
        let bytes: Vec<u8> =
            [1_u64 << 63, 0].iter().flat_map(|entry| entry.to_ne_bytes()).chain([1, 2]).collect();
        let present: Vec<bool> = entries(&bytes).map(Entry::present).collect();
        assert_eq!(present, [true, false]);
        assert_eq!(entries(&bytes).len(), 2);
    }
}
