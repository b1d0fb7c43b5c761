//! Ctrl-C: ends at once, except where work can stop cleanly; there the second time ends at once.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::failure::Exit;

static STOPPED: AtomicBool = AtomicBool::new(false);
static CAN_STOP: AtomicBool = AtomicBool::new(false);

/// Listens to interrupts, requests to end, and closed terminals.
pub fn listen() {
    let handle = || {
        if !CAN_STOP.load(Ordering::SeqCst) || STOPPED.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted.code().into());
        }
    };
    // Without a handler the system ends the program, which loses nothing but the message.
    let _ = ctrlc::set_handler(handle);
}

/// Work that asks `flow` whether to continue, until this is dropped.
pub struct Stoppable(());

impl Stoppable {
    pub fn begin() -> Self {
        CAN_STOP.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Whether to continue.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the user interrupted.
    pub fn is_stopped(&self) -> bool {
        STOPPED.load(Ordering::SeqCst)
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        CAN_STOP.store(false, Ordering::SeqCst);
    }
}
