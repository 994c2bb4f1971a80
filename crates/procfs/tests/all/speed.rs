//! A program with 50 000 mappings must not make us wait: the kernel alone takes 275 ms to print its smaps.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rekindle_procfs::smaps;

const COUNTERS: [&str; 22] = [
    "Size",
    "KernelPageSize",
    "MMUPageSize",
    "Rss",
    "Pss",
    "Pss_Dirty",
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
    "KSM",
    "LazyFree",
    "AnonHugePages",
    "ShmemPmdMapped",
    "FilePmdMapped",
    "Shared_Hugetlb",
    "Private_Hugetlb",
    "Swap",
    "SwapPss",
    "Locked",
];

fn fifty_thousand() -> String {
    let mut text = String::new();
    for start in (0x7f00_0000_0000_u64..).step_by(0x2000).take(50_000) {
        let head = format!("{start:x}-{:x} rw-p 00000000 fe:00 10035222 ", start + 0x1000);
        writeln!(text, "{head:<73}/usr/lib/x86_64-linux-gnu/libexample.so.6").unwrap();
        for counter in COUNTERS {
            writeln!(text, "{:<16}{:8} kB", format!("{counter}:"), 4).unwrap();
        }
        text.push_str("THPeligible:           0\nVmFlags: rd wr mr mw me ac sd \n");
    }
    text
}

#[test]
#[ignore = "measures: cargo test --release -p rekindle-procfs -- --ignored"]
fn fifty_thousand_mappings_under_100_ms() {
    let text = fifty_thousand();
    let best = (0..5).map(|_| {
        let started = Instant::now();
        assert_eq!(smaps::parse(text.as_bytes()).unwrap().len(), 50_000);
        started.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(100), "{} MB took {best:?}", text.len() / 1_000_000);
    println!("{} MB in {best:?}", text.len() / 1_000_000);
}
