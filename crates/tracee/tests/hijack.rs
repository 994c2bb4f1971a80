//! A process that runs batches for us goes on afterwards as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

use rekindle_sys::nr;
use rekindle_tracee::{Batch, Frozen, Hijack};
use std::process::{Child, Command, Stdio};
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

/// More than answer at a time.
const THREADS: usize = 70;
/// gettid(2)
const GETTID: u32 = 186;
/// nanosleep(2)
const NANOSLEEP: u32 = 35;

/// Not a test of its own: the program with many threads of the test below.
#[test]
fn program_with_many_threads() {
    if std::env::var_os("REKINDLE_TEST_THREADS").is_none() {
        return;
    }
    for _ in 0..THREADS {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1000));
            }
        });
    }
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

fn thread_files(pid: i32, file: &str) -> Vec<(i32, String)> {
    let mut tids = rekindle_tracee::freeze::thread_ids(pid).unwrap_or_default();
    tids.sort_unstable();
    let read = |tid| std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).unwrap_or_default();
    tids.into_iter().map(|tid| (tid, read(tid))).collect()
}

fn sleeping_threads(pid: i32) -> usize {
    thread_files(pid, "syscall").iter().filter(|(_, call)| ["230 ", "219 "].contains(&&call[..4])).count()
}

/// Another test of this file as a program of its own.
fn spawn_test(name: &str, variable: &str, value: &str) -> Sleeper {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(variable, value);
    Sleeper(command.stdout(Stdio::null()).spawn().unwrap())
}

fn spawn_many_threads() -> Sleeper {
    let program = spawn_test("program_with_many_threads", "REKINDLE_TEST_THREADS", "1");
    // Those, and the one of the test; the harness has another, which waits for that with a time limit.
    while sleeping_threads(program.pid()) <= THREADS {
        std::thread::yield_now();
    }
    program
}

/// Waits until all sleep again, and looks whether they are as they were.
fn expect_unharmed(program: &Sleeper, maps: &str, masks: &[(i32, String)]) {
    let pid = program.pid();
    while sleeping_threads(pid) <= THREADS || program.proc("maps") != maps {
        assert!(!program.proc("stat").is_empty(), "it died");
        std::thread::yield_now();
    }
    assert_eq!(thread_masks(pid), masks);
}

#[test]
fn every_thread_answers_for_itself_and_sleeps_on() {
    let program = spawn_many_threads();
    let pid = program.pid();
    let (maps, masks) = (program.proc("maps"), thread_masks(pid));

    let mut frozen = Frozen::freeze(pid, Duration::from_secs(5)).unwrap();
    let others = frozen.tasks()[1..].to_vec();
    let mut hijack = Hijack::begin(&mut frozen, &mappings(pid)).unwrap();
    let mut batch = Batch::new();
    let name = batch.room(16);
    let get_name = batch.step("PR_GET_NAME", nr::PRCTL, [16.into(), name.into()]);
    let tid = batch.step("gettid", GETTID, []);
    let answers = hijack.ask(&others, &batch).unwrap();
    let tids: Vec<i32> = answers.iter().map(|answers| answers.result(tid).unwrap() as i32).collect();
    assert_eq!(tids, others.iter().map(|task| task.tid()).collect::<Vec<_>>());
    for answers in &answers {
        assert_eq!(answers.result(get_name), Ok(0));
        assert_ne!(answers.bytes(name)[0], 0);
    }
    hijack.end().unwrap();
    drop(frozen);
    expect_unharmed(&program, &maps, &masks);
}

/// Not a test of its own: the supervisor of the test below, which has every thread think long about its answer.
#[test]
fn supervisor_that_is_killed() {
    let Some(pid) = std::env::var("REKINDLE_TEST_SUPERVISE").ok().and_then(|pid| pid.parse().ok()) else {
        return;
    };
    let mut frozen = Frozen::freeze(pid, Duration::from_secs(5)).unwrap();
    let others = frozen.tasks()[1..].to_vec();
    let mut hijack = Hijack::begin(&mut frozen, &mappings(pid)).unwrap();
    let mut batch = Batch::new();
    let half_a_second = batch.data(&[0_u64, 500_000_000].map(u64::to_le_bytes).concat());
    batch.step("nanosleep", NANOSLEEP, [half_a_second.into(), 0.into()]);
    let _ = hijack.ask(&others, &batch);
}

#[test]
fn threads_sleep_on_when_the_supervisor_dies_while_they_answer() {
    let program = spawn_many_threads();
    let pid = program.pid();
    let (maps, masks) = (program.proc("maps"), thread_masks(pid));
    let supervisor = spawn_test("supervisor_that_is_killed", "REKINDLE_TEST_SUPERVISE", &pid.to_string());
    // 35 is nanosleep(2), which the program itself does not use.
    while !thread_files(pid, "syscall").iter().any(|(_, call)| call.starts_with("35 ")) {
        std::thread::yield_now();
    }
    drop(supervisor);
    expect_unharmed(&program, &maps, &masks);
}

fn thread_masks(pid: i32) -> Vec<(i32, String)> {
    let mask = |status: &String| status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned();
    thread_files(pid, "status").iter().map(|(tid, status)| (*tid, mask(status))).collect()
}
