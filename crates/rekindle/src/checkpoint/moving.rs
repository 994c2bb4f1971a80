//! The survey of a tree that runs meanwhile.
//!
//! Processes and threads that are just born, execute a program, or end can be seen in states that last for an instant and
//! that nothing could be captured of: no executable, no descriptors. What is there at one look and not at the next refuses
//! nothing; under the freeze, where it counts, the survey is made again.

use crate::error::Error;
use crate::refusal::Refusal;
use crate::view::TreeView;
use std::time::Duration;

/// How often a tree is looked at that is never the same.
const LOOKS: u32 = 6;
/// In how many looks in a row something must be seen to count.
const TIMES: u32 = 3;

/// Refuses what of a running tree, which `look` surveys, cannot be captured. `None`: it does not hold still enough to be looked at.
pub(super) fn survey(
    root: i32,
    look: impl Fn() -> Result<TreeView, Error>,
) -> Result<Option<TreeView>, Error> {
    let mut seen: Vec<(Refusal, u32)> = Vec::new();
    for round in 0..LOOKS {
        match look() {
            Ok(tree) => return Ok(Some(tree)),
            Err(Error::Refused(now)) => {
                let times = |refusal: &Refusal| {
                    1 + seen.iter().find(|(known, _)| known == refusal).map_or(0, |(_, times)| *times)
                };
                seen = now.into_iter().map(|refusal| (refusal.clone(), times(&refusal))).collect();
                let stay = seen.iter().filter(|(_, times)| *times >= TIMES);
                let stay: Vec<Refusal> = stay.map(|(refusal, _)| refusal.clone()).collect();
                if !stay.is_empty() {
                    return Err(Error::Refused(stay));
                }
            }
            Err(Error::NoSuchProcess { pid }) if pid == root => return Err(Error::NoSuchProcess { pid }),
            Err(_) => {}
        }
        std::thread::sleep(Duration::from_millis(1 << round));
    }
    Ok(None)
}
