//! How a call is divided into tasks. Each task has enough work to be worth a hand-over. Each thread
//! gets a few, so that a slow thread does not delay the rest. A tiny call is one task.

use std::ops::Range;

/// Floats of a cache line.
const LINE: usize = 16;

/// Nanoseconds of work that make a hand-over to another thread worthwhile.
const TASK_NS: usize = 25_000;

/// Tasks for each thread, so that the last one to finish is not far behind.
const TASKS_A_THREAD: usize = 4;

/// The number of tasks for `units` indivisible parts that take `work_ns` together.
pub(super) fn tasks(threads: usize, units: usize, work_ns: usize) -> usize {
    if threads <= 1 {
        return 1;
    }
    let most = threads.saturating_mul(TASKS_A_THREAD).min(units);
    (work_ns / TASK_NS).min(most).max(1)
}

/// The units of one task: all tasks together cover `0..units` once, sizes differ by one at most.
pub(super) fn range(task: usize, tasks: usize, units: usize) -> Range<usize> {
    let at = |i: usize| units / tasks * i + (units % tasks).min(i);
    at(task)..at(task + 1)
}

/// Like [`range`] for `len` elements, in units of 16 floats, so that each cache line has one
/// writer.
pub(super) fn elements(task: usize, tasks: usize, len: usize) -> Range<usize> {
    let lines = range(task, tasks, lines(len));
    (lines.start * LINE).min(len)..(lines.end * LINE).min(len)
}

/// Like [`elements`] for `len` bytes: the same cache lines.
pub(super) fn bytes(task: usize, tasks: usize, len: usize) -> Range<usize> {
    let lines = range(task, tasks, byte_lines(len));
    (lines.start * LINE * 4).min(len)..(lines.end * LINE * 4).min(len)
}

/// The number of units that [`bytes`] distributes.
pub(super) fn byte_lines(len: usize) -> usize {
    len.div_ceil(LINE * 4)
}

/// The number of units that [`elements`] distributes.
pub(super) fn lines(len: usize) -> usize {
    len.div_ceil(LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_the_units_once() {
        for units in [0, 1, 5, 16, 17, 123] {
            for tasks in 1..=20 {
                let mut next = 0;
                for task in 0..tasks {
                    let range = range(task, tasks, units);
                    assert_eq!(range.start, next);
                    assert!(range.len() <= units.div_ceil(tasks));
                    next = range.end;
                }
                assert_eq!(next, units);
            }
        }
    }

    #[test]
    fn elements_are_covered_once_also_by_more_tasks_than_lines() {
        for len in [0, 1, 15, 16, 17, 1000] {
            for tasks in 1..=20 {
                let mut next = 0;
                let mut next_byte = 0;
                for task in 0..tasks {
                    let range = elements(task, tasks, len);
                    assert_eq!(range.start, next);
                    next = range.end;
                    let range = bytes(task, tasks, len);
                    assert_eq!(range.start, next_byte);
                    next_byte = range.end;
                }
                assert_eq!((next, next_byte), (len, len));
            }
        }
    }

    #[test]
    fn small_calls_stay_whole_and_large_ones_spread() {
        assert_eq!(tasks(8, 100, 10_000), 1);
        assert_eq!(tasks(1, 100, 10_000_000), 1);
        assert_eq!(tasks(2, 100, 10_000_000), 8);
        assert_eq!(tasks(2, 3, 10_000_000), 3);
        assert_eq!(tasks(4, 100, 80_000), 3);
    }
}
