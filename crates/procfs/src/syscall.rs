//! `/proc/PID/syscall`: what a task waits for in the kernel (proc_pid_syscall(5)).
//!
//! ```text
//! running                                                 on a processor, or ready to be
//! 0 0x3 0x7fdcd4e8b000 0x20000 0x0 0x0 0x0 0x7ffd56b97568 0x7fdcd50072ad
//! nr arguments (six) ............................ sp      pc
//! -1 0x7ffd56b97568 0x7fdcd50072ad                        blocked, but not in a system call
//! ```

use crate::ParseError;
use crate::text::{At, lines, words};

const FILE: &str = "/proc/PID/syscall";

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Syscall {
    /// Not blocked.
    Running,
    /// Blocked in the kernel.
    Blocked {
        /// The number of the system call; -1 if it is not in one (page faults, kernel threads).
        nr: i64,
        /// Its arguments; zeros if `nr` is -1.
        args: [u64; 6],
        /// The stack pointer.
        sp: u64,
        /// The program counter.
        pc: u64,
    },
}

/// The file as a value.
///
/// # Errors
/// Anything but the three forms above.
pub fn parse(text: &[u8]) -> Result<Syscall, ParseError> {
    let Some((at, line)) = lines(FILE, text).next() else {
        return Err(At::file(FILE).bad("the file is empty"));
    };
    if line == b"running" {
        return Ok(Syscall::Running);
    }
    let mut words = words(line);
    let nr = at.signed(words.next(), "a system call's number")?;
    let mut args = [0; 6];
    if nr != -1 {
        for arg in &mut args {
            *arg = at.hex_0x(words.next(), "an argument")?;
        }
    }
    let sp = at.hex_0x(words.next(), "the stack pointer")?;
    let pc = at.hex_0x(words.next(), "the program counter")?;
    Ok(Syscall::Blocked { nr, args, sp, pc })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms() {
        assert_eq!(parse(b"running\n"), Ok(Syscall::Running));
        let blocked =
            parse(b"0 0x3 0x7fdcd4e8b000 0x20000 0x4 0xffffffffffffffff 0x0 0x7ffd56b97568 0x7fdcd50072ad\n");
        let args = [3, 0x7fdc_d4e8_b000, 0x20000, 4, u64::MAX, 0];
        assert_eq!(blocked, Ok(Syscall::Blocked { nr: 0, args, sp: 0x7ffd_56b9_7568, pc: 0x7fdc_d500_72ad }));
        let outside = parse(b"-1 0x7ffd56b97568 0x7fdcd50072ad\n");
        assert_eq!(
            outside,
            Ok(Syscall::Blocked { nr: -1, args: [0; 6], sp: 0x7ffd_56b9_7568, pc: 0x7fdc_d500_72ad })
        );
    }

    #[test]
    fn other_forms_are_refused() {
        assert_eq!(parse(b"").unwrap_err().what, "the file is empty");
        assert!(parse(b"0 0x3 0x4\n").is_err());
        assert!(parse(b"0 3 4 5 6 7 8 9 10\n").is_err());
        assert!(parse(b"asleep\n").is_err());
    }
}
