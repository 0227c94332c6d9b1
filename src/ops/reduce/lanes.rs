//! Sums of sixteen examples side by side, each by itself or all together.
#![allow(unsafe_code)]

use crate::{
    device::cpu::{
        Call,
        arena::{Scratch, room},
        lane::{Kernel, Lane, dispatch},
    },
    ops::{LANES, Lanes},
};

/// The kernel of a sum over some axes of `shape`, the shape of one example; over examples too, where `all`.
pub(crate) fn sum(shape: &[usize], axes: &[usize], all: bool) -> Option<Lanes> {
    if shape.contains(&0) {
        return None;
    }
    // Where each sum starts, and where its runs of neighbours lie from there.
    let (mut kept, mut parts, mut run, mut step) = (vec![0], vec![0], 1, 1);
    for (axis, &n) in shape.iter().enumerate().rev() {
        let spread = |from: &[usize]| -> Vec<usize> {
            (0..n).flat_map(|i| from.iter().map(move |f| i * step + f)).collect()
        };
        match axes.contains(&axis) {
            true if run == step => run *= n,
            true => parts = spread(&parts),
            false => kept = spread(&kept),
        }
        step *= n;
    }
    let scratch = if all { room::<f32>(kept.len() * LANES) } else { 0 };
    let kernel = move |call: Call<'_>| {
        let (x, y) = (call.inputs[0].packed::<f32>(), call.outputs[0].slice::<f32>());
        assert!(x.len() == step * LANES && y.len() == kept.len() * if all { 1 } else { LANES });
        if !all {
            return dispatch::<f32>(Runs { x, kept: &kept, parts: &parts, run, y });
        }
        let sums = Scratch::new(call.scratch).take(kept.len() * LANES);
        dispatch::<f32>(Runs { x, kept: &kept, parts: &parts, run, y: &mut *sums });
        dispatch::<f32>(Across { sums, y, accumulate: call.accumulate });
    };
    Some(Lanes { scratch, run: Box::new(kernel) })
}

/// `y[o][lane] = Σ_part Σ_i x[kept[o] + part + i][lane]`
struct Runs<'a> {
    x: &'a [f32],
    kept: &'a [usize],
    parts: &'a [usize],
    run: usize,
    y: &'a mut [f32],
}

impl Kernel<f32> for Runs<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        let Runs { x, kept, parts, run, y } = self;
        for (at, y) in kept.iter().zip(y.chunks_exact_mut(LANES)) {
            for lane in (0..LANES).step_by(V::N) {
                // Four sums side by side, so that additions do not wait for each other.
                // SAFETY: `V`'s instruction set is here, as the caller promises; the slice holds the run.
                unsafe {
                    let mut sum = [V::zero(); 4];
                    for part in parts {
                        let x = &x[(at + part) * LANES..(at + part + run) * LANES];
                        let mut i = 0;
                        while i + 4 <= run {
                            for (j, sum) in sum.iter_mut().enumerate() {
                                *sum = sum.add(V::load(x.as_ptr().add((i + j) * LANES + lane)));
                            }
                            i += 4;
                        }
                        while i < run {
                            sum[0] = sum[0].add(V::load(x.as_ptr().add(i * LANES + lane)));
                            i += 1;
                        }
                    }
                    sum[0].add(sum[1]).add(sum[2].add(sum[3])).store(y.as_mut_ptr().add(lane));
                }
            }
        }
    }
}

/// `y[i] = Σ_lane sums[i][lane]`, added to what is there or not.
pub(crate) struct Across<'a> {
    pub(crate) sums: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) accumulate: bool,
}

impl Kernel<f32> for Across<'_> {
    #[inline(always)]
    unsafe fn run<V: Lane<f32>>(self) {
        for (sums, y) in self.sums.chunks(LANES * LANES).zip(self.y.chunks_mut(LANES)) {
            let (mut square, mut sum) = ([0.0f32; LANES * LANES], [0.0f32; LANES]);
            let rows = if sums.len() == square.len() {
                sums
            } else {
                square[..sums.len()].copy_from_slice(sums);
                &square
            };
            // SAFETY: `V`'s instruction set is here, as the caller promises; there are 16 rows of 16.
            unsafe { V::sums(rows.as_ptr(), sum.as_mut_ptr()) };
            if self.accumulate {
                y.iter_mut().zip(sum).for_each(|(y, s)| *y += s);
            } else {
                y.iter_mut().zip(sum).for_each(|(y, s)| *y = s);
            }
        }
    }
}
