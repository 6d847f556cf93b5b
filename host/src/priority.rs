//! Which threads come first: those that renew Leases and move the epoch, then those that run guests, then those that
//! compile modules.

/// What a thread is for, if not for keeping Leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Where guests compute on every core, a renewal would else wait for its turn.
    Guests,
    /// Where a large module is compiled on every core for half a minute, so would the guest that runs meanwhile.
    Compiling,
}

impl Work {
    /// Each step gives a thread some 1.25 times less of a core that it has to share.
    #[cfg(target_os = "linux")]
    const fn nice(self) -> i32 {
        match self {
            Self::Guests => 5,
            Self::Compiling => 15,
        }
    }
}

/// Makes the calling thread give way to those of usual priority, of this process as of others.
///
/// Linux only: elsewhere `setpriority` knows processes, not threads.
pub fn give_way(work: Work) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), work.nice()) {
        tracing::warn!(event = "priority-kept", ?work, %error, "a thread cannot be made to give way to renewals");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = work;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::{process::getpriority_process, thread::gettid};

    #[test]
    fn only_the_thread_itself_gives_way() {
        let of_this_thread = || getpriority_process(Some(gettid())).expect("it can be asked");
        let before = of_this_thread();
        let other = std::thread::spawn(move || {
            super::give_way(super::Work::Guests);
            of_this_thread()
        });
        assert_eq!(other.join().expect("no panic"), 5.max(before));
        assert_eq!(of_this_thread(), before);
    }
}
