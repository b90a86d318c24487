//! How far downloads have come, on stderr: a bar on a terminal, else a line a file and one every 30 s.

use std::{
    env,
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{LINE_EVERY, talk};
use crate::io::hub::{self, Download};

/// The progress of the current file.
struct Shown {
    file: String,
    bar: Option<ProgressBar>,
    next: Instant,
}

/// Has downloads reported from now on.
pub(super) fn tell() {
    let program = env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem());
    let program = program.map_or("l0".into(), |name| name.to_string_lossy().into_owned());
    let shown: Mutex<Option<Shown>> = Mutex::new(None);
    hub::tell_downloads(move |download| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        step(&program, &mut shown, download);
    });
}

fn step(program: &str, shown: &mut Option<Shown>, download: &Download) {
    let &Download { model, file, done, total } = download;
    if shown.as_ref().is_none_or(|shown| shown.file != file) {
        talk(format_args!("{program}: {model}: {file}, {}", size(total)));
        let bar = io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {bytes}, {bytes_per_sec}, {eta} left");
            ProgressBar::new(total).with_style(style.expect("a valid template"))
        });
        *shown = Some(Shown { file: file.to_owned(), bar, next: Instant::now() + LINE_EVERY });
    }
    let Some(Shown { bar, next, .. }) = shown else { return };
    match bar {
        Some(bar) if done >= total => bar.finish_and_clear(),
        Some(bar) => bar.set_position(done),
        None if Instant::now() >= *next => {
            *next = Instant::now() + LINE_EVERY;
            talk(format_args!("{program}: {file}: {} of {}", size(done), size(total)));
        }
        None => {}
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_well() {
        for (bytes, expected) in
            [(7, "7 bytes"), (1_500, "1.5 kB"), (17_600_000, "17.6 MB"), (2_340_000_000, "2.34 GB")]
        {
            assert_eq!(super::size(bytes), expected);
        }
    }
}
