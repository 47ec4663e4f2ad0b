//! Ctrl-C and the like.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use burn::train::Interrupter;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of a program that is asked a second time, as shells have it.
const INTERRUPTED: i32 = 130;
/// The exit code of a program whose output nobody reads, as shells have it.
#[cfg(unix)]
const UNREAD: i32 = 141;
/// How often the flag is looked at, which a signal's handler may do no more than set.
const PAUSE: Duration = Duration::from_millis(100);

/// An interrupter that stops when the process is asked to end, by Ctrl-C or `kill`; asked a second
/// time, the process ends at once.
pub fn on_signal() -> Interrupter {
    let interrupter = Interrupter::new();
    if let Err(error) = listen(interrupter.clone()) {
        eprintln!("warning: Ctrl-C will end the program without a checkpoint: {error}");
    }
    interrupter
}

/// Lets the process end with the reader of its output, as after `| head`, instead of with a panic.
#[cfg(unix)]
pub(crate) fn end_with_reader() {
    use signal_hook::consts::SIGPIPE;
    let always = Arc::new(AtomicBool::new(true));
    if let Err(error) = flag::register_conditional_shutdown(SIGPIPE, UNREAD, always) {
        eprintln!("warning: output has to be read to its end: {error}");
    }
}

fn listen(interrupter: Interrupter) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED, asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    thread::Builder::new().spawn(move || {
        while !asked.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
        }
        eprintln!("stopping after this step, with a checkpoint; once more to stop at once");
        interrupter.stop(Some("asked to stop by a signal"));
    })?;
    Ok(())
}
