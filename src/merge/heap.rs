//! A binary min-heap of small numbers whose order lies elsewhere.
//!
//! The k-way merges keep their inputs in a slice and only the inputs' numbers
//! in the heap; after an input moved on, its number sinks in place. The
//! standard heap wants the order inside its items, which here would mean a
//! copy of a label set per step.

/// Min-heap of input numbers; `less(a, b)` is handed to every call.
#[derive(Debug, Default)]
pub(super) struct IndexHeap {
    items: Vec<u32>,
}

impl IndexHeap {
    /// The smallest input.
    pub fn top(&self) -> Option<u32> {
        self.items.first().copied()
    }

    /// Adds an input.
    pub fn push(&mut self, item: u32, less: impl Fn(u32, u32) -> bool) {
        self.items.push(item);
        let mut at = self.items.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !less(self.items[at], self.items[parent]) {
                break;
            }
            self.items.swap(at, parent);
            at = parent;
        }
    }

    /// Puts the top where it belongs after its input has moved on.
    pub fn sink_top(&mut self, less: impl Fn(u32, u32) -> bool) {
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= self.items.len() {
                break;
            }
            let right = left + 1;
            let mut child = left;
            if right < self.items.len() && less(self.items[right], self.items[left]) {
                child = right;
            }
            if !less(self.items[child], self.items[at]) {
                break;
            }
            self.items.swap(at, child);
            at = child;
        }
    }

    /// Removes the top, whose input has ended.
    pub fn drop_top(&mut self, less: impl Fn(u32, u32) -> bool) {
        if let Some(last) = self.items.pop()
            && let Some(top) = self.items.first_mut()
        {
            *top = last;
            self.sink_top(less);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merges_sorted_lists_like_a_sort(mut lists in prop::collection::vec(prop::collection::vec(0u8..50, 0..20), 0..9)) {
            for list in &mut lists {
                list.sort_unstable();
            }
            let mut expected: Vec<u8> = lists.concat();
            expected.sort_unstable();

            let mut at = vec![0usize; lists.len()];
            let mut heap = IndexHeap::default();
            for (i, list) in lists.iter().enumerate() {
                if !list.is_empty() {
                    heap.push(i as u32, |a, b| lists[a as usize][0] < lists[b as usize][0]);
                }
            }
            let mut merged = Vec::new();
            while let Some(top) = heap.top() {
                let i = top as usize;
                merged.push(lists[i][at[i]]);
                at[i] += 1;
                let less = |a: u32, b: u32| {
                    lists[a as usize][at[a as usize]] < lists[b as usize][at[b as usize]]
                };
                if at[i] == lists[i].len() {
                    // The ended input is not asked again: it is the one dropped.
                    heap.drop_top(less);
                } else {
                    heap.sink_top(less);
                }
            }
            prop_assert_eq!(merged, expected);
        }
    }
}
