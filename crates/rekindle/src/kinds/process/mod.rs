//! What a process has one of. A kind is a file here and a line in the table below.

pub mod controlling_terminal;
mod filesystem;
pub mod identity;
mod itimers;
mod ldt;
mod limits;
pub mod membarrier;
mod pending;
pub mod posix_timers;
mod settings;
mod signal_actions;
pub mod zombie;

use super::{Phase, ProcessKind};
use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_tracee::{Answers, Batch, StoppedTask};

macro_rules! process_kinds {
    ($($tag:literal $name:ident: $kind:ty, $record:ty;)*) => {
        /// The record of a process: one field a kind.
        #[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
        #[expect(missing_docs, reason = "each field's type says what it is")]
        pub struct Process {
            $(#[prost(message, required, tag = $tag)] pub $name: $record,)*
        }

        /// The steps by which the kinds ask.
        pub struct Questions {
            $($name: <$kind as ProcessKind>::Question,)*
        }

        impl Process {
            /// The names of the kinds.
            pub const KINDS: &[&str] = &[$(stringify!($name)),*];

            /// What of a process cannot be captured.
            pub fn survey(view: &ProcessView, refusals: &mut Refusals) {
                $(<$kind>::survey(view, refusals);)*
            }

            /// What can be read from outside.
            pub fn outside(view: &ProcessView, leader: &StoppedTask) -> Result<Self, Error> {
                Ok(Self { $($name: <$kind>::outside(view, leader)?,)* })
            }

            /// The steps that ask for the rest.
            pub fn ask(&self, batch: &mut Batch) -> Questions {
                Questions { $($name: <$kind>::ask(&self.$name, batch),)* }
            }

            /// Completes the record.
            pub fn answer(&mut self, questions: &Questions, answers: &Answers) -> Result<(), Error> {
                $(<$kind>::answer(&mut self.$name, &questions.$name, answers)?;)*
                Ok(())
            }

            /// The steps of a phase that bring it back.
            pub fn restore(&self, phase: Phase, batch: &mut Batch) {
                $(<$kind>::restore(&self.$name, phase, batch);)*
            }

            /// What is set from outside.
            pub fn restore_outside(&self, pid: i32) -> Result<(), Error> {
                $(<$kind>::restore_outside(&self.$name, pid)?;)*
                Ok(())
            }
        }
    };
}

process_kinds! {
    "1" identity: identity::Identity, identity::Record;
    "2" settings: settings::Settings, settings::Record;
    "3" filesystem: filesystem::Filesystem, filesystem::Record;
    "4" signal_actions: signal_actions::SignalActions, signal_actions::Record;
    "5" ldt: ldt::Ldt, ldt::Record;
    "6" itimers: itimers::Itimers, itimers::Record;
    "7" limits: limits::Limits, limits::Record;
    "8" pending: pending::SharedPending, pending::Record;
    "9" posix_timers: posix_timers::PosixTimers, posix_timers::Record;
    "30" membarrier: membarrier::Membarrier, membarrier::Record;
    "16" controlling_terminal: controlling_terminal::ControllingTerminal, controlling_terminal::Record;
}
