//! How a matrix product is divided into tasks: some rows of the result by some panels of weights.
//!
//! The grid's rows are whole register tiles or blocks of them, and its columns are whole panels. So
//! an element of the result is computed by the same instructions whatever the number of tasks. The
//! matrix kernels of every number type share this grid.

use std::ops::Range;

/// Tasks for each thread: enough that one slow thread costs a tenth of the call.
const TASKS_PER_THREAD: usize = 6;

/// A matrix product as a grid of tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Tiles (or blocks of tiles) that the result's rows are cut into.
    pub(super) rows: usize,
    /// Panels of one group; a group starts a new panel.
    pub(super) group_panels: usize,
    /// Groups.
    pub(super) groups: usize,
    /// Grid rows that a task should have. Below that, panels are split further and not rows, since
    /// each task reads its weights once for every chunk of rows.
    pub(super) task_rows: usize,
}

/// The work of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Grid rows; never empty.
    pub(super) rows: Range<usize>,
    /// Panels, counted through all groups; never empty.
    pub(super) panels: Range<usize>,
}

impl Grid {
    fn panels(&self) -> usize {
        self.groups * self.group_panels
    }

    /// The best number of tasks for a product of this many multiply-adds, if a hand-over to another
    /// thread costs as much as `task_macs` of them.
    pub(super) fn tasks(&self, threads: usize, macs: usize, task_macs: usize) -> usize {
        if threads <= 1 {
            return 1;
        }
        let wanted = (threads * TASKS_PER_THREAD).min(macs / task_macs).max(1);
        let most_rows = (self.rows / self.task_rows).clamp(1, wanted);
        let split = |rows: usize| rows * (wanted / rows).min(self.panels());
        // The same number for each thread, unless that is less than half.
        (1..=most_rows)
            .rev()
            .map(split)
            .find(|&tasks| tasks.is_multiple_of(threads) && 2 * tasks >= wanted)
            .unwrap_or_else(|| split(most_rows))
    }

    /// The part of task `task` of `tasks`; `None` if nothing is left for it. The parts of all
    /// tasks cover the grid once.
    pub(super) fn part(&self, task: usize, tasks: usize) -> Option<Part> {
        let mut row_parts = (self.rows / self.task_rows).clamp(1, tasks);
        while !tasks.is_multiple_of(row_parts) {
            row_parts -= 1;
        }
        let panel_parts = tasks / row_parts;
        let cut = |whole: usize, i: usize, parts: usize| {
            let at = |i: usize| whole * i / parts;
            at(i)..at(i + 1)
        };
        let part = Part {
            rows: cut(self.rows, task / panel_parts, row_parts),
            panels: cut(self.panels(), task % panel_parts, panel_parts),
        };
        (!part.rows.is_empty() && !part.panels.is_empty()).then_some(part)
    }

    /// A part's panels in chunks of at most `chunk` panels, each within one group, with the
    /// group's number.
    pub(super) fn chunks(
        &self,
        part: &Part,
        chunk: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let (group_panels, end) = (self.group_panels, part.panels.end);
        let mut next = part.panels.start;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let group = next / group_panels;
            let start = next;
            next = end.min((group + 1) * group_panels).min(start + chunk);
            Some((group, start..next))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_grid_once() {
        for (rows, group_panels, groups) in [(1, 1, 1), (7, 3, 1), (40, 2, 5), (100, 12, 1)] {
            let grid = Grid {
                rows,
                group_panels,
                groups,
                task_rows: 4,
            };
            for tasks in 1..=30 {
                for chunk in [1, 5, 100] {
                    let mut seen = vec![0; rows * grid.panels()];
                    for part in (0..tasks).filter_map(|task| grid.part(task, tasks)) {
                        for (group, panels) in grid.chunks(&part, chunk) {
                            assert!(!panels.is_empty() && panels.len() <= chunk);
                            for panel in panels {
                                assert_eq!(panel / group_panels, group);
                                for row in part.rows.clone() {
                                    seen[row * grid.panels() + panel] += 1;
                                }
                            }
                        }
                    }
                    assert!(seen.iter().all(|&n| n == 1), "{grid:?}, {tasks} tasks");
                }
            }
        }
    }

    #[test]
    fn small_products_stay_whole_and_large_ones_spread_evenly() {
        let grid = Grid {
            rows: 100,
            group_panels: 12,
            groups: 1,
            task_rows: 8,
        };
        assert_eq!(grid.tasks(1, usize::MAX, 1), 1);
        assert_eq!(grid.tasks(4, 999, 1000), 1);
        assert_eq!(grid.tasks(2, 1 << 40, 1000), 12);
        for threads in 2..=8 {
            let tasks = grid.tasks(threads, 1 << 40, 1000);
            assert!(tasks.is_multiple_of(threads), "{threads}: {tasks}");
        }
        let one_panel = Grid {
            rows: 1,
            group_panels: 1,
            ..grid
        };
        assert_eq!(one_panel.tasks(8, 1 << 40, 1000), 1);
    }
}
