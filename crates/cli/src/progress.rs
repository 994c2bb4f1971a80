//! A bar that shows how far a long operation is, on a terminal, once it has taken a second.

use indicatif::{ProgressBar, ProgressStyle};
use rekindle::checkpoint::Progress;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Operations shorter than this are not worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

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
        let bar = self.bar.get_or_init(|| self.draw());
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }

    fn draw(&self) -> ProgressBar {
        let bar = ProgressBar::new(0).with_message(self.what).with_elapsed(self.begun.elapsed());
        let style =
            "{msg}  {bar:30}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}, {eta} left";
        // The template is constant and right; the default would do, too.
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
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
    #[test]
    fn the_template_is_right() {
        let bar = super::Bar::new("saving").draw();
        bar.set_length(10);
        let style =
            "{msg}  {bar:30}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}, {eta} left";
        assert!(indicatif::ProgressStyle::with_template(style).is_ok());
    }
}
