//! A bar that shows how far a long operation is, on a terminal, once it has taken a second.

use indicatif::{ProgressBar, ProgressStyle};
use rekindle::checkpoint::Progress;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Operations shorter than this are not worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

const STYLE: &str = "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left";

/// A bar, perhaps never seen. It is wiped away when dropped.
pub(crate) struct Bar {
    what: &'static str,
    begun: Instant,
    on_terminal: bool,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    /// A bar for an operation that begins now.
    pub(crate) fn new(what: &'static str) -> Self {
        let on_terminal = crate::show::stderr_is_terminal();
        Self { what, begun: Instant::now(), on_terminal, bar: OnceLock::new() }
    }

    /// Takes note of how far it is.
    pub(crate) fn tell(&self, progress: Progress) {
        if !self.on_terminal || self.begun.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_init(|| self.begin(progress));
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }

    fn begin(&self, progress: Progress) -> ProgressBar {
        let bar = ProgressBar::new(progress.total).with_position(progress.done);
        let bar = bar.with_message(self.what).with_elapsed(self.begun.elapsed());
        // The template is constant and right; the default would do, too.
        bar.set_style(ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, STYLE};
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
    use rekindle::checkpoint::Progress;

    #[test]
    fn the_style_is_right_and_fits_any_width() {
        assert!(ProgressStyle::with_template(STYLE).is_ok());
        assert!(STYLE.contains("wide_bar"));
    }

    #[test]
    fn a_bar_begins_where_the_operation_is() {
        let bar: ProgressBar = Bar::new("saving").begin(Progress { done: 3, total: 10 });
        bar.set_draw_target(ProgressDrawTarget::hidden());
        assert_eq!((bar.position(), bar.length()), (3, Some(10)));
    }
}
