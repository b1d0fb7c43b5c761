//! What is left to compute, and how it is divided: planned from the shapes and from how many scales are not zero.
//!
//! Heads without such a token cost nothing; of the others the tokens that are on are gathered into blocks of about equal size.
//! A head that is on everywhere is computed like a dense one, block for block, so that gating never costs more than it saves.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::{
    super::Kernel,
    product::{self, PART},
};

/// Query rows of a block at most.
const ROWS: usize = 128;
/// Blocks of a task of the forward pass at most: they share what is made ready of the keys.
const BLOCKS: usize = 4;
/// Tasks that each thread should find: enough that threads end at about the same time.
const TASKS_OF_A_THREAD: usize = 8;

/// The fewest keys of a task, if there are enough: merging costs more than a thread that waits.
const FEWEST_KEYS: usize = 256;

/// Rows of one head that are computed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub batch: usize,
    pub head: usize,
    pub tokens: Vec<usize>,
}

/// The tokens of every head that are on.
#[derive(Debug)]
pub(super) struct Plan {
    /// Blocks of each head of each sequence.
    heads: Vec<Vec<Block>>,
    pub kernel: Kernel,
}

impl Plan {
    /// `scales` `[batch, heads, tokens]`; without them everything is on. A NaN is on.
    pub fn new([batch, heads, tokens, _]: [usize; 4], scales: Option<&[f32]>) -> Self {
        let live = |index: usize| -> Vec<usize> {
            let is_on = |&token: &usize| scales.is_none_or(|scales| scales[index * tokens + token] != 0.0);
            (0..tokens).filter(is_on).collect()
        };
        let live: Vec<Vec<usize>> = (0..batch * heads).map(live).collect();
        let kernel = if live.iter().all(|live| live.len() == tokens) {
            Kernel::DenseFused
        } else if live.iter().all(|live| live.is_empty() || live.len() == tokens) {
            Kernel::WholeHead
        } else {
            Kernel::Sparse
        };
        let blocks = |(index, live): (usize, Vec<usize>)| -> Vec<Block> {
            let size = live.len().div_ceil(live.len().div_ceil(ROWS).max(1)).next_multiple_of(product::ROWS).max(product::ROWS);
            let block = |tokens: &[usize]| Block { batch: index / heads, head: index % heads, tokens: tokens.to_vec() };
            live.chunks(size).map(block).collect()
        };
        Self { heads: live.into_iter().enumerate().map(blocks).collect(), kernel }
    }

    /// Blocks of one head that a task of the forward pass computes.
    pub fn forward(&self) -> Vec<&[Block]> {
        self.heads.iter().flat_map(|blocks| blocks.chunks(BLOCKS)).collect()
    }

    /// For each of `pairs` key heads of sequences the blocks of the heads that look at it.
    pub fn of_key_heads(&self, pairs: usize) -> Vec<Vec<&Block>> {
        self.heads.chunks(self.heads.len() / pairs).map(|heads| heads.iter().flatten().collect()).collect()
    }
}

/// How many of all `keys` a task looks at where there are `groups` groups of blocks: no fewer than leave every thread
/// enough tasks, because what is found for the same rows has to be put together.
pub(super) fn keys_of_a_task([groups, keys]: [usize; 2], threads: usize) -> usize {
    let parts = (TASKS_OF_A_THREAD * threads).div_ceil(groups.max(1));
    keys.div_ceil(parts).max(FEWEST_KEYS).next_multiple_of(PART)
}

/// What these tasks, each with its work, find, in their order. A thread that is free takes the longest of those that are left,
/// so that the last ones even out what the threads have done.
pub(super) fn longest_first<R: Send>(tasks: Vec<(usize, impl FnOnce() -> R + Send)>) -> Vec<R> {
    let mut tasks: Vec<_> = tasks.into_iter().enumerate().collect();
    tasks.sort_by_key(|(_, (work, _))| Reverse(*work));
    let mut found: Vec<_> = tasks.into_iter().par_bridge().map(|(index, (_, task))| (index, task())).collect();
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
}

/// Rows of these blocks.
pub(super) fn rows_of<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> usize {
    blocks.into_iter().map(|block| block.tokens.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_that_is_on_is_computed_once_in_even_blocks() {
        let sizes = [2, 3, 130, 4];
        let mut scales = vec![0.0; 2 * 3 * 130];
        // Head 0 of sequence 0 is off, head 1 on, of head 2 every other token; sequence 1 is off but for one NaN.
        scales[130..260].fill(0.5);
        scales[260..390].iter_mut().step_by(2).for_each(|scale| *scale = -1.0);
        scales[3 * 130 + 7] = f32::NAN;
        let plan = Plan::new(sizes, Some(&scales));
        assert_eq!(plan.kernel, Kernel::Sparse);
        let mut found = vec![0; scales.len()];
        for block in plan.forward().into_iter().flatten() {
            block.tokens.iter().for_each(|token| found[(block.batch * 3 + block.head) * 130 + token] += 1);
        }
        let expected: Vec<i32> = scales.iter().map(|&scale| i32::from(scale != 0.0)).collect();
        assert_eq!(found, expected);
        let lengths: Vec<usize> = plan.heads[1].iter().map(|block| block.tokens.len()).collect();
        assert_eq!(lengths, [66, 64]);
        for pairs in [6, 2] {
            let blocks = plan.of_key_heads(pairs);
            assert_eq!(blocks.len(), pairs);
            assert_eq!(blocks.concat(), plan.heads.iter().flatten().collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_are_divided_as_far_as_the_threads_need() {
        assert_eq!(keys_of_a_task([96, 2049], 2), 2112);
        assert_eq!(keys_of_a_task([12, 2049], 2), 1088);
        assert_eq!(keys_of_a_task([3, 2049], 2), 384);
        assert_eq!(keys_of_a_task([0, 2049], 2), 256);
        assert_eq!(keys_of_a_task([1, 40], 16), 256);
    }

    #[test]
    fn heads_that_are_on_everywhere_are_divided_as_without_gates() {
        let sizes = [1, 2, 200, 4];
        let dense = Plan::new(sizes, None);
        assert_eq!(dense.kernel, Kernel::DenseFused);
        let mut scales = vec![1.0; 400];
        let gated = Plan::new(sizes, Some(&scales));
        assert_eq!((gated.kernel, gated.heads), (Kernel::DenseFused, dense.heads.clone()));
        scales[..200].fill(0.0);
        let half = Plan::new(sizes, Some(&scales));
        assert_eq!((half.kernel, half.heads), (Kernel::WholeHead, vec![Vec::new(), dense.heads[1].clone()]));
    }
}
