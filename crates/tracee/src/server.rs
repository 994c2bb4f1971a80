//! A task that waits in the stub for batches: how a batch gets to it and the answers back.

use crate::batch::{Answers, Arg, Batch, Data, Step, is_error};
use crate::control::{self, ENTRY_LEN};
use crate::error::{TraceeError, call};
use crate::{Result, StepId};
use rekindle_procfs::State;
use rekindle_sys::arch::{Entry, TABLE_END, entry_flags};
use rekindle_sys::shared::SharedArea;
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, futex, ptrace, signal};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// How often a wait for a task looks whether it has died.
const LIVENESS: Duration = Duration::from_millis(20);

/// How often we give way to the task before we sleep until it is done: most batches take less time than being woken.
pub(crate) const YIELDS: u32 = 100;

/// One task serving batches.
pub struct Server {
    tid: i32,
    area: SharedArea,
    /// Where the area lies in the task.
    remote: u64,
    /// Offset of the task's control block in the area.
    block: usize,
    /// Offset and length of the room for tables and data.
    arena: (usize, usize),
    /// What a command word holds while there is nothing to do.
    armed: u32,
    parity: usize,
    done: u32,
    /// Signals that stopped the task in the stub: to be sent again when it is let go.
    held_signals: Vec<i32>,
}

impl Server {
    /// A task with its control block at `block` of `area` (which lies at `remote` in the task) and room for tables
    /// at `arena` (offset and length). Both command words are armed with `armed`.
    pub fn new(
        tid: i32,
        area: SharedArea,
        remote: u64,
        block: usize,
        arena: (usize, usize),
        armed: u32,
    ) -> Self {
        let server =
            Self { tid, area, remote, block, arena, armed, parity: 0, done: 0, held_signals: Vec::new() };
        for parity in [0, 1] {
            server.word(control::command_word(parity)).store(armed, Ordering::SeqCst);
        }
        server.word(control::PARK).store(armed, Ordering::SeqCst);
        server.area.store_u64(block + control::SELF, remote + block as u64);
        server
    }

    /// The same for a task whose tid was not known before.
    pub fn of_task(self, tid: i32) -> Self {
        Self { tid, ..self }
    }

    /// From now on tables and data lie at `arena` (offset and length).
    pub(crate) fn move_to(&mut self, arena: (usize, usize)) {
        self.arena = arena;
    }

    /// The task.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// The address of the control block in the task.
    pub fn remote_block(&self) -> u64 {
        self.remote + self.block as u64
    }

    /// Signals that arrived meanwhile and must be sent again.
    pub fn take_held_signals(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.held_signals)
    }

    pub(crate) fn held_signals_mut(&mut self) -> &mut Vec<i32> {
        &mut self.held_signals
    }

    pub(crate) fn word(&self, offset: usize) -> &std::sync::atomic::AtomicU32 {
        self.area.word(self.block + offset)
    }

    /// Executes a batch in the task. Results of earlier parts of a batch too long for the arena are known to later
    /// parts.
    pub fn run(&mut self, batch: &Batch) -> Result<Answers> {
        let mut answers = Answers::before(batch);
        while answers.results.len() < batch.steps.len() {
            let part = Part::lay_out(batch, &answers, self.arena.1, self.remote + self.arena.0 as u64);
            if part.count == 0 {
                let step = &batch.steps[answers.results.len()];
                return Err(self.step_error(step, Errno::TOOBIG));
            }
            self.area.write(self.arena.0, &part.bytes);
            self.area.store_u64(self.block + control::TABLE, self.remote + self.arena.0 as u64);
            self.command()?;
            self.await_done()?;
            self.collect(batch, &part, &mut answers)?;
        }
        Ok(answers)
    }

    /// Lays the first table of a thread that is yet to be cloned; it runs by itself as soon as the thread exists.
    pub fn prepare_first(&mut self, batch: &Batch) -> Result<()> {
        let part =
            Part::lay_out(batch, &Answers::before(batch), self.arena.1, self.remote + self.arena.0 as u64);
        if part.count < batch.steps.len() {
            return Err(self.step_error(&batch.steps[part.count], Errno::TOOBIG));
        }
        self.area.write(self.arena.0, &part.bytes);
        self.area.store_u64(self.block + control::TABLE, self.remote + self.arena.0 as u64);
        self.word(control::command_word(0)).store(0, Ordering::SeqCst);
        Ok(())
    }

    /// Tells which table a process that is yet to be cloned runs first.
    pub(crate) fn prepare_table(&mut self, table: u64) {
        self.area.store_u64(self.block + control::TABLE, table);
        self.word(control::command_word(0)).store(0, Ordering::SeqCst);
    }

    /// Waits for the table of [`Self::prepare_table`].
    pub(crate) fn await_first(&mut self) -> Result<()> {
        self.await_done()
    }

    /// Has the task begin a batch that it will not come to the end of.
    pub(crate) fn start(&mut self, batch: &Batch) -> Result<()> {
        let part =
            Part::lay_out(batch, &Answers::before(batch), self.arena.1, self.remote + self.arena.0 as u64);
        self.area.write(self.arena.0, &part.bytes);
        self.area.store_u64(self.block + control::TABLE, self.remote + self.arena.0 as u64);
        self.command()
    }

    /// Waits for the table of [`Self::prepare_first`].
    pub fn finish_first(&mut self, batch: &Batch) -> Result<Answers> {
        self.await_done()?;
        let part =
            Part::lay_out(batch, &Answers::before(batch), self.arena.1, self.remote + self.arena.0 as u64);
        let mut answers = Answers::before(batch);
        self.collect(batch, &part, &mut answers)?;
        Ok(answers)
    }

    fn command(&self) -> Result<()> {
        let word = self.word(control::command_word(self.parity));
        word.store(0, Ordering::SeqCst);
        call(self.tid, "waking the task", futex::wake(word, 1))
    }

    fn await_done(&mut self) -> Result<()> {
        let before = self.done;
        let mut yields = 0;
        loop {
            let now = self.word(control::DONE).load(Ordering::SeqCst);
            if now != before {
                self.done = now;
                break;
            }
            if yields < YIELDS {
                yields += 1;
                std::thread::yield_now();
                continue;
            }
            call(self.tid, "waiting for the task", futex::wait(self.word(control::DONE), now, LIVENESS))?;
            if self.word(control::DONE).load(Ordering::SeqCst) == before {
                self.look_after_it()?;
            }
        }
        self.word(control::command_word(self.parity)).store(self.armed, Ordering::SeqCst);
        self.parity ^= 1;
        Ok(())
    }

    /// Notices when the task dies or is stopped in the stub, as `SIGKILL` and `SIGSTOP` cannot be blocked.
    pub(crate) fn look_after_it(&mut self) -> Result<()> {
        match wait::poll(self.tid) {
            // A leader that has died is not reported before its other threads have been waited for.
            Ok(None) if !is_dead(self.tid) => Ok(()),
            Ok(None) | Err(Errno::CHILD) => Err(died(self.tid, "somebody killed it".into())),
            Ok(Some(event)) => self.resume_after(event),
            Err(errno) => Err(TraceeError::Call { tid: self.tid, what: "wait4", errno }),
        }
    }

    fn resume_after(&mut self, event: Event) -> Result<()> {
        self.resume_other(self.tid, event)
    }

    /// Lets a task in the stub run on after a stop that it could not help.
    pub(crate) fn resume_other(&mut self, tid: i32, event: Event) -> Result<()> {
        match event {
            Event::Exited(code) => Err(died(tid, format!("exit code {code}"))),
            Event::Killed(sig) => Err(died(tid, format!("killed by {}", signal::name(sig)))),
            Event::Signal(
                sig @ (libc_signals::SEGV | libc_signals::BUS | libc_signals::ILL | libc_signals::SYS),
            ) => Err(TraceeError::Unexpected { tid, event: signal::name(sig), during: "a batch" }),
            Event::Signal(sig) => {
                self.held_signals.push(sig);
                call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))
            }
            Event::Stop(_) | Event::PtraceEvent(_) | Event::SyscallStop | Event::Continued => {
                call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))
            }
        }
    }

    fn collect(&self, batch: &Batch, part: &Part, answers: &mut Answers) -> Result<()> {
        let reached = self.area.load_u64(self.block + control::REACHED);
        let index = reached.wrapping_sub(self.remote + self.arena.0 as u64) as usize / ENTRY_LEN;
        let mut bytes = vec![0; part.bytes.len()];
        self.area.read(self.arena.0, &mut bytes);
        part.read_back(&bytes, batch, answers);
        if index < part.count {
            let result = answers.results.get(part.first + index).copied().unwrap_or(0);
            let step = &batch.steps[part.first + index];
            return Err(self.step_error(step, Errno::from_raw_os_error(-(result as i64) as i32)));
        }
        Ok(())
    }

    fn step_error(&self, step: &Step, errno: Errno) -> TraceeError {
        TraceeError::Step { tid: self.tid, step: step.label.to_string(), errno }
    }
}

/// Whether a task is a zombie, or gone.
pub(crate) fn is_dead(tid: i32) -> bool {
    let stat = std::fs::read(format!("/proc/{tid}/stat")).ok();
    let stat = stat.and_then(|stat| rekindle_procfs::stat::parse(&stat).ok());
    stat.is_none_or(|stat| matches!(stat.state, State::Zombie | State::Dead))
}

fn died(tid: i32, how: String) -> TraceeError {
    TraceeError::Died { tid, how }
}

mod libc_signals {
    pub(super) const ILL: i32 = 4;
    pub(super) const BUS: i32 = 7;
    pub(super) const SEGV: i32 = 11;
    pub(super) const SYS: i32 = 31;
}

/// As much of a batch as fits into the arena: the table, then the data that its steps point to.
pub(crate) struct Part {
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) bytes: Vec<u8>,
    /// Which data lie where: steps that use the same data see one copy of them.
    placed: HashMap<Data, usize>,
}

impl Part {
    /// Lays out the steps that follow those already answered, for an arena of `room` bytes at `address` in the task.
    pub(crate) fn lay_out(batch: &Batch, answers: &Answers, room: usize, address: u64) -> Self {
        let first = answers.results.len();
        let (count, data_len) = Self::fitting(batch, first, room);
        let table_len = (count + 1) * ENTRY_LEN;
        let mut part = Self { first, count, bytes: vec![0; table_len], placed: HashMap::new() };
        part.bytes.reserve(data_len);
        for (i, step) in batch.steps[first..first + count].iter().enumerate() {
            let mut entry = Entry { nr: step.nr, flags: step.flags, ..Entry::default() };
            for (n, arg) in step.args.iter().enumerate() {
                let (value, flag) = part.resolve(*arg, n, batch, answers, address);
                entry.args[n] = value;
                entry.flags |= flag;
            }
            part.bytes[i * ENTRY_LEN..(i + 1) * ENTRY_LEN].copy_from_slice(entry.as_bytes());
        }
        let end = Entry { nr: TABLE_END, ..Entry::default() };
        part.bytes[count * ENTRY_LEN..table_len].copy_from_slice(end.as_bytes());
        part
    }

    /// How many steps from `first` on fit, and the bytes of data they need.
    fn fitting(batch: &Batch, first: usize, room: usize) -> (usize, usize) {
        let (mut count, mut data_len) = (0, 0);
        for step in &batch.steps[first..] {
            let data: usize = step
                .args
                .iter()
                .map(|arg| {
                    if let Arg::Address(d) | Arg::Loaded(d, _) = arg {
                        batch.len_with_pointees(*d)
                    } else {
                        0
                    }
                })
                .sum();
            if (count + 2) * ENTRY_LEN + data_len + data > room {
                break;
            }
            count += 1;
            data_len += data;
        }
        (count, data_len)
    }

    fn resolve(&mut self, arg: Arg, n: usize, batch: &Batch, answers: &Answers, address: u64) -> (u64, u32) {
        match arg {
            Arg::Value(value) => (value, 0),
            Arg::Result(StepId(step)) if step < self.first => (answers.results[step], 0),
            Arg::Result(StepId(step)) => {
                let slot = (step - self.first) * ENTRY_LEN + std::mem::offset_of!(Entry, result);
                (address + slot as u64, entry_flags::indirect(n))
            }
            Arg::Address(data) => (address + self.place(data, batch, answers, address) as u64, 0),
            Arg::Loaded(data, offset) => {
                let at = self.place(data, batch, answers, address) + offset;
                (address + at as u64, entry_flags::indirect(n))
            }
        }
    }

    /// Puts data, and what they point to, behind the table; tells where.
    fn place(&mut self, d: Data, batch: &Batch, answers: &Answers, address: u64) -> usize {
        if let Some(at) = self.placed.get(&d) {
            return *at;
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&answers.data[d.offset..d.offset + d.len]);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.placed.insert(d, at);
        for (_, offset, target) in batch.pointers.iter().filter(|(data, ..)| *data == d) {
            let pointee = address + self.place(*target, batch, answers, address) as u64;
            self.bytes[at + offset..at + offset + 8].copy_from_slice(&pointee.to_le_bytes());
        }
        at
    }

    /// Takes results and data out of the memory of the task.
    pub(crate) fn read_back(&self, bytes: &[u8], batch: &Batch, answers: &mut Answers) {
        for i in 0..self.count {
            let entry =
                Entry::read_from_bytes(&bytes[i * ENTRY_LEN..(i + 1) * ENTRY_LEN]).unwrap_or_default();
            answers.results.push(entry.result);
            let may_fail = batch.steps[self.first + i].flags & entry_flags::MAY_FAIL != 0;
            if is_error(entry.result) && !may_fail {
                break;
            }
        }
        for (data, at) in &self.placed {
            answers.data[data.offset..data.offset + data.len].copy_from_slice(&bytes[*at..*at + data.len]);
        }
    }
}
