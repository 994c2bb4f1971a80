//! A process that runs batches for us goes on afterwards as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

use rekindle_sys::nr;
use rekindle_tracee::{Batch, Frozen, Hijack};
use std::process::{Child, Command};
use std::time::Duration;

struct Sleeper(Child);

impl Sleeper {
    fn spawn() -> Self {
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let sleeper = Self(child);
        while !sleeper.proc("syscall").starts_with("230 ") {
            std::thread::yield_now();
        }
        sleeper
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap_or_default()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mappings(pid: i32) -> Vec<rekindle_procfs::maps::Mapping> {
    rekindle_procfs::maps::parse(&std::fs::read(format!("/proc/{pid}/maps")).unwrap()).unwrap()
}

#[test]
fn a_batch_runs_inside_and_leaves_no_trace() {
    let sleeper = Sleeper::spawn();
    let (maps, syscall) = (sleeper.proc("maps"), sleeper.proc("syscall"));
    let vdso_mapping = mappings(sleeper.pid()).into_iter().find(|m| m.name == b"[vdso]").unwrap();
    let mut vdso = vec![0; 8192];
    rekindle_sys::vm::read(sleeper.pid(), vdso_mapping.start, &mut vdso).unwrap();

    let mut frozen = Frozen::freeze(sleeper.pid(), Duration::from_secs(5)).unwrap();
    let mappings = mappings(sleeper.pid());
    let mut hijack = Hijack::begin(&mut frozen, &mappings).unwrap();
    let mut batch = Batch::new();
    let path = batch.c_string(b"/dev/null");
    let open = batch.step("opening", nr::OPENAT, [(-100).into(), path.into(), 2.into()]);
    let close = batch.step("closing", nr::CLOSE, [open.into()]);
    let answers = hijack.run(&batch).unwrap();
    assert!(answers.result(open).unwrap() >= 3);
    assert_eq!(answers.result(close).unwrap(), 0);

    let mut failing = Batch::new();
    failing.step("closing nothing", nr::CLOSE, [999.into()]);
    let error = hijack.run(&failing).unwrap_err().to_string();
    assert!(error.contains("closing nothing: EBADF"), "{error}");
    assert_ne!(sleeper.proc("maps"), maps);
    hijack.end().unwrap();
    drop(frozen);

    while sleeper.proc("syscall") == "running\n" {
        std::thread::yield_now();
    }
    assert_eq!(sleeper.proc("maps"), maps);
    let after = sleeper.proc("syscall");
    // It sleeps on, in the call that the kernel restarted (restart_syscall is 219).
    assert!(after.starts_with("219 ") || after == syscall, "{after} was {syscall}");
    let mut vdso_after = vec![0; 8192];
    rekindle_sys::vm::read(sleeper.pid(), vdso_mapping.start, &mut vdso_after).unwrap();
    assert!(vdso == vdso_after);
}

#[test]
fn the_interrupted_sleep_goes_on_when_the_supervisor_dies() {
    let sleeper = Sleeper::spawn();
    let maps = sleeper.proc("maps");
    let pid = sleeper.pid();
    // A thread that ends without giving anything back is to the kernel what a killed process is: its tracees are
    // let go, its robust futexes marked.
    std::thread::spawn(move || {
        let mut frozen = Frozen::freeze(pid, Duration::from_secs(5)).unwrap();
        let mut hijack = Hijack::begin(&mut frozen, &mappings(pid)).unwrap();
        let mut batch = Batch::new();
        batch.step("yielding", nr::SCHED_YIELD, []);
        hijack.run(&batch).unwrap();
        std::mem::forget(hijack);
        std::mem::forget(frozen);
    })
    .join()
    .unwrap();
    while sleeper.proc("maps") != maps || !sleeper.proc("syscall").starts_with("230 ") {
        assert!(!sleeper.proc("stat").is_empty(), "it died");
        std::thread::yield_now();
    }
    assert!(sleeper.proc("status").contains("SigBlk:\t0000000000000000"));
}
