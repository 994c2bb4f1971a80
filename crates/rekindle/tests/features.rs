//! What the kernel offers is found out without a trace. Alone in its process, as others open descriptors, too.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

#[test]
fn probing_leaves_no_child_and_no_descriptor() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    assert!(!rekindle::features::probe().is_empty());
    assert_eq!(open(), before);
    assert_eq!(std::fs::read_to_string("/proc/thread-self/children").unwrap(), "");
}
