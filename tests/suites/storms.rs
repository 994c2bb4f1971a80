//! Programs that are hard to stop. Those whose processes or threads come and go without pause, checkpointed again and again while they do: never does it
//! fail, and the program goes on, none of its children lost, none of them ended otherwise than it should. And those inside
//! vfork(2), which cannot be stopped until it is over.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rekindle_tests::deadline::Deadline;
use rekindle_tests::program::Program;
use rekindle_tests::random::{Random, number_from_env};
use rekindle_tests::rekindle::exit::{FAILED, REFUSED};
use rekindle_tests::rekindle::{self, checkpoint, checkpoint_and_kill, restore_detached};
use rekindle_tests::scene::Scene;
use rekindle_tests::subjects::{IN_VFORK, STORMS};
use rekindle_tests::trial::{Context as _, Verdict, run_one_at_a_time, trial};
use rekindle_tests::{ensure, fail, subjects::Subject};
use rustix::process::{Pid, Signal};

fn main() -> ExitCode {
    let mut trials = vec![
        trial("vfork::waited_for", vfork_waited_for),
        trial("vfork::without_end_is_refused", vfork_without_end_is_refused),
        trial("at_rest::but_for_a_moment_before_the_freeze", moves_before_the_freeze),
    ];
    for storm in STORMS {
        trials.push(trial(format!("{}::control", storm.name), || left_alone(storm)));
        trials.push(trial(format!("{}::checkpointed_while_it_goes_on", storm.name), || checkpointed(storm)));
        trials.push(trial(format!("{}::killed_and_restored", storm.name), || killed_and_restored(storm)));
    }
    run_one_at_a_time(trials)
}

/// How often each is checkpointed.
fn times() -> u64 {
    number_from_env("REKINDLE_TEST_STORMS", 20)
}

fn begun(storm: &Subject, scene: &Scene) -> Verdict<Program> {
    scene.images()?;
    let mut program = Program::start(&storm.executable()?, storm.arguments, scene)?;
    let line = program.line()?;
    ensure!(line == "storm", "it says '{line}'");
    goes_on(&program, scene)?;
    Ok(program)
}

/// The two counters of a storm.
fn counts(directory: &Path) -> Vec<u64> {
    let bytes = fs::read(directory.join("count")).unwrap_or_default();
    let words = bytes.as_chunks::<8>().0;
    words.iter().take(2).map(|word| u64::from_le_bytes(*word)).collect()
}

/// Both lines of work get on.
fn goes_on(program: &Program, scene: &Scene) -> Verdict {
    let start = counts(&scene.directory());
    let deadline = Deadline::after(Duration::from_secs(10), "the storm to go on");
    deadline.until(&[program.pid()], || {
        let ended = program.our_child().ends_within(Duration::ZERO)?;
        ensure!(!ended, "the program has ended: {}{}", program.our_child().how_it_ended(), program.errors());
        let now = counts(&scene.directory());
        Ok((now.len() == 2 && now.iter().zip(&start).all(|(now, start)| now > start)).then_some(()))
    })
}

fn left_alone(storm: &Subject) -> Verdict {
    let scene = Scene::new()?;
    begun(storm, &scene)?.go_on(Duration::ZERO)
}

fn checkpointed(storm: &Subject) -> Verdict {
    let scene = Scene::new()?;
    let program = begun(storm, &scene)?;
    let mut random = Random::named(storm.name);
    for round in 0..times() {
        let pause = Duration::from_micros(random.below(5000));
        ensure!(!program.our_child().ends_within(pause)?, "it has ended"); // any instant will do
        let made = rekindle::run(&mut checkpoint(program.pid(), &scene.image(), &[])?)?.succeeded();
        made.context(format!("checkpoint {round}"))?;
        goes_on(&program, &scene).context(format!("after checkpoint {round}"))?;
    }
    program.go_on(Duration::ZERO)
}

fn killed_and_restored(storm: &Subject) -> Verdict {
    let scene = Scene::new()?;
    let mut program = begun(storm, &scene)?;
    for round in 0..times() {
        let step = format!("round {round}");
        let pid = program.pid();
        checkpoint_and_kill(&mut program, &scene.image()).context(&step)?;
        program = restore_detached(pid, &scene.image(), &scene).context(&step)?;
        goes_on(&program, &scene).context(&step)?;
    }
    program.go_on(Duration::ZERO)
}

fn in_vfork(subject: &Subject, scene: &Scene) -> Verdict<Program> {
    scene.images()?;
    let mut program = Program::start(&subject.executable()?, subject.arguments, scene)?;
    let line = program.line()?;
    ensure!(line == "in vfork", "it says '{line}'");
    Ok(program)
}

/// The checkpoint waits until the child's child has executed its program.
fn vfork_waited_for() -> Verdict {
    let scene = Scene::new()?;
    let mut program = in_vfork(&IN_VFORK[0], &scene)?;
    let pid = program.pid();
    checkpoint_and_kill(&mut program, &scene.image())?;
    restore_detached(pid, &scene.image(), &scene)?.go_on(Duration::ZERO)
}

/// When that takes too long it is given up, which says who could not be stopped; the program goes on.
fn vfork_without_end_is_refused() -> Verdict {
    let scene = Scene::new()?;
    let program = in_vfork(&IN_VFORK[1], &scene)?;
    let mut command = checkpoint(program.pid(), &scene.image(), &["--kill", "--timeout", "1"])?;
    rekindle::run(&mut command)?.refused(&[FAILED, REFUSED], &["vfork", "1 s"])?;
    scene.no_image_left()?;
    program.go_on(Duration::ZERO)
}

/// A program that sleeps when it is looked at first, and wakes up before it is frozen: what it has done between is kept.
fn moves_before_the_freeze() -> Verdict {
    const SCRIPT: &str = "if True:
        import ctypes, mmap, signal
        memory = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        def change(*_):
            memory.madvise(mmap.MADV_DONTFORK)
            print('changed', flush=True)
        signal.signal(signal.SIGUSR1, change)
        print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory))), flush=True)
        while True: signal.pause()";
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = Program::start(Path::new("/usr/bin/python3"), &["-c", SCRIPT], &scene)?;
    let address = u64::from_str_radix(program.line()?.trim_start_matches("0x"), 16)?;
    let pid = program.pid();
    await_state(pid, "S (sleeping)")?;
    let mut command = checkpoint(pid, &scene.image(), &["--kill"])?;
    let run = rekindle::start(command.env("REKINDLE_FAULT", "checkpoint-surveyed:stop"))?;
    await_state(run.process().pid(), "T (stopped)")?;
    program.our_child().signal(Signal::USR1)?;
    let line = program.line()?;
    ensure!(line == "changed", "it says '{line}'");
    await_state(pid, "S (sleeping)")?;
    run.process().signal(Signal::CONT)?;
    run.outcome()?.succeeded()?;
    program.await_killed()?;
    drop(program);
    let restored = restore_detached(pid, &scene.image(), &scene)?;
    let flags = flags_of_mapping(pid, address)?;
    ensure!(flags.contains(" dc "), "what it asked for in the last moment is lost: {flags}");
    drop(restored);
    Ok(())
}

fn await_state(pid: Pid, state: &str) -> Verdict {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    Deadline::step(format!("a process to be {state}")).until(&[pid], || {
        Ok(fs::read_to_string(&path).is_ok_and(|status| status.contains(state)).then_some(()))
    })
}

/// The line `VmFlags` of the mapping that an address is in.
fn flags_of_mapping(pid: Pid, address: u64) -> Verdict<String> {
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", pid.as_raw_nonzero()))?;
    let mut lines = smaps.lines().skip_while(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let bound = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        !range.is_some_and(|(start, end)| bound(start) <= address && address < bound(end))
    });
    match lines.find(|line| line.starts_with("VmFlags:")) {
        Some(flags) => Ok(format!("{flags} ")),
        None => fail!("there is no mapping at {address:x}"),
    }
}
