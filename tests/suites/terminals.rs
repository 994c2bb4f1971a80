//! Programs on terminals, as a person at the keyboard meets them: checkpointed on one terminal, restored on another by
//! typing the command at a shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rekindle_tests::deadline::Deadline;
use rekindle_tests::family::descendants;
use rekindle_tests::program::{Program, await_gone};
use rekindle_tests::rekindle::{self, checkpoint, restore};
use rekindle_tests::scene::Scene;
use rekindle_tests::subjects::TTY_STREAM;
use rekindle_tests::terminal::{LineEditing, Terminal, find, turn};
use rekindle_tests::tool::Tool;
use rekindle_tests::trial::{Context as _, Verdict, run_one_at_a_time, trial};
use rekindle_tests::{compile, ensure, fail};
use rustix::process::Pid;

fn main() -> ExitCode {
    run_one_at_a_time(vec![
        trial("tty_stream", in_turn(tty_stream)),
        trial("tty_stream::detached", in_turn(tty_stream_detached)),
        trial("less", in_turn(less)),
        trial("bash_with_a_stopped_job", in_turn(bash_with_a_stopped_job)),
        trial("bash_under_script", in_turn(bash_under_script)),
        trial("bash_under_expect", in_turn(bash_under_expect)),
        trial("tmux", in_turn(|| tmux(Tool::Rekindle))),
        trial("tmux::criu", in_turn(|| tmux(Tool::Criu))),
        trial("name_is_taken", in_turn(name_is_taken)),
    ])
}

/// Names of pseudo-terminals are for one test at a time.
fn in_turn(test: fn() -> Verdict) -> impl Fn() -> Verdict + Send + 'static {
    move || {
        let _turn = turn()?;
        test()
    }
}

const SIZE: (u16, u16) = (24, 80);
const LARGER: (u16, u16) = (33, 100);
const BASH: [&str; 3] = ["--norc", "--noprofile", "-i"];
const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// A shell on a terminal, at which a restore is typed; it tells how that has ended.
fn restoring_shell(scene: &Scene) -> Verdict<Terminal> {
    let mut shell = shell_that_types(scene, "restore")?;
    shell.shows("code=$?")?;
    Ok(shell)
}

/// A shell on a terminal, at which a command over the image is typed. The line is a short one wherever the binary is: a shell
/// breaks what does not fit into the terminal's width.
fn shell_that_types(scene: &Scene, command: &str) -> Verdict<Terminal> {
    let name = scene.directory().join("rekindle");
    if !name.exists() {
        symlink(rekindle::binary()?, &name)?;
    }
    let mut shell = Terminal::start(&find("bash")?, &BASH, &scene.directory(), LARGER)?;
    shell.shows("$ ")?;
    shell.press(&format!("./rekindle {command} ../images/image; echo code=$?\n"))?;
    Ok(shell)
}

fn the_child(parent: Pid) -> Verdict<Pid> {
    Deadline::step("a child").until(&[parent], || Ok(descendants(parent).first().copied()))
}

/// All descriptors of the terminal it was started on are of the one that it is restored on, which has its settings until
/// it ends.
fn tty_stream() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut first = Terminal::start(&TTY_STREAM.executable()?, &[], &scene.directory(), SIZE)?;
    first.shows("save point")?;
    first.checkpoint_and_kill(&scene.image())?;
    let mut shell = restoring_shell(&scene)?;
    let restorer = the_child(shell.pid())?;
    shell.await_foreground(the_child(restorer)?)?;
    shell.press("go on\n")?;
    shell.shows("through the second")?;
    shell.shows("from the child")?;
    shell.shows("ok\r\n")?;
    shell.shows("code=0")?;
    shell.press("stty -a\n")?;
    shell.shows("intr = ^C")?;
    shell.press("exit 0\n")?;
    shell.ends_well()
}

/// Without a terminal, or rather with one that is its caller's: it gets nothing of what is typed there.
fn tty_stream_detached() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let cat = find("cat")?;
    let mut first = Terminal::start(&cat, &[], &scene.directory(), SIZE)?;
    first.press("first\n")?;
    first.shows("first\r\nfirst")?;
    let pid = first.pid();
    first.checkpoint_and_kill(&scene.image())?;
    let mut shell = shell_that_types(&scene, "restore --detach")?;
    shell.shows("code=0")?;
    // It finds the end of its input.
    await_gone(pid)?;
    shell.press("exit 0\n")?;
    shell.ends_well()
}

/// A program that fills the screen: it draws itself anew, in the size of the new terminal; Ctrl-Z gives the terminal back as
/// it was, and `fg` the program as that was.
fn less() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let lines: String = (0..1000).map(|line| format!("line {line}\n")).collect();
    fs::write(scene.directory().join("lines"), lines)?;
    let mut first = Terminal::start(&find("less")?, &["lines"], &scene.directory(), SIZE)?;
    first.shows("line 20")?;
    first.press("100g")?;
    first.shows("line 120")?;
    first.checkpoint_and_kill(&scene.image())?;
    let mut shell = restoring_shell(&scene)?;
    shell.shows("line 130\r\n:")?;
    shell.await_lines(LineEditing::Program)?;
    // While it draws, it takes notice of no Ctrl-Z before the next key.
    await_idle(the_child(the_child(shell.pid())?)?)?;
    shell.press(CTRL_Z)?;
    shell.shows("Stopped")?;
    shell.shows("$ ")?;
    shell.press("echo is:$(stty -a | grep -o -e '[-]*icanon'); fg\n")?;
    shell.shows("is:icanon")?;
    shell.shows("line 129")?;
    shell.press("500g")?;
    shell.shows("line 529")?;
    shell.press("q")?;
    shell.shows("$ ")?;
    shell.press("exit 0\n")?;
    shell.ends_well()
}

/// A shell that led the session of its terminal, with a job that Ctrl-Z had stopped.
fn bash_with_a_stopped_job() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut first = Terminal::start(&find("bash")?, &BASH, &scene.directory(), SIZE)?;
    first.shows("$ ")?;
    first.press("answer=forty-two; sleep 1000\n")?;
    let sleep = the_child(first.pid())?;
    first.await_foreground(sleep)?;
    await_program(sleep, "sleep")?;
    first.press(CTRL_Z)?;
    first.shows("Stopped")?;
    first.shows("$ ")?;
    first.await_foreground(first.pid())?;
    first.checkpoint_and_kill(&scene.image())?;
    let mut shell = restoring_shell(&scene)?;
    let restorer = the_child(shell.pid())?;
    let bash = the_child(restorer)?;
    shell.await_foreground(bash)?;
    shell.press("echo it is $answer; jobs\n")?;
    shell.shows("it is forty-two")?;
    shell.shows("Stopped")?;
    shell.press("fg\n")?;
    let sleep = the_child(bash)?;
    shell.await_foreground(sleep)?;
    shell.press(CTRL_Z)?;
    shell.shows("Stopped")?;
    shell.await_foreground(bash)?;
    shell.press("fg\n")?;
    shell.await_foreground(sleep)?;
    shell.press(CTRL_C)?;
    shell.await_foreground(bash)?;
    shell.press("echo status $?; stty size; exit 7\n")?;
    shell.shows("status 130")?;
    shell.shows("33 100")?;
    shell.shows("code=7")?;
    shell.press("exit 0\n")?;
    shell.ends_well()
}

/// A shell in a pseudo-terminal of script(1): its session, its variable, its size, three times in a row.
fn bash_under_script() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let bash = format!("{} --norc --noprofile -i", find("bash")?.display());
    let mut first =
        Terminal::start(&find("script")?, &["-qc", &bash, "/dev/null"], &scene.directory(), SIZE)?;
    first.press("answer=forty-two; PS1='> '; tty\n")?;
    first.shows("/dev/pts/")?;
    first.shows("> ")?;
    first.checkpoint_and_kill(&scene.image())?;
    let mut shell = restoring_shell(&scene)?;
    for round in ["one", "two"] {
        shell.press(&format!("echo {round} is $answer\n"))?;
        shell.shows(&format!("{round} is forty-two"))?;
        let script = the_child(the_child(shell.pid())?)?;
        let family = descendants(script);
        rekindle::run(&mut checkpoint(script, &scene.image(), &["--kill"])?)?.succeeded()?;
        family.into_iter().try_for_each(await_gone).context(round)?;
        shell.shows("code=137")?;
        drop(shell);
        shell = restoring_shell(&scene)?;
    }
    shell.resize((41, 97))?;
    Deadline::step("script to hear of the size").until(&[shell.pid()], || {
        shell.press("stty size\n")?;
        Ok(shell.shows("41 97").ok())
    })?;
    shell.press("exit 3\n")?;
    shell.shows("code=")?;
    shell.press("exit 0\n")?;
    shell.ends_well()
}

/// expect(1) has the master, and a shell the slave.
fn bash_under_expect() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let script =
        "spawn -noecho sh -c {stty -echo; answer=forty-two; echo ready; read line; echo it is $answer, $line}
        expect ready; gets stdin line; send \"$line\\r\"; expect -re {it is .*\\n}; expect eof; exit 5";
    let mut first = Terminal::start(&find("expect")?, &["-c", script], &scene.directory(), SIZE)?;
    first.shows("ready")?;
    let pid = first.pid();
    await_sleep(pid)?;
    first.checkpoint_and_kill(&scene.image())?;
    let mut shell = restoring_shell(&scene)?;
    let restorer = the_child(shell.pid())?;
    shell.await_foreground(the_child(restorer)?)?;
    shell.press("well\n")?;
    shell.shows("it is forty-two, well")?;
    shell.shows("code=5")?;
    shell.press("exit 0\n")?;
    shell.ends_well()
}

/// Waits until the main thread of a process waits in a read of standard input.
fn await_sleep(pid: Pid) -> Verdict {
    let path = format!("/proc/{}/syscall", pid.as_raw_nonzero());
    Deadline::step("a read").until(&[pid], || {
        Ok(fs::read_to_string(&path).is_ok_and(|call| call.starts_with("0 0x0 ")).then_some(()))
    })
}

/// Waits until a child of a shell has become the program: before, it ignores Ctrl-Z as the shell does.
fn await_program(pid: Pid, name: &str) -> Verdict {
    let path = format!("/proc/{}/comm", pid.as_raw_nonzero());
    Deadline::step(format!("{name} to begin")).until(&[pid], || {
        Ok(fs::read_to_string(&path).is_ok_and(|comm| comm.trim_end() == name).then_some(()))
    })
}

/// Waits until a process sleeps.
fn await_idle(pid: Pid) -> Verdict {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    Deadline::step("a program at rest")
        .until(&[pid], || Ok(fs::read_to_string(&path).is_ok_and(|stat| stat.contains(") S ")).then_some(())))
}

/// A server of tmux(1) with three windows, a shell with a variable, a pager, and an editor with an unsaved text that grows each
/// time; three times in a row.
fn tmux(tool: Tool) -> Verdict {
    let scene = Scene::new()?;
    let (tmux, _) = (find("tmux")?, find("vim")?);
    let socket = scene.directory().join("socket");
    let tell = |arguments: &[&str]| -> Verdict<String> {
        let mut command = Command::new(compile::tool("start")?);
        command.arg(&tmux);
        command
            .arg("-S")
            .arg(&socket)
            .args(["-f", "/dev/null"])
            .args(arguments)
            .current_dir(scene.directory());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C.UTF-8").env("PS1", "$ ").env("HOME", scene.directory());
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "tmux {arguments:?}: {}", output.stderr.escape_ascii());
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    let lines: String = (0..1000).map(|line| format!("line {line}\n")).collect();
    fs::write(scene.directory().join("lines"), lines)?;
    let bash = format!("{} --norc --noprofile", find("bash")?.display());
    tell(&["new-session", "-d", "-x", "90", "-y", "25", &bash])?;
    let Some(pid) = tell(&["display-message", "-p", "#{pid}"])?.parse().ok().and_then(Pid::from_raw) else {
        fail!("tmux does not tell its pid");
    };
    let shows = |window: &str, text: &str| {
        Deadline::step(format!("tmux to show '{text}'"))
            .until(&[pid], || Ok(tell(&["capture-pane", "-p", "-t", window])?.contains(text).then_some(())))
    };
    tell(&["new-window", "less lines"])?;
    tell(&["new-window", "vim -u NONE -N -n text"])?;
    tell(&["send-keys", "-t", ":0", "answer=forty-two", "Enter"])?;
    shows(":2", "[New]")?;
    let mut server: Option<Program> = None;
    for round in ["one", "two", "three"] {
        shows(":1", "line 1")?;
        tell(&["send-keys", "-t", ":2", &format!("o{round} was here"), "Escape"])?;
        shows(":2", &format!("{round} was here"))?;
        match server.take() {
            Some(mut program) => tool.checkpoint_and_kill(&mut program, &scene).context(round)?,
            None => {
                let family = descendants(pid);
                tool.dump(pid, &scene).context(round)?;
                await_gone(pid)?;
                family.into_iter().try_for_each(await_gone).context(round)?;
            }
        }
        server = Some(tool.restore(pid, &scene).context(round)?);
        tell(&["send-keys", "-t", ":0", &format!("echo {round} is $answer"), "Enter"])?;
        shows(":0", &format!("{round} is forty-two"))?;
        tell(&["send-keys", "-t", ":1", "500g"])?;
        shows(":1", "line 510")?;
        tell(&["send-keys", "-t", ":1", "1g"])?;
    }
    tell(&["send-keys", "-t", ":2", ":wq", "Enter"])?;
    let text = scene.directory().join("text");
    Deadline::step("vim to write").until(&[pid], || {
        let text = fs::read_to_string(&text).unwrap_or_default();
        Ok((text == "\none was here\ntwo was here\nthree was here\n").then_some(()))
    })?;
    tell(&["kill-server"])?;
    if let Some(mut server) = server {
        server.end()?;
    }
    Ok(())
}

/// A name that somebody else has by now is told, with who it is; nothing is left behind.
fn name_is_taken() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut first = Terminal::start(
        &find("script")?,
        &["-qc", "echo ready; exec cat", "/dev/null"],
        &scene.directory(),
        SIZE,
    )?;
    first.shows("ready")?;
    await_sleep(the_child(first.pid())?)?;
    first.checkpoint_and_kill(&scene.image())?;
    // One after the other, these have all names up to it.
    let others: Vec<Terminal> = (0..6)
        .map(|_| Terminal::start(Path::new("/bin/cat"), &[], &scene.directory(), SIZE))
        .collect::<Verdict<_>>()?;
    let outcome = rekindle::run(&mut restore(&scene.image(), &[])?)?;
    outcome.refused(&[rekindle::exit::DOES_NOT_FIT], &["/dev/pts/", "taken"])?;
    drop(others);
    Ok(())
}
