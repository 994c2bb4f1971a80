//! Every subject under every itinerary, as `subject::itinerary`, and that the law sees what it is to see.
//!
//! `cargo test -p rekindle-tests --test subjects -- control` runs the controls alone, which need no rekindle.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rekindle_tests::itinerary::{ITINERARIES, at_save_point, checkpointed};
use rekindle_tests::law::{self, Occasion};
use rekindle_tests::network;
use rekindle_tests::program::await_gone;
use rekindle_tests::rekindle::exit::FAILED;
use rekindle_tests::rekindle::{
    self, FAULT, checkpoint_and_kill, pids_in, restore, restore_detached, system_v_ids_in,
};
use rekindle_tests::scene::Scene;
use rekindle_tests::snapshot::Snapshot;
use rekindle_tests::subjects::{
    ANOTHER_NAME, FILES_OF_DEAD, MANY_FILES, MOUNTED, NOLIBC, QUEUE_LEFT, SUBJECTS, Subject,
};
use rekindle_tests::terminal;
use rekindle_tests::trial::{Trouble, Verdict, needs, needs_root, run, trial};
use rekindle_tests::{ensure, fail};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Pid;

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = vec![
        trial("another_name::kill_and_restore", || come_back(&ANOTHER_NAME)),
        trial("files_of_dead::kill_and_restore", || come_back(&FILES_OF_DEAD)),
        trial("many_files::twenty_thousand", || come_back(&MANY_FILES)),
        trial("mounted::kill_and_restore", mounted),
        trial("sysv_shm::made_again", || made_again("sysv_shm")),
        trial("sysv_semaphores::made_again", || made_again("sysv_semaphores")),
        trial("sysv_queues::made_again", || made_again("sysv_queues")),
        trial("mqueue::made_again", mqueue_made_again),
        trial("queue_left::goes_back", queue_goes_back),
        trial("objects_of_two::made_again", || made_again("objects_of_two")),
        trial("law::control_holds_for_a_process_left_alone", holds_for_a_process_left_alone),
        trial("law::control_sees_a_changed_process", sees_a_changed_process),
        trial("law::control_table_has_no_dead_entries", table_has_no_dead_entries),
    ];
    for subject in SUBJECTS {
        for (itinerary, take) in ITINERARIES {
            trials.push(trial(format!("{}::{itinerary}", subject.name), || {
                let _turn = subject.has_terminals.then(terminal::turn).transpose()?;
                let _network = subject.has_ports.then(network::alone).transpose()?;
                take(subject)
            }));
        }
    }
    run(trials)
}

fn holds_for_a_process_left_alone() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    law::holds(&Snapshot::of(program.pid())?, &Snapshot::of(program.pid())?, Occasion::LeftRunning)?;
    program.go_on(Duration::ZERO)
}

/// What is the system's and not the program's is gone, as after a reboot.
fn made_again(name: &str) -> Verdict {
    let Some(subject) = SUBJECTS.iter().find(|subject| subject.name == name) else {
        fail!("there is no subject {name}");
    };
    let scene = Scene::new()?;
    let pid = checkpointed(subject, &scene)?;
    let objects = system_v_ids_in(&scene.image())?;
    let remove = |kind: &str, id: i64| {
        let mut command = Command::new("ipcrm");
        command.args([kind, &id.to_string()]).stderr(Stdio::null()).status()
    };
    let all = || objects.iter().flat_map(|(kind, ids)| ids.iter().map(move |id| (*kind, *id)));
    for (kind, id) in all() {
        remove(kind, id)?; // one that had been removed by the program is gone already
    }
    let mut failing = restore(&scene.image(), &["--detach"])?;
    rekindle::run(failing.env(FAULT, "restore-registers:error"))?.refused(&[FAILED], &["injected"])?;
    for pid in pids_in(&scene.image())?.into_iter().filter_map(Pid::from_raw) {
        await_gone(pid)?;
    }
    for (kind, id) in all() {
        ensure!(!remove(kind, id)?.success(), "a restore that failed has left {kind} {id}");
    }
    restore_detached(pid, &scene.image(), &scene)?.go_on(Duration::ZERO)
}

/// POSIX message queues are gone, as after a reboot; a restore that fails leaves none behind.
fn mqueue_made_again() -> Verdict {
    let Some(subject) = SUBJECTS.iter().find(|subject| subject.name == "mqueue") else {
        fail!("there is no subject mqueue");
    };
    let scene = Scene::new()?;
    let pid = checkpointed(subject, &scene)?;
    let place = scene.images()?.join("queues");
    std::fs::create_dir(&place)?;
    mount("mqueue", &place, "mqueue", MountFlags::empty(), None)?;
    let result = mqueue_made_again_at(pid, &place, &scene);
    unmount(&place, UnmountFlags::empty())?;
    result
}

fn mqueue_made_again_at(pid: Pid, place: &Path, scene: &Scene) -> Verdict {
    // Named after the program; the third has lost its name, and is in the image alone.
    let own = format!("-{}", pid.as_raw_nonzero());
    let queues = || -> Verdict<Vec<PathBuf>> {
        let entries = std::fs::read_dir(place)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.iter().map(DirEntry::path).filter(|path| path.to_string_lossy().ends_with(&own)).collect())
    };
    let before = queues()?;
    ensure!(before.len() == 2, "the queues of the program are {before:?}");
    for queue in before {
        std::fs::remove_file(queue)?;
    }
    let mut failing = restore(&scene.image(), &["--detach"])?;
    rekindle::run(failing.env(FAULT, "restore-opened:error"))?.refused(&[FAILED], &["injected"])?;
    await_gone(pid)?;
    let left = queues()?;
    ensure!(left.is_empty(), "a restore that failed has left {left:?}");
    restore_detached(pid, &scene.image(), scene)?.go_on(Duration::ZERO)?;
    let left = queues()?;
    ensure!(left.is_empty(), "the program has removed its queues, but there are {left:?}");
    Ok(())
}

/// The program has used its queue since the checkpoint: what is in it goes back with the program.
fn queue_goes_back() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let program = at_save_point(&QUEUE_LEFT, &scene)?;
    let pid = program.pid();
    rekindle::run(&mut rekindle::checkpoint(pid, &scene.image(), &[])?)?.succeeded()?;
    program.go_on(Duration::ZERO)?;
    await_gone(pid)?;
    let came_back = restore_detached(pid, &scene.image(), &scene).and_then(|it| it.go_on(Duration::ZERO));
    for (kind, ids) in system_v_ids_in(&scene.image())? {
        for id in ids {
            Command::new("ipcrm").args([kind, &id.to_string()]).status()?;
        }
    }
    came_back
}

/// Without a look at the law: /proc tells another name afterwards, or has too much to tell.
fn come_back(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    let pid = checkpointed(subject, &scene)?;
    restore_detached(pid, &scene.image(), &scene)?.go_on(Duration::ZERO)
}

/// A mount that goes with the test.
struct Mount(PathBuf);

impl Mount {
    fn make(at: PathBuf, arguments: &[&str], scene: &Scene) -> Verdict<Self> {
        std::fs::create_dir(&at)?;
        let mut command = Command::new("mount");
        let done =
            command.args(arguments).arg(&at).current_dir(scene.directory()).stderr(Stdio::null()).status()?;
        needs(done.success(), "the right to mount")?;
        Ok(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status(); // the scene's directory stays otherwise
    }
}

fn mounted() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let at = |name: &str| scene.directory().join(name);
    for name in ["source", "lower", "upper", "work"] {
        std::fs::create_dir(at(name))?;
    }
    for name in ["source/file", "lower/kept", "lower/changed"] {
        std::fs::write(at(name), "contents")?;
    }
    let _overlay = Mount::make(
        at("overlay"),
        &["-t", "overlay", "-o", "lowerdir=lower,upperdir=upper,workdir=work", "overlay"],
        &scene,
    )?;
    let readonly = Mount::make(at("readonly"), &["--bind", "source"], &scene)?;
    let remounted = Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&readonly.0).status()?;
    needs(remounted.success(), "the right to mount")?;
    scene.images()?;
    let mut program = at_save_point(&MOUNTED, &scene)?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    checkpoint_and_kill(&mut program, &scene.image())?;
    let program = restore_detached(pid, &scene.image(), &scene)?;
    program.await_still()?;
    law::holds(&before, &Snapshot::of(pid)?, Occasion::Restored)?;
    program.go_on(Duration::ZERO)
}

/// The mildest law still sees one changed bit.
fn sees_a_changed_process() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    let before = Snapshot::of(program.pid())?;
    std::fs::write(format!("/proc/{}/coredump_filter", program.pid().as_raw_nonzero()), "0x7f")?;
    match law::holds(&before, &Snapshot::of(program.pid())?, Occasion::RestoredInForeground) {
        Ok(()) => fail!("a changed coredump_filter went unseen"),
        Err(Trouble::Failed(text)) => {
            ensure!(text.contains("1 differences") && text.contains("coredump_filter"), "{text}");
        }
        Err(other) => return Err(other),
    }
    program.go_on(Duration::ZERO)
}

fn table_has_no_dead_entries() -> Verdict {
    // Of a program that stands still: our own threads and children come and go.
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    law::table_is_alive(&Snapshot::of(program.pid())?)?;
    program.go_on(Duration::ZERO)
}
