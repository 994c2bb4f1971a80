//! The state letter of a task, which `status` and `stat` both print.

/// What a task is doing, as the kernel's one letter says it (proc_pid_stat(5), field 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// `R`: running, or waiting for a processor.
    Running,
    /// `S`: asleep, any signal wakes it.
    Sleeping,
    /// `D`: asleep, and only what it waits for wakes it (or, in `TASK_KILLABLE`, a fatal signal).
    DiskSleep,
    /// `T`: stopped by a signal (job control).
    Stopped,
    /// `t`: stopped by its tracer.
    TracingStop,
    /// `Z`: dead, not yet waited for.
    Zombie,
    /// `X`: dead; seen only in the instant before it is gone.
    Dead,
    /// `P`: parked (kernel threads).
    Parked,
    /// `I`: idle (kernel threads).
    Idle,
    /// A letter that this list does not know.
    Other(u8),
}

impl State {
    /// From the kernel's letter.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' => Self::Sleeping,
            b'D' => Self::DiskSleep,
            b'T' => Self::Stopped,
            b't' => Self::TracingStop,
            b'Z' => Self::Zombie,
            b'X' => Self::Dead,
            b'P' => Self::Parked,
            b'I' => Self::Idle,
            letter => Self::Other(letter),
        }
    }

    /// Whether the task has ended, be it waited for or not.
    #[must_use]
    pub const fn is_dead(self) -> bool {
        matches!(self, Self::Zombie | Self::Dead)
    }
}
