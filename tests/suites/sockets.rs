//! Sockets and those outside of the program: peers that a restore finds again or not, names that somebody else has taken, and
//! what is refused.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::ExitCode;
use std::time::Duration;

use rekindle_tests::ensure;
use rekindle_tests::itinerary::{at_save_point, checkpointed};
use rekindle_tests::law::{self, Occasion};
use rekindle_tests::rekindle::exit::{DOES_NOT_FIT, REFUSED};
use rekindle_tests::rekindle::{self, checkpoint, checkpoint_and_kill, restore, restore_detached};
use rekindle_tests::scene::Scene;
use rekindle_tests::snapshot::Snapshot;
use rekindle_tests::subjects::{UNIX_LISTENING, UNIX_OUTSIDE, UNIX_REFUSED};
use rekindle_tests::trial::{Verdict, run, trial};

fn main() -> ExitCode {
    run(vec![
        trial("outside::left_running", || outside("left running")),
        trial("outside::restored", || outside("restored")),
        trial("outside::refused", outside_refused),
        trial("name::is_taken", name_is_taken),
        trial("name::is_another_file", name_is_another_file),
        trial("name::is_gone_with_its_directory", name_is_gone),
        trial("refused::waiting_with_data", || refused("waiting", "not accepted yet")),
        trial("refused::waiting_and_closed", || refused("closed", "not accepted yet")),
        trial("refused::out_of_band", || refused("out of band", "out-of-band")),
        trial("refused::too_much", || refused("much", "768 KiB")),
        trial("refused::foreign_kind_on_its_way", || refused("foreign", "on its way through a socket")),
    ])
}

/// We are the other end of its sockets.
fn outside(how: &str) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let at = |name: &str| scene.directory().join(name);
    let listener = UnixListener::bind(at("outside"))?;
    let log = UnixDatagram::bind(at("log"))?;
    let passing = UnixDatagram::bind(at("passing"))?;
    for socket in [&log, &passing] {
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    }
    let subject = UNIX_OUTSIDE.with_arguments(if how == "restored" { &["restored"] } else { &["left"] });
    let accepting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"waiting")?;
        Ok::<_, std::io::Error>(stream)
    });
    let mut program = at_save_point(&subject, &scene)?;
    let mut stream = accepting.join().map_err(|_| std::io::Error::other("the listener"))??;
    let mut buffer = [0; 64];
    ensure!(log.recv(&mut buffer)? == 6, "not what was sent before");
    if how == "restored" {
        checkpoint_and_kill(&mut program, &scene.image())?;
        drop(passing);
        program = restore_detached(program.pid(), &scene.image(), &scene)?;
        stream.write_all(b"x").err().ok_or_else(|| std::io::Error::other("the old end is still there"))?;
    } else {
        let outcome = rekindle::run(&mut checkpoint(program.pid(), &scene.image(), &[])?)?.succeeded()?;
        ensure!(outcome.stderr.contains("outside"), "nothing is said of the other end: {outcome}");
    }
    program.go_on_untimed()?;
    ensure!(log.recv(&mut buffer)? == 5 && &buffer[..5] == b"after", "not what was sent after");
    Ok(())
}

/// The same, refused because it was asked for.
fn outside_refused() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let at = |name: &str| scene.directory().join(name);
    let listener = UnixListener::bind(at("outside"))?;
    let sockets = [UnixDatagram::bind(at("log"))?, UnixDatagram::bind(at("passing"))?];
    let accepting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"waiting").map(|()| stream)
    });
    let program = at_save_point(&UNIX_OUTSIDE.with_arguments(&["left"]), &scene)?;
    let stream = accepting.join();
    let flags = ["--kill", "--refuse-outer-peers"];
    rekindle::run(&mut checkpoint(program.pid(), &scene.image(), &flags)?)?
        .refused(&[REFUSED], &["3 reasons", "outside of the tree"])?;
    scene.no_image_left()?;
    program.go_on(Duration::ZERO)?;
    drop((stream, sockets));
    Ok(())
}

/// Somebody listens where the program did: it is not thrown out.
fn name_is_taken() -> Verdict {
    let scene = Scene::new()?;
    let pid = checkpointed(&UNIX_LISTENING, &scene)?;
    let path = scene.directory().join("listening 0");
    fs::remove_file(&path)?;
    let other = UnixListener::bind(&path)?;
    rekindle::run(&mut restore(&scene.image(), &[])?)?
        .refused(&[DOES_NOT_FIT], &["listening 0", "in use"])?;
    ensure!(fs::symlink_metadata(&path)?.file_type().is_socket(), "it is gone");
    drop(other); // what it leaves behind is in nobody's way
    restore_detached(pid, &scene.image(), &scene)?.go_on_untimed()
}

fn name_is_another_file() -> Verdict {
    let scene = Scene::new()?;
    let pid = checkpointed(&UNIX_LISTENING, &scene)?;
    let path = scene.directory().join("absolute");
    fs::remove_file(&path)?;
    fs::write(&path, "precious")?;
    rekindle::run(&mut restore(&scene.image(), &[])?)?
        .refused(&[DOES_NOT_FIT], &["absolute", "no socket"])?;
    ensure!(fs::read(&path)? == b"precious", "it has been changed");
    fs::remove_file(&path)?;
    restore_detached(pid, &scene.image(), &scene)?.go_on_untimed()
}

/// What a restarted machine has no more: the socket's file. It is made again.
fn name_is_gone() -> Verdict {
    let scene = Scene::new()?;
    let pid = checkpointed(&UNIX_LISTENING, &scene)?;
    for name in ["listening 0", "absolute"] {
        fs::remove_file(scene.directory().join(name))?;
    }
    restore_detached(pid, &scene.image(), &scene)?.go_on_untimed()
}

fn refused(what: &'static str, why: &str) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let arguments: &'static [&'static str] = Box::leak(Box::new([what]));
    let program = at_save_point(&UNIX_REFUSED.with_arguments(arguments), &scene)?;
    let before = Snapshot::of(program.pid())?;
    rekindle::run(&mut checkpoint(program.pid(), &scene.image(), &["--kill"])?)?
        .refused(&[REFUSED], &["fd", why])?;
    scene.no_image_left()?;
    law::holds(&before, &Snapshot::of(program.pid())?, Occasion::LeftRunning)?;
    program.go_on(Duration::ZERO)
}
