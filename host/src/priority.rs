//! Which threads come first: those that renew Leases and move the epoch, before those that run and compile guests.

/// Makes the calling thread give way to those of usual priority (nice 5), of this process as of others.
///
/// Where guests compute on every core, a renewal would else wait for its turn. Linux only: elsewhere `setpriority`
/// knows processes, not threads.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    {
        const NICE: i32 = 5;
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
            tracing::warn!(event = "priority-kept", %error, "a guest's thread cannot be made to give way to renewals");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::{process::getpriority_process, thread::gettid};

    #[test]
    fn only_the_thread_itself_gives_way() {
        let of_this_thread = || getpriority_process(Some(gettid())).expect("it can be asked");
        let before = of_this_thread();
        let other = std::thread::spawn(move || {
            super::give_way();
            of_this_thread()
        });
        assert_eq!(other.join().expect("no panic"), 5.max(before));
        assert_eq!(of_this_thread(), before);
    }
}
