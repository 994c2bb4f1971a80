//! The harness that takes real programs through checkpoints and restores, by rekindle's command line alone.
//!
//! ```text
//!   subjects/*.c ── compile ──> programs that live through their own checkpoint      (table: subjects)
//!                                  │
//!   itineraries: control, leave running, kill and restore, twice, through a pipe     (itinerary)
//!                                  │           └─ each step bounded in time           (deadline, program, rekindle)
//!                                  └─ before and after: /proc must tell the same      (snapshot, law)
//! ```
//!
//! The harness is a child subreaper and the parent of all it starts, because a restored process has its old pids: the killed
//! original must have been reaped first, and a detached restored one must come back to somebody who reaps it in turn.
//!
//! Environment:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `REKINDLE_BIN` | the `rekindle` to test | the one beside the test executable |
//! | `REKINDLE_TEST_INSTANTS` | how many random instants each sweep of `harm` tries | 60 |
//! | `REKINDLE_TEST_HOSTILE` | how many damaged images `hostile` tries in each of its four ways | 500 |
//! | `REKINDLE_TEST_STORMS` | how often `storms` checkpoints each of its programs | 20 |
//! | `REKINDLE_TEST_SEED` | where the random choices start; a failure prints it | 1 |

#![allow(clippy::missing_errors_doc, reason = "every function fails for one reason: the test has failed")]

pub mod another_user;
pub mod compile;
pub mod deadline;
pub mod family;
pub mod itinerary;
pub mod law;
pub mod network;
pub mod program;
pub mod random;
pub mod rekindle;
pub mod scene;
pub mod snapshot;
pub mod subjects;
pub mod terminal;
pub mod tool;
pub mod trial;
pub mod worker;
