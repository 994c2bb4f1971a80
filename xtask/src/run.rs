//! Runs a program, and hands on its output line by line.
//!
//! Standard output and standard error share one pipe, so that lines keep their order. Two ways to hang are
//! cut short:
//!
//! - The program runs past the time limit. It is killed with everything it started.
//! - The program ends, and a process it left behind keeps the pipe open. Reading stops a few seconds later,
//!   and the caller is told: tests that leave processes behind are wrong.

use std::io::{BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a process left behind may keep the output open after the program has ended.
const GRACE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);
/// Lines read ahead of the caller before the program is made to wait.
const LINES_AHEAD: usize = 1024;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
    /// The time limit was reached.
    TimedOut,
    /// The program has ended, and something that it started still holds its output.
    LeftProcesses,
}

/// Runs `command` until it ends or `limit` is over, and passes each line of its output, with its line end, to
/// `line`.
pub(crate) fn stream(
    mut command: Command,
    limit: Option<Duration>,
    mut line: impl FnMut(&[u8]),
) -> Result<End> {
    let (reader, writer) = std::io::pipe().context("cannot create a pipe")?;
    command.stdout(writer.try_clone().context("cannot duplicate a pipe")?).stderr(writer);
    // With a terminal, the program stays in our process group: Ctrl-C reaches it, and it may read. Without
    // one, a group of its own lets us end all of it.
    let own_group = !std::io::stdin().is_terminal();
    if own_group {
        command.process_group(0);
    }
    let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    drop(command); // it holds the writing end of the pipe

    let (sender, lines) = mpsc::sync_channel(LINES_AHEAD);
    std::thread::spawn(move || read_lines(reader, &sender));
    let deadline = limit.map(|limit| Instant::now() + limit);
    Running { child, own_group, deadline }.follow(&lines, &mut line)
}

/// Writes a line of output to where ours goes.
pub(crate) fn echo(line: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    // Nobody left to read our output is no reason to stop what runs.
    let _ = stdout.write_all(line).and_then(|()| stdout.flush());
}

/// A program while it runs. It is not ended when this is dropped.
struct Running {
    child: Child,
    /// It leads a process group that everything it started is in, unless that left.
    own_group: bool,
    deadline: Option<Instant>,
}

impl Running {
    fn follow(mut self, lines: &Receiver<Vec<u8>>, line: &mut impl FnMut(&[u8])) -> Result<End> {
        let mut last_sign = Instant::now();
        loop {
            match lines.recv_timeout(TICK) {
                Ok(bytes) => {
                    line(&bytes);
                    last_sign = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.wait(),
            }
            let late = self.deadline.is_some_and(|deadline| Instant::now() > deadline);
            let ended = self.child.try_wait().context("cannot wait for the program")?.is_some();
            if ended && (late || last_sign.elapsed() > GRACE) {
                return Ok(End::LeftProcesses);
            }
            if late {
                self.kill();
                return Ok(End::TimedOut);
            }
        }
    }

    /// Waits for a program that has closed its output; one that lives on without is ended at the deadline.
    fn wait(&mut self) -> Result<End> {
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for the program")? {
                return Ok(if status.success() { End::Success } else { End::Failure });
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                self.kill();
                return Ok(End::TimedOut);
            }
            std::thread::sleep(TICK / 10);
        }
    }

    fn kill(&mut self) {
        if self.own_group {
            // The standard library cannot signal a group, and there is no unsafe code here to call the C
            // library.
            let group = format!("-{}", self.child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        }
        // Both can only fail because the program is gone, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end of the pipe; an unfinished last line is handed on too.
fn read_lines(reader: PipeReader, sender: &SyncSender<Vec<u8>>) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if sender.send(line).is_err() => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (End, Vec<String>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let end = stream(command, Some(limit), |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (end.unwrap(), lines)
    }

    #[test]
    fn both_outputs_arrive_in_order_with_the_unfinished_last_line() {
        let (end, lines) = shell("echo a; echo b >&2; printf c", Duration::from_secs(60));
        assert_eq!(end, End::Success);
        assert_eq!(lines, ["a\n", "b\n", "c"]);
    }

    #[test]
    fn a_failure_is_told() {
        assert_eq!(shell("exit 3", Duration::from_secs(60)).0, End::Failure);
    }

    #[test]
    fn a_program_past_its_limit_is_ended() {
        let started = Instant::now();
        let (end, lines) = shell("echo a; exec sleep 60", Duration::from_millis(300));
        assert_eq!((end, lines), (End::TimedOut, vec!["a\n".to_owned()]));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_closes_its_output_is_waited_for() {
        assert_eq!(shell("exec >&- 2>&-; sleep 0.2; exit 3", Duration::from_secs(60)).0, End::Failure);
        assert_eq!(shell("exec >&- 2>&-; exec sleep 60", Duration::from_millis(300)).0, End::TimedOut);
    }

    #[test]
    fn a_process_left_behind_is_noticed() {
        let started = Instant::now();
        let (end, _) = shell("sleep 20 & exit 0", Duration::from_secs(60));
        assert_eq!(end, End::LeftProcesses);
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
