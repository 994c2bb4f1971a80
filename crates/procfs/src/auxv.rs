//! `/proc/PID/auxv`: the auxiliary vector that the kernel gave the program at execve(2), or that PR_SET_MM_AUXV or
//! PR_SET_MM_MAP replaced (proc_pid_auxv(5), getauxval(3)). Pairs of words of the machine; here those of 64 bits.

use crate::ParseError;
use crate::text::At;

/// All pairs (key, value) as they stand, the closing [`AT_NULL`] included if it is there. Empty for kernel threads and
/// zombies.
///
/// # Errors
/// The length is not a multiple of a pair's: cut short, or of a 32-bit program.
pub fn parse(bytes: &[u8]) -> Result<Vec<(u64, u64)>, ParseError> {
    let (words, left_over) = bytes.as_chunks::<8>();
    let (pairs, []) = words.as_chunks::<2>() else { return Err(odd_length(bytes.len())) };
    if !left_over.is_empty() {
        return Err(odd_length(bytes.len()));
    }
    Ok(pairs.iter().map(|[key, value]| (u64::from_ne_bytes(*key), u64::from_ne_bytes(*value))).collect())
}

fn odd_length(len: usize) -> ParseError {
    At::file("/proc/PID/auxv").bad(format!("{len} bytes are no whole number of pairs of 16 bytes"))
}

/// The value of the first pair with this key.
#[must_use]
pub fn get(pairs: &[(u64, u64)], key: u64) -> Option<u64> {
    pairs.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
}

macro_rules! keys {
    ($($name:ident $value:literal $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: u64 = $value;)*

        /// The name of a key, for messages.
        #[must_use]
        pub fn name(key: u64) -> Option<&'static str> {
            match key {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

// include/uapi/linux/auxvec.h, arch/x86/include/uapi/asm/auxvec.h
keys! {
    AT_NULL 0 "End of the vector.";
    AT_IGNORE 1 "To be skipped.";
    AT_EXECFD 2 "Descriptor of the program.";
    AT_PHDR 3 "Address of the program headers.";
    AT_PHENT 4 "Size of one program header.";
    AT_PHNUM 5 "Number of program headers.";
    AT_PAGESZ 6 "Page size in bytes.";
    AT_BASE 7 "Address of the interpreter (the dynamic loader); 0 if none.";
    AT_FLAGS 8 "Flags (1: the program was started with its name preserved by binfmt_misc).";
    AT_ENTRY 9 "Entry point of the program.";
    AT_NOTELF 10 "The program is not ELF.";
    AT_UID 11 "Real user id.";
    AT_EUID 12 "Effective user id.";
    AT_GID 13 "Real group id.";
    AT_EGID 14 "Effective group id.";
    AT_PLATFORM 15 "Address of a string that names the processor.";
    AT_HWCAP 16 "Features of the processor.";
    AT_CLKTCK 17 "Frequency of times(2), in Hz.";
    AT_SECURE 23 "Whether the program runs with privileges that its caller lacks.";
    AT_BASE_PLATFORM 24 "Address of a string that names the real processor.";
    AT_RANDOM 25 "Address of 16 random bytes.";
    AT_HWCAP2 26 "More features of the processor.";
    AT_RSEQ_FEATURE_SIZE 27 "Bytes of `struct rseq` that this kernel uses (Linux 6.3).";
    AT_RSEQ_ALIGN 28 "Alignment of `struct rseq` (Linux 6.3).";
    AT_HWCAP3 29 "More features of the processor (Linux 6.9).";
    AT_HWCAP4 30 "More features of the processor (Linux 6.9).";
    AT_EXECFN 31 "Address of the program's file name.";
    AT_SYSINFO 32 "Entry point for system calls (32-bit x86).";
    AT_SYSINFO_EHDR 33 "Address of the vDSO.";
    AT_MINSIGSTKSZ 51 "Least size of a signal stack (x86: Linux 5.14).";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_as_they_stand() {
        let words: [u64; 6] = [AT_SYSINFO_EHDR, 0x7ffe_0000_1000, 0x9999, u64::MAX, AT_NULL, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let pairs = parse(&bytes).unwrap();
        assert_eq!(pairs, [(33, 0x7ffe_0000_1000), (0x9999, u64::MAX), (0, 0)]);
        assert_eq!(get(&pairs, AT_SYSINFO_EHDR), Some(0x7ffe_0000_1000));
        assert_eq!(get(&pairs, AT_PHDR), None);
        assert_eq!(name(33), Some("AT_SYSINFO_EHDR"));
        assert_eq!(name(0x9999), None);
        assert!(parse(&bytes[..40]).is_err());
        assert!(parse(&bytes[..33]).is_err());
        assert!(parse(b"").unwrap().is_empty());
    }
}
