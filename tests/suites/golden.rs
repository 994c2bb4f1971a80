//! Images of earlier versions come back: see tests/golden/README.md.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rekindle_tests::fail;
use rekindle_tests::rekindle::restore_in_foreground;
use rekindle_tests::scene::Scene;
use rekindle_tests::trial::{Context as _, Verdict, needs_root, run, trial};
use rustix::process::Pid;

fn main() -> ExitCode {
    run(vec![trial("v1::nolibc", v1_nolibc)])
}

/// The program of the image, where and as it was.
fn put_program(source: &Path) -> Verdict {
    let place = Path::new("/tmp/rekindle-golden-v1");
    fs::create_dir_all(place).context("making its directory")?;
    let program = place.join("nolibc");
    fs::remove_file(&program).ok();
    fs::copy(source, &program).context("copying the program")?;
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let file = fs::File::options().write(true).open(&program).context("opening the program")?;
    file.set_modified(modified).context("dating the program")?;
    Ok(())
}

fn v1_nolibc() -> Verdict {
    needs_root()?;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    put_program(&golden.join("nolibc"))?;
    let scene = Scene::new()?;
    let Some(pid) = Pid::from_raw(31999) else { fail!("no pid") };
    restore_in_foreground(pid, &golden.join("nolibc.rkd"), &scene)?.go_on(Duration::ZERO)
}
