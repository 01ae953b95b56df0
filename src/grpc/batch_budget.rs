//! The work budget of a batch, which yields to other calls when it is spent.

/// Requests of a batch that are decided with one reading of the clock. They take microseconds, and reading the clock is a
/// tenth of the cost of a decision; probes that wait for the store take longer, so a whole batch is too many.
const MOMENT: u32 = 32;
/// Work after which a batch yields to other calls: some hundred microseconds. A decision is 1.
const TURN_WORK: u32 = 128;
/// Work of a request that failed, beside its decision: its error is made of a dozen texts, and encoded.
const FAILED_WORK: u32 = 7;

/// Outcomes that the largest window of calls holds.
const STEPS_MAX: u32 = 10_000;
/// Outcomes of a run that are counted while one request is decided, about.
const STEPS_OF_A_DECISION: u32 = 32;

/// Counts the work of one batch. Call both methods before each request.
#[derive(Debug, Default)]
pub(super) struct BatchBudget {
    work: u32,
    requests: u32,
}

impl BatchBudget {
    /// Whether to yield before the next request.
    pub(super) fn must_yield(&mut self) -> bool {
        if self.work < TURN_WORK {
            self.work += 1;
            return false;
        }
        self.work = 1;
        // What a moment has is decided after the yield.
        self.requests = MOMENT;
        true
    }

    /// Whether to read the clock again before the next request.
    pub(super) fn must_read_clock(&mut self) -> bool {
        let over = self.requests >= MOMENT;
        self.requests = if over { 1 } else { self.requests + 1 };
        over
    }

    /// The request stands for so many calls. Counting them takes as many steps as the largest window of calls has at the most,
    /// each a small part of a decision.
    pub(super) fn calls(&mut self, count: u32) {
        self.work = self.work.saturating_add(count.min(STEPS_MAX) / STEPS_OF_A_DECISION);
    }

    /// The request failed.
    pub(super) fn failed(&mut self) {
        self.work += FAILED_WORK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before which requests of a batch of `requests` it yields, and before which it reads the clock.
    fn turns(requests: usize, fails: bool) -> (Vec<usize>, Vec<usize>) {
        let (mut budget, mut yields, mut moments) = (BatchBudget::default(), Vec::new(), Vec::new());
        for request in 0..requests {
            if budget.must_yield() {
                yields.push(request);
            }
            if budget.must_read_clock() {
                moments.push(request);
            }
            if fails {
                budget.failed();
            }
        }
        (yields, moments)
    }

    #[test]
    fn a_batch_yields_after_a_bounded_number_of_decisions() {
        let (yields, moments) = turns(300, false);
        assert_eq!(yields, [128, 256]);
        assert_eq!(moments, [32, 64, 96, 128, 160, 192, 224, 256, 288]);
    }

    #[test]
    fn a_batch_yields_after_a_few_long_runs() {
        let mut budget = BatchBudget::default();
        let mut yields = Vec::new();
        for request in 0..4 {
            if budget.must_yield() {
                yields.push(request);
            }
            budget.calls(u32::MAX);
        }
        assert_eq!(yields, [1, 2, 3]);
    }

    #[test]
    fn a_batch_of_wrong_requests_yields_eight_times_as_often() {
        let (yields, moments) = turns(70, true);
        assert_eq!(yields, [16, 32, 48, 64]);
        assert_eq!(moments, [16, 32, 48, 64], "after a yield it is later");
    }
}
