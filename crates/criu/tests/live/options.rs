//! Options that change what a dump or a restore does: connections, watched files, who is told, which group stops the tree.

use super::{ECHO, bad_log, criu, dump, goes_on, log, restore, silent, start, tree};
use rekindle_tests::deadline::{Deadline, STEP};
use rekindle_tests::ensure;
use rekindle_tests::program::{Process, Program, await_gone};
use rekindle_tests::rekindle::{self, Outcome};
use rekindle_tests::scene::Scene;
use rekindle_tests::trial::{Context as _, Verdict, needs, needs_root};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// With `--tcp-close`, of a dump or of a restore, the program finds its connection closed; so does its other end.
pub(super) fn connections_are_closed(by: &str) -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let script = format!(
        "exec 5<>/dev/tcp/127.0.0.1/{}; echo ready; \
         while read line; do [ $line != end ] || {{ read -u 5 word; echo \"status $? $word\"; }}; echo \"got $line\"; done",
        listener.local_addr()?.port()
    );
    let mut program = start(&scene, &format!("exec bash -c '{script}'"))?;
    let pid = program.pid();
    let (mut other, _) = listener.accept()?;
    other.set_read_timeout(Some(STEP))?;
    let closes = |command: &str| if command == by { vec!["--tcp-close"] } else { vec![] };
    silent(rekindle::run(&mut dump(&program, &scene, &closes("dump"))?)?).context(log(&scene, "dump.log"))?;
    program.await_killed()?;
    let mut program = restore(pid, &scene, &closes("restore"))?;
    program.tell("end", "status 1")?;
    ensure!(program.line()? == "got end", "it does not go on");
    let _ = other.write_all(b"anybody there?"); // which fails, or finds out
    let answer = other.read(&mut [0; 16]);
    let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
    ensure!(matches!(answer, Ok(0)) || answer.as_ref().is_err_and(is_reset), "the other end: {answer:?}");
    Ok(())
}

/// A server that accepts when told.
const SERVER: &str = r#"
import socket, sys
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen(5)
print("ready", flush=True)
for line in sys.stdin:
    if line == "port\n": print(listening.getsockname()[1], flush=True)
    elif line == "accept\n": listening.accept()[0].sendall(b"welcome")
    print("got", line.strip(), flush=True)
"#;

pub(super) fn connections_in_flight_are_skipped() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    fs::write(scene.directory().join("server.py"), SERVER)?;
    let mut program = start(&scene, "exec python3 server.py")?;
    let pid = program.pid();
    program.say("port")?;
    let port: u16 = program.line()?.parse()?;
    ensure!(program.line()? == "got port", "it does not go on");
    program.await_still()?;
    let mut early = TcpStream::connect(("127.0.0.1", port))?;
    early.set_read_timeout(Some(STEP))?;
    let outcome = rekindle::run(&mut dump(&program, &scene, &[])?)?;
    ensure!(outcome.status.exit_status() == Some(1), "{outcome}");
    bad_log(&scene, "dump.log", "connections wait to be accepted")?;
    silent(rekindle::run(&mut dump(&program, &scene, &["--skip-in-flight"])?)?)
        .context(log(&scene, "dump.log"))?;
    program.await_killed()?;
    ensure!(early.read(&mut [0; 16]).is_err(), "the one in flight was not reset");
    let mut program = restore(pid, &scene, &[])?;
    let mut late = TcpStream::connect(("127.0.0.1", port))?;
    late.set_read_timeout(Some(STEP))?;
    goes_on(&mut program, "accept")?;
    let mut word = [0; 7];
    late.read_exact(&mut word)?;
    ensure!(&word == b"welcome", "it says {}", word.escape_ascii());
    Ok(())
}

/// In /proc, whose files no handle leads to, and whose names are far from all that the program has open.
pub(super) fn watched_files_are_searched_where_told() -> Verdict {
    const WATCHER: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None)
watching = libc.inotify_init()
assert libc.inotify_add_watch(watching, b"/proc/sys/net/ipv4/conf/lo/forwarding", 0x20) == 1
print("ready", flush=True)
for line in sys.stdin:
    if line == "look\n":
        open("/proc/sys/net/ipv4/conf/lo/forwarding").close()
        assert len(os.read(watching, 16)) == 16
    print("got", line.strip(), flush=True)
"#;
    let scene = Scene::new()?;
    fs::write(scene.directory().join("watcher.py"), WATCHER)?;
    let mut program = start(&scene, "exec python3 watcher.py")?;
    let pid = program.pid();
    let words = ["--force-irmap", "--irmap-scan-path", "/proc/sys/net/ipv4/conf/lo"];
    silent(rekindle::run(&mut dump(&program, &scene, &words)?)?).context(log(&scene, "dump.log"))?;
    program.await_killed()?;
    goes_on(&mut restore(pid, &scene, &[])?, "look")
}

pub(super) fn the_status_descriptor_is_told() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid().as_raw_nonzero();
    let told = |words: &str| -> Verdict<(Outcome, Vec<u8>)> {
        let mut command = Command::new("/bin/sh");
        let line = format!("exec \"$0\" {words} --status-fd 9 9>told");
        command
            .args(["-c", &line, env!("CARGO_BIN_EXE_criu")])
            .current_dir(scene.images()?)
            .stdin(Stdio::null());
        let outcome = rekindle::run(&mut command)?;
        Ok((outcome, fs::read(scene.images()?.join("told"))?))
    };
    let (outcome, bytes) = told("dump -t 2147483647 -o log")?;
    ensure!(outcome.status.exit_status() == Some(1) && bytes.is_empty(), "{outcome}, told {bytes:?}");
    let (outcome, bytes) = told(&format!("dump -t {pid} -o log"))?;
    ensure!(silent(outcome).is_ok() && bytes == [0], "told {bytes:?}: {}", log(&scene, "log"));
    program.await_killed()?;
    let (outcome, bytes) = told("restore -d -o log")?;
    ensure!(silent(outcome).is_ok() && bytes == [0], "told {bytes:?}: {}", log(&scene, "log"));
    drop(Process::of(program.pid())?); // which ends it
    let closed = rekindle::run(&mut criu(&scene, &["restore", "-d", "-v1", "--status-fd", "77"])?)?;
    ensure!(closed.stderr.contains("--status-fd 77: there is no such descriptor"), "{closed}");
    Ok(())
}

pub(super) fn each_process_has_a_log() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, &format!("sleep 1000 & {ECHO}"))?;
    let pids = tree(program.pid())?;
    silent(rekindle::run(&mut dump(&program, &scene, &["--log-pid"])?)?).context(log(&scene, "dump.log"))?;
    program.await_killed()?;
    pids.iter().try_for_each(|pid| await_gone(*pid))?;
    let mut program = restore(program.pid(), &scene, &["--log-pid"])?;
    for pid in pids {
        let pid = pid.as_raw_nonzero();
        for (name, says) in [("dump.log", "Dumped into"), ("restore.log", "Restored from")] {
            let log = log(&scene, &format!("{name}.{pid}"));
            ensure!(log.contains(&format!("pid {pid}: {says} ")), "{name}.{pid} says '{log}'");
        }
    }
    goes_on(&mut program, "logged")
}

/// A control group of the freezer's. Dropped, it is thawed and removed, and its members are back where they were.
struct Group(PathBuf);

impl Group {
    fn make() -> Verdict<Self> {
        let all = Path::new("/sys/fs/cgroup/freezer");
        needs(all.join("cgroup.procs").exists(), "the freezer of control groups, version 1")?;
        let group = Self(all.join(format!("rekindle-test.{}", std::process::id())));
        needs(fs::create_dir(&group.0).is_ok(), "the right to make control groups")?;
        Ok(group)
    }

    fn set(&self, state: &str) -> Verdict {
        fs::write(self.0.join("freezer.state"), state)?;
        Deadline::step(format!("the group to be {state}")).until(&[], || {
            Ok((fs::read_to_string(self.0.join("freezer.state"))?.trim_end() == state).then_some(()))
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.set("THAWED");
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            let _ = fs::write(self.0.with_file_name("cgroup.procs"), member); // it may have ended
        }
        let _ = fs::remove_dir(&self.0);
    }
}

pub(super) fn a_frozen_group_is_told() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, &format!("sleep 1000 & {ECHO}"))?;
    let group = Group::make()?;
    let words = ["-R", "--freeze-cgroup", &group.0.display().to_string()];
    let refused = |program: &Program, says: &str| -> Verdict {
        let outcome = rekindle::run(&mut dump(program, &scene, &words)?)?;
        ensure!(outcome.status.exit_status() == Some(1), "{outcome}");
        bad_log(&scene, "dump.log", says)
    };
    refused(&program, "is not in that group")?;
    for pid in tree(program.pid())? {
        fs::write(group.0.join("cgroup.procs"), pid.as_raw_nonzero().to_string())?;
    }
    silent(rekindle::run(&mut dump(&program, &scene, &words)?)?).context(log(&scene, "dump.log"))?;
    group.set("FROZEN")?;
    refused(&program, "the group is frozen")?;
    group.set("THAWED")?;
    goes_on(&mut program, "thawed")?;
    program.await_still()?;
    let nowhere = rekindle::run(&mut dump(&program, &scene, &["--freeze-cgroup", "/tmp"])?)?;
    ensure!(nowhere.status.exit_status() == Some(1), "{nowhere}");
    bad_log(&scene, "dump.log", "it is no control group with a freezer")
}
