//! Images of a machine with another kernel come back: what of the kernel is in a program, its vDSO, is another there.
//!
//! The image is one of this machine with the saved vDSO changed in bytes that mean nothing, so that it is not this kernel's.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rekindle::record::AnyRecord;
use rekindle_image::{Codec, Incoming, PageBuffer, Reader, Writer};
use rekindle_tests::itinerary::checkpointed;
use rekindle_tests::rekindle::restore_detached;
use rekindle_tests::scene::Scene;
use rekindle_tests::subjects::VDSO;
use rekindle_tests::trial::{Context as _, Verdict, needs_root, run, trial};
use rekindle_tests::{ensure, fail};

fn main() -> ExitCode {
    run(vec![trial("vdso::another", another_vdso)])
}

/// The program's calls into the old vDSO lead to this kernel's.
fn another_vdso() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let pid = checkpointed(&VDSO, &scene)?;
    let gone = Instant::now();
    let other = scene.images()?.join("other");
    ensure!(with_another_vdso(&scene.image(), &other)? == 1, "the image does not hold one vDSO");
    let program = restore_detached(pid, &other, &scene)?;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero())).context("its maps")?;
    ensure!(maps.matches("[vdso]").count() == 1, "it has not one vDSO of this kernel:\n{maps}");
    program.go_on(gone.elapsed())
}

/// Copies an image, with a byte of each vDSO changed that is only padding (`EI_PAD` of its ELF header). Tells how many
/// there were.
fn with_another_vdso(from: &Path, to: &Path) -> Verdict<usize> {
    let mut reader = Reader::new(File::open(from)?)?;
    let mut writer = Writer::new(File::create(to)?, reader.header())?;
    let (mut pages, mut changed) = (PageBuffer::new(), 0);
    loop {
        match reader.next_into(&mut pages)? {
            Some(Incoming::Record(record)) => {
                let Some(mut record) = AnyRecord::decode(&record)? else { fail!("an unknown record") };
                if let AnyRecord::Vdso(vdso) = &mut record {
                    vdso.code[12] ^= 1;
                    changed += 1;
                }
                record.write(&mut writer)?;
            }
            Some(Incoming::Pages { .. }) => {
                let mut sealed = pages.seal(Codec::Raw);
                writer.pages(&mut sealed)?;
                pages = sealed.into_buffer();
                pages.clear();
            }
            None => break,
        }
    }
    writer.finish()?;
    Ok(changed)
}
