//! Servers, unprepared: killed and restored three times, and asked each time what they know.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rekindle_tests::deadline::Deadline;
use rekindle_tests::program::Program;
use rekindle_tests::scene::Scene;
use rekindle_tests::tool::Tool;
use rekindle_tests::trial::{Context as _, Trouble, Verdict, needs_root, run_one_at_a_time};
use rekindle_tests::{ensure, fail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

fn main() -> ExitCode {
    run_one_at_a_time(Tool::each("postgres", postgres).into())
}

/// Six processes of another user that share memory of three kinds, wake each other by signals, and lock their files. What was
/// written before a checkpoint is there after it, and the log tells of no trouble.
fn postgres(tool: Tool) -> Verdict {
    needs_root()?;
    let server = Postgres::prepare()?;
    let scene = Scene::new()?;
    let mut program = server.start(&scene)?;
    server.await_ready(&program)?;
    server.ask("create table numbers (n int)")?;
    for round in 1..=3 {
        server.ask(&format!("insert into numbers values ({round})"))?;
        server.await_alone(program.pid())?;
        tool.checkpoint_and_kill(&mut program, &scene).context(format!("round {round}"))?;
        program = tool.restore(program.pid(), &scene).context(format!("round {round}"))?;
        let sum = server.ask("select sum(n) from numbers")?;
        ensure!(sum == (round * (round + 1) / 2).to_string(), "after round {round} the sum is {sum}");
    }
    program.our_child().signal(Signal::INT)?; // a fast shutdown
    let status = program.end()?;
    ensure!(status.exit_status() == Some(0), "it ended with {status:?}{}", program.errors());
    let log = program.errors();
    for trouble in ["PANIC", "terminated by", "recovery"] {
        ensure!(!log.contains(trouble), "the log tells of trouble{log}");
    }
    Ok(())
}

struct Postgres {
    programs: PathBuf,
    /// Everybody may look into it: the server is run by a user of its own.
    place: TempDir,
}

impl Postgres {
    /// A fresh cluster of databases.
    fn prepare() -> Verdict<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs =
            versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
        let Some(programs) = programs else { return Err(Trouble::Needs("postgresql".to_owned())) };
        let permissions = fs::Permissions::from_mode(0o755);
        let place =
            tempfile::Builder::new().prefix("rekindle-postgres.").permissions(permissions).tempdir()?;
        let server = Self { programs, place };
        for name in ["data", "sockets"] {
            let path = server.path(name);
            fs::create_dir(&path)?;
            ensure!(
                Command::new("chown").arg("postgres").arg(&path).status()?.success(),
                "there is no user postgres"
            );
        }
        let mut initialize = server.as_its_user(&server.programs.join("initdb"));
        let made = initialize.arg("-D").arg(server.path("data")).args(["-A", "trust", "-N"]).output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        Ok(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn as_its_user(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command.current_dir(self.place.path());
        command
    }

    fn start(&self, scene: &Scene) -> Verdict<Program> {
        let (data, sockets) = (self.path("data"), self.path("sockets"));
        let (postgres, data, sockets) =
            (self.programs.join("postgres"), data.to_string_lossy(), sockets.to_string_lossy());
        let postgres = postgres.to_string_lossy();
        let user = ["--reuid=postgres", "--regid=postgres", "--clear-groups", &postgres];
        let options = ["-D", &data, "-k", &sockets, "-c", "listen_addresses="];
        Program::start(Path::new("/usr/bin/setpriv"), &[&user[..], &options[..]].concat(), scene)
    }

    fn await_ready(&self, program: &Program) -> Verdict {
        Deadline::step("the server to answer").until(&[program.pid()], || {
            let ended = program.our_child().ends_within(std::time::Duration::ZERO)?;
            ensure!(!ended, "it ended{}", program.errors());
            Ok(self.ask("select 1").ok().map(drop))
        })
    }

    /// Sends a statement and gives the answer.
    fn ask(&self, statement: &str) -> Verdict<String> {
        let mut command = Command::new("psql");
        command.arg("-h").arg(self.path("sockets")).args(["-U", "postgres", "-Atc", statement]);
        let output = command.env("PGCONNECT_TIMEOUT", "5").output()?;
        if !output.status.success() {
            fail!("'{statement}': {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Waits until the process that has served our last connection is gone.
    fn await_alone(&self, server: Pid) -> Verdict {
        let pid = server.as_raw_pid();
        Deadline::step("the server to be alone").until(&[server], || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            let serves = |child: &str| {
                let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                line.starts_with(b"postgres: postgres") || line.is_empty()
            };
            Ok((!children.split_whitespace().any(serves)).then_some(()))
        })
    }
}
