//! Work that may wait for a disk, off the threads that decide.

/// Runs `work` on a thread that may wait; none: the process ends. A panic there is one here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // On an executor without such threads, as that of a simulation, the one thread there is waits.
    if tokio::runtime::Handle::try_current().is_err() {
        return Some(work());
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => Some(answer),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_found_out_comes_back() {
        assert_eq!(blocking(|| 7).await, Some(7));
    }

    #[tokio::test]
    #[should_panic(expected = "of the disk")]
    async fn a_panic_is_not_swallowed() {
        blocking(|| panic!("of the disk")).await;
    }
}
