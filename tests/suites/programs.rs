//! Real programs, unprepared: each runs once undisturbed, and once killed and restored five times on the way. Both must have
//! written the same bytes.
//!
//! How far a program is, is read from /proc or from what it writes, never guessed by time: a twelfth of the whole way lies
//! between two checkpoints, as the undisturbed run has measured it.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rekindle_tests::deadline::Deadline;
use rekindle_tests::family::descendants;
use rekindle_tests::program::Program;
use rekindle_tests::random::Random;
use rekindle_tests::rekindle::{self, restore};
use rekindle_tests::scene::Scene;
use rekindle_tests::tool::Tool;
use rekindle_tests::trial::{Context as _, Trouble, Verdict, run_one_at_a_time, trial};
use rekindle_tests::{ensure, fail};
use rustix::process::Pid;

/// How often each program is killed and restored.
const TIMES: u64 = 5;

/// Into how many steps the whole way is divided, with one checkpoint at the end of each of the first: twice as many as needed,
/// because a program that had to share the machine in its undisturbed run may be at its end sooner than that run says.
const STEPS: u64 = 2 * TIMES + 2;

/// What a gigabyte more or less may take on a busy machine.
const LONG_STEP: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let large = [trial("xz", xz), trial("sort", sort), trial("python3", python3)];
    let trees = [
        Tool::each("pipeline", pipeline),
        Tool::each("make", make),
        Tool::each("git_gc", git_gc),
        Tool::each("python3_pool", python3_pool),
    ];
    run_one_at_a_time(large.into_iter().chain(trees.into_iter().flatten()).collect())
}

/// A program, what it reads, and how to tell how far it is.
struct Case {
    executable: PathBuf,
    arguments: &'static [&'static str],
    /// Makes what it reads, in its working directory.
    prepare: fn(&Path) -> Verdict,
    /// The file it writes.
    output: &'static str,
    progress: fn(Pid, &Path) -> u64,
}

/// `xz -T2 -9`: over a gigabyte of memory, threads, a pipe to itself. It reads all at once, then computes.
fn xz() -> Verdict {
    killed_and_restored(
        Tool::Rekindle,
        &Case {
            executable: find("xz")?,
            arguments: &["-T2", "-9", "-kf", "words"],
            prepare: |directory| write_words(&directory.join("words"), 210_000_000),
            output: "words.xz",
            progress: |pid, _| cpu_ticks(pid),
        },
    )
}

/// `sort --parallel=2` over two million lines: short-lived threads, a dozen temporary files written and merged.
fn sort() -> Verdict {
    killed_and_restored(
        Tool::Rekindle,
        &Case {
            executable: find("sort")?,
            arguments: &["--parallel=2", "-S", "16M", "-T", ".", "-o", "sorted", "lines"],
            prepare: |directory| write_lines(&directory.join("lines"), 2_000_000),
            output: "sorted",
            progress: |pid, _| bytes_moved(pid),
        },
    )
}

/// Eight threads that hash 256 MiB, a mark in the file `marks` for each MiB.
fn python3() -> Verdict {
    const SCRIPT: &str = r#"
import hashlib, os, random, threading
marks = os.open("marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
data = [random.Random(i).randbytes(32 << 20) for i in range(8)]
sums = [None] * 8
def work(i):
    state = hashlib.sha3_512()
    for round in range(4):
        for at in range(0, len(data[i]), 1 << 20):
            state.update(memoryview(data[i])[at:at + (1 << 20)])
            os.write(marks, b".")
    sums[i] = state.hexdigest()
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with open("sums", "w") as out: print("\n".join(sums), file=out)
"#;
    killed_and_restored(
        Tool::Rekindle,
        &Case {
            executable: find_python()?,
            arguments: &["-c", SCRIPT],
            prepare: |_| Ok(()),
            output: "sums",
            progress: |_, directory| fs::metadata(directory.join("marks")).map_or(0, |file| file.len()),
        },
    )
}

/// A shell and five programs, with pipes between them. No line may be lost or doubled.
fn pipeline(tool: Tool) -> Verdict {
    const SCRIPT: &str = r#"
set -o pipefail
seq 1 1500000 | sed -e 's/^/line /' | awk '{ print $0, ($2 * 7919) % 1000003 }' | tr a-z A-Z | grep -v ' 77$' > lines
echo "ended with $?" >> lines
"#;
    killed_and_restored(
        tool,
        &Case {
            executable: find("bash")?,
            arguments: &["-c", SCRIPT],
            prepare: |_| Ok(()),
            output: "lines",
            progress: |_, directory| fs::metadata(directory.join("lines")).map_or(0, |file| file.len()),
        },
    )
}

/// `make -j3` of a few dozen C files, in flight: compilers and assemblers come and go.
fn make(tool: Tool) -> Verdict {
    find("cc")?;
    killed_and_restored(
        tool,
        &Case {
            executable: find("make")?,
            arguments: &["-j3", "program"],
            prepare: write_project,
            output: "program",
            progress: |_, directory| {
                let files = fs::read_dir(directory).into_iter().flatten().flatten();
                files.filter(|file| file.file_name().as_encoded_bytes().ends_with(b".o")).count() as u64
            },
        },
    )
}

/// `git gc` of a repository with some thousand objects; then git itself tells whether it is whole.
fn git_gc(tool: Tool) -> Verdict {
    find("git")?;
    const SCRIPT: &str = r#"
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
cd repository && git -c gc.autoDetach=false gc --quiet --aggressive && git fsck --full --strict >&2 || exit 1
git rev-list --all --objects | sort > ../objects && git status --porcelain >> ../objects
test "$(git count-objects)" = "0 objects, 0 kilobytes"
"#;
    killed_and_restored(
        tool,
        &Case {
            executable: find("bash")?,
            arguments: &["-c", SCRIPT],
            prepare: make_repository,
            output: "objects",
            progress: |pid, _| ticks_of_tree(pid),
        },
    )
}

/// A pool of four processes with queues and locks between them.
fn python3_pool(tool: Tool) -> Verdict {
    const SCRIPT: &str = r#"
import hashlib, multiprocessing, os
def work(number):
    state = hashlib.sha3_512()
    for i in range(400): state.update(bytes([number % 256]) * 5000 + str(i).encode())
    os.write(marks, b".")
    return number, state.hexdigest()
marks = os.open("marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
multiprocessing.set_start_method("fork")
with multiprocessing.Pool(4) as pool:
    with open("sums", "w") as out:
        for number, digest in pool.imap(work, range(600), chunksize=3): print(number, digest, file=out)
    pool.close()
    pool.join()
"#;
    killed_and_restored(
        tool,
        &Case {
            executable: find_python()?,
            arguments: &["-c", SCRIPT],
            prepare: |_| Ok(()),
            output: "sums",
            progress: |_, directory| fs::metadata(directory.join("marks")).map_or(0, |file| file.len()),
        },
    )
}

fn killed_and_restored(tool: Tool, case: &Case) -> Verdict {
    rekindle::binary()?; // say so before the long run
    let reference = Scene::new()?;
    (case.prepare)(&reference.directory()).context("making the input")?;
    let scene = Scene::new()?;
    link_all(&reference.directory(), &scene.directory()).context("copying the input")?;
    let whole_way = undisturbed(case, &reference).context("undisturbed")?;
    disturbed(tool, case, &scene, whole_way / STEPS)?;
    same_bytes(&reference.directory().join(case.output), &scene.directory().join(case.output))
}

/// Runs it to its end; returns how far the whole way is.
fn undisturbed(case: &Case, scene: &Scene) -> Verdict<u64> {
    let mut program = Program::start(&case.executable, case.arguments, scene)?;
    let (pid, directory) = (program.pid(), scene.directory());
    let mut furthest = 0;
    Deadline::after(LONG_STEP, "the undisturbed program to end").until(&[pid], || {
        furthest = furthest.max((case.progress)(pid, &directory));
        Ok(program.our_child().ends_within(Duration::from_millis(20))?.then_some(()))
    })?;
    let status = program.end()?;
    ensure!(status.exit_status() == Some(0), "it ended with {status:?}{}", program.errors());
    ensure!(furthest > 7, "its progress cannot be seen: {furthest}");
    Ok(furthest)
}

/// Runs it to its end, killed and restored each time it has come `step` further.
fn disturbed(tool: Tool, case: &Case, scene: &Scene, step: u64) -> Verdict {
    let mut program = Program::start(&case.executable, case.arguments, scene)?;
    for time in 1..=TIMES {
        await_progress(case, &program, scene, step).context(format!("before checkpoint {time}"))?;
        tool.checkpoint_and_kill_within(&mut program, scene, LONG_STEP)?;
        program = restored(tool, program.pid(), scene).context(format!("restore {time}"))?;
    }
    program.our_child().ended(&Deadline::after(LONG_STEP, "the program to end"))?;
    let status = program.end()?;
    ensure!(status.exit_status() == Some(0), "it ended with {status:?}{}", program.errors());
    Ok(())
}

fn await_progress(case: &Case, program: &Program, scene: &Scene, step: u64) -> Verdict {
    let (pid, directory) = (program.pid(), scene.directory());
    let start = (case.progress)(pid, &directory);
    Deadline::after(LONG_STEP, "the program to get on").until(&[pid], || {
        let (child, errors) = (program.our_child(), program.errors());
        ensure!(!child.ends_within(Duration::ZERO)?, "it ended too early: {}{errors}", child.how_it_ended());
        Ok((case.progress)(pid, &directory).checked_sub(start).is_some_and(|way| way >= step).then_some(()))
    })
}

/// By `rekindle` in the foreground, where it is back as soon as nobody traces it any more; by `criu` detached.
fn restored(tool: Tool, pid: Pid, scene: &Scene) -> Verdict<Program> {
    if tool == Tool::Criu {
        return tool.restore(pid, scene);
    }
    let mut command = restore(&tool.image(scene)?, &[])?;
    let (mut run, pipes) = rekindle::start_with_pipes(command.stdin(Stdio::piped()))?;
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    rekindle::await_restored(&mut run, pid, || {
        fs::read_to_string(&status).is_ok_and(|status| status.contains("\nTracerPid:\t0\n"))
    })?;
    Ok(Program::of_restorer(pid, run, pipes, scene))
}

fn same_bytes(expected: &Path, found: &Path) -> Verdict {
    let lengths = (fs::metadata(expected)?.len(), fs::metadata(found)?.len());
    ensure!(
        lengths.0 == lengths.1 && lengths.0 > 0,
        "undisturbed it wrote {} bytes, disturbed {}",
        lengths.0,
        lengths.1
    );
    let (mut expected, mut found) = (File::open(expected)?, File::open(found)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < lengths.0 {
        let count = expected.read(&mut left)?;
        found.read_exact(&mut right[..count])?;
        if let Some(offset) =
            left[..count].iter().zip(&right[..count]).position(|(left, right)| left != right)
        {
            fail!("the output differs from byte {} on", at + offset as u64);
        }
        at += count as u64;
    }
    Ok(())
}

// ---- how far a program is

/// utime and stime, proc_pid_stat(5); of a restored program since it was restored.
fn cpu_ticks(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The same of a program and all its descendants, those that have ended and been waited for included.
fn ticks_of_tree(root: Pid) -> u64 {
    let of = |pid: Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_ascii_whitespace().skip(11).take(4);
        times.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    of(root) + descendants(root).into_iter().map(of).sum::<u64>()
}

/// rchar and wchar, proc_pid_io(5).
fn bytes_moved(pid: Pid) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero())).unwrap_or_default();
    io.lines().take(2).filter_map(|line| line.split_once(": ")?.1.parse::<u64>().ok()).sum()
}

// ---- programs and what they read

fn find(name: &str) -> Verdict<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Trouble::Needs(name.to_owned()))
}

/// The interpreter itself: what is in PATH may be a script that looks for it.
fn find_python() -> Verdict<PathBuf> {
    let program = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = Command::new(find("python3")?).args(["-c", program]).output()?;
    match String::from_utf8(output.stdout) {
        Ok(path) if output.status.success() => Ok(PathBuf::from(path.trim_end())),
        _ => Err(Trouble::Needs("python3".to_owned())),
    }
}

/// Text that xz shrinks a hundredfold in a quarter of a minute: mostly long phrases that come again, some fresh lines.
fn write_words(path: &Path, bytes: usize) -> Verdict {
    let mut random = Random::named("words");
    let mut word =
        |_| (0..3 + random.below(9)).map(|_| char::from(b'a' + random.below(26).to_le_bytes()[0])).collect();
    let words: Vec<String> = (0..2000).map(&mut word).collect();
    let phrases: Vec<String> = words.chunks(25).map(|phrase| phrase.join(" ") + "\n").collect();
    let mut file = BufWriter::new(File::create(path)?);
    let mut random = Random::named("phrases");
    let mut pick =
        |from: &[String]| from[usize::try_from(random.next_u64() >> 32).unwrap_or(0) % from.len()].clone();
    let mut written = 0;
    for line in 0.. {
        let text =
            if line % 10 == 0 { (0..10).map(|_| pick(&words) + " ").collect() } else { pick(&phrases) };
        file.write_all(text.as_bytes())?;
        written += text.len();
        if written >= bytes {
            break;
        }
    }
    Ok(file.flush()?)
}

fn write_lines(path: &Path, count: u64) -> Verdict {
    let mut random = Random::named("lines");
    let mut file = BufWriter::new(File::create(path)?);
    for line in 0..count {
        writeln!(file, "{:016x} line {line} of two million", random.next_u64())?;
    }
    Ok(file.flush()?)
}

/// The files of a directory under the same names in another one.
fn link_all(from: &Path, to: &Path) -> Verdict {
    for entry in fs::read_dir(from)?.flatten() {
        let there = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&there)?;
            link_all(&entry.path(), &there)?;
        } else {
            fs::hard_link(entry.path(), there)?;
        }
    }
    Ok(())
}

fn write_project(directory: &Path) -> Verdict {
    const FILES: usize = 36;
    let objects: Vec<String> = (0..FILES).map(|file| format!("part{file}.o")).collect();
    let objects = objects.join(" ");
    let rules = format!("program: {objects}\n\tcc -o $@ {objects}\n%.o: %.c\n\tcc -O2 -c -o $@ $<\n");
    fs::write(directory.join("Makefile"), rules)?;
    for file in 0..FILES {
        let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for function in 0..20 {
            text += &format!(
                "int part{file}_{function}(int x, char *s) {{ int y = {function}; for (int i = 0; i < x; i++) y = y * {file} + \
                 s[i] % 7; if (y > x) printf(\"%d\\n\", y); return y ^ (int)strlen(s); }}\n"
            );
        }
        if file == 0 {
            text += "int main(int c, char **v) { return part0_1(c, v[0]) == 12345; }\n";
        }
        fs::write(directory.join(format!("part{file}.c")), text)?;
    }
    Ok(())
}

fn make_repository(directory: &Path) -> Verdict {
    let repository = directory.join("repository");
    fs::create_dir(&repository)?;
    let git = |arguments: &[&str]| -> Verdict {
        let mut command = Command::new(find("git")?);
        command.args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "gc.auto=0"]).args(arguments);
        command.env("HOME", directory).env("GIT_CONFIG_NOSYSTEM", "1").current_dir(&repository);
        let output = command.output()?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    git(&["init", "--quiet", "."])?;
    for round in 0..12 {
        for file in 0..40 {
            let path = repository.join(format!("file{file}"));
            let mut lines = BufWriter::new(File::create(&path)?);
            let mut random = Random::named(&format!("file {file}"));
            for line in 0..400 {
                let fresh = if line % 20 == round { round } else { 0 };
                writeln!(lines, "{:016x} {fresh} {line}", random.next_u64())?;
            }
            lines.flush()?;
        }
        git(&["add", "."])?;
        git(&["commit", "--quiet", "-m", "round"])?;
    }
    Ok(())
}
