//! `/proc/PID/timers`: the POSIX timers of a process (proc_pid_timers(5), timer_create(2); Linux 3.10,
//! CONFIG_CHECKPOINT_RESTORE). How far each has run is not here: timer_gettime(2) and timer_getoverrun(2) in the process
//! tell it.
//!
//! ```text
//! ID: 2
//! signal: 34/00007fff86e452a8
//! notify: signal/tid.6099
//! ClockID: 1
//! ```

use crate::ParseError;
use crate::text::{At, cut, lines, trim_start};

const FILE: &str = "/proc/PID/timers";

/// One timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// The `timer_t` of the kernel.
    pub id: i32,
    /// `sigev_signo`
    pub signal: i32,
    /// `sigev_value`: what the signal carries.
    pub value: u64,
    /// `sigev_notify`
    pub notify: Notify,
    /// Who is notified.
    pub target: Target,
    /// The clock, as clock_gettime(2) takes it; negative for processor-time clocks of a process or thread.
    pub clock: i32,
    /// Lines that this list does not know: name and value.
    pub rest: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How a timer notifies, but for `SIGEV_THREAD_ID`, which [`Target`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notify {
    /// `signal`: SIGEV_SIGNAL
    Signal,
    /// `none`: SIGEV_NONE
    None,
    /// `thread`: SIGEV_THREAD (to the kernel the same as a signal)
    Thread,
    /// Anything else, as it stands.
    Other(Vec<u8>),
}

/// Whom a timer notifies, as an id in the reader's pid namespace (0 if it is outside of that, or gone).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// `pid.N`: the process.
    Process(i32),
    /// `tid.N`: this thread (SIGEV_THREAD_ID).
    Thread(i32),
}

/// All timers, in the order of the file.
///
/// # Errors
/// A line without a colon or before the first `ID`, a timer that lacks one of the four lines, or a value of another
/// form than above.
pub fn parse(text: &[u8]) -> Result<Vec<Timer>, ParseError> {
    let mut timers = Vec::new();
    let mut open: Option<Open> = None;
    for (at, line) in lines(FILE, text) {
        let (name, value) = cut(line, b':').ok_or_else(|| at.expected("a name and a colon", line))?;
        let value = trim_start(value);
        if name == b"ID" {
            timers.extend(open.take().map(Open::close).transpose()?);
            open = Some(Open::new(at, value)?);
        } else {
            let open = open.as_mut().ok_or_else(|| at.expected("the ID of a timer", line))?;
            open.field(at, name, value)?;
        }
    }
    timers.extend(open.map(Open::close).transpose()?);
    Ok(timers)
}

/// A timer whose lines are not all read.
struct Open {
    at: At,
    id: i32,
    signal: Option<(i32, u64)>,
    notify: Option<(Notify, Target)>,
    clock: Option<i32>,
    rest: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Open {
    fn new(at: At, id: &[u8]) -> Result<Self, ParseError> {
        let id = at.signed(Some(id), "the ID of a timer")?;
        Ok(Self { at, id, signal: None, notify: None, clock: None, rest: Vec::new() })
    }

    fn field(&mut self, at: At, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        match name {
            b"signal" if self.signal.is_none() => self.signal = Some(signal(at, value)?),
            b"notify" if self.notify.is_none() => self.notify = Some(notify(at, value)?),
            b"ClockID" if self.clock.is_none() => self.clock = Some(at.signed(Some(value), "a clock")?),
            _ => self.rest.push((name.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn close(self) -> Result<Timer, ParseError> {
        let Self { at, id, signal, notify, clock, rest } = self;
        let missing = |name| at.bad(format!("timer {id} has no line {name}: cut short?"));
        let (signal, value) = signal.ok_or_else(|| missing("signal"))?;
        let (notify, target) = notify.ok_or_else(|| missing("notify"))?;
        Ok(Timer { id, signal, value, notify, target, clock: clock.ok_or_else(|| missing("ClockID"))?, rest })
    }
}

/// `34/00007fff86e452a8`
fn signal(at: At, text: &[u8]) -> Result<(i32, u64), ParseError> {
    let (signal, value) = cut(text, b'/').ok_or_else(|| at.expected("SIGNAL/VALUE", text))?;
    Ok((at.signed(Some(signal), "a signal")?, at.hex(Some(value), "a value (hexadecimal)")?))
}

/// `signal/tid.6099`
fn notify(at: At, text: &[u8]) -> Result<(Notify, Target), ParseError> {
    let bad = || at.expected("HOW/pid.PID or HOW/tid.TID", text);
    let (how, target) = cut(text, b'/').ok_or_else(bad)?;
    let how = match how {
        b"signal" => Notify::Signal,
        b"none" => Notify::None,
        b"thread" => Notify::Thread,
        other => Notify::Other(other.to_vec()),
    };
    match cut(target, b'.').ok_or_else(bad)? {
        (b"pid", id) => Ok((how, Target::Process(at.signed(Some(id), "a pid")?))),
        (b"tid", id) => Ok((how, Target::Thread(at.signed(Some(id), "a tid")?))),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
ID: 5
signal: 34/00007fff86e452a8
notify: thread/pid.6099
ClockID: -6
ID: 2
signal: 14/0000000000000000
notify: signal/tid.6100
ClockID: 1
ID: 1
signal: 0/ffffffffffffffff
notify: none/pid.6099
ClockID: 0
new: x y
";

    #[test]
    fn three_timers() {
        let timers = parse(SAMPLE).unwrap();
        let first = Timer {
            id: 5,
            signal: 34,
            value: 0x7fff_86e4_52a8,
            notify: Notify::Thread,
            target: Target::Process(6099),
            clock: -6,
            rest: vec![],
        };
        assert_eq!(timers[0], first);
        assert_eq!((&timers[1].notify, timers[1].target), (&Notify::Signal, Target::Thread(6100)));
        assert_eq!((&timers[2].notify, timers[2].value), (&Notify::None, u64::MAX));
        assert_eq!(timers[2].rest, [(b"new".to_vec(), b"x y".to_vec())]);
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn cut_and_broken_texts_are_refused() {
        assert_eq!(parse(&SAMPLE[..34]).unwrap_err().what, "timer 5 has no line notify: cut short?");
        assert!(parse(b"signal: 1/0\n").is_err());
        assert!(parse(b"ID: 1\nsignal: 1\n").is_err());
        assert!(parse(b"ID: 1\nnotify: signal/xid.1\n").is_err());
        assert!(parse(b"ID\n").is_err());
    }
}
