//! How threads share the processors: those whose work can wait give way to the others.
//!
//! Owns the niceness. Never starts a thread.

use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Of 100: on Linux the niceness 5, a third of the time of what is not nice.
const MODEST: u8 = 35;

/// Has the current thread, and those it will start, give way. Where that cannot be had, it is
/// as it was.
pub fn give_way() {
    if let Ok(modest) = ThreadPriorityValue::try_from(MODEST) {
        let priority = ThreadPriority::Crossplatform(modest);
        let _as_it_was = thread_priority::set_current_thread_priority(priority);
    }
}
