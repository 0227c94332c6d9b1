//! Work spread over the threads of the current rayon pool, cut by shape alone.
//!
//! Nothing here asks how many threads there are except to run serially on one, so what a task computes, and the
//! order in which it adds, never depends on their number. Splitting is worth its price above about 20–50 µs
//! of work; callers decide that, by shape.
#![allow(unsafe_code)]

use std::{cell::Cell, marker::PhantomData, ops::Range};

use rayon::prelude::*;

use crate::context::outside;

/// `f(0), f(1), …, f(tasks − 1)`, possibly at the same time, in any order.
///
/// ```
/// use cotangent::device::cpu::threads::parallel;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// let sum = AtomicUsize::new(0);
/// parallel(5, |i| { sum.fetch_add(i, Relaxed); });
/// assert_eq!(sum.into_inner(), 10);
/// ```
pub fn parallel(tasks: usize, f: impl Fn(usize) + Sync) {
    each(tasks, &f)
}

thread_local!(static SERIAL: Cell<bool> = const { Cell::new(false) });

/// Is there nobody to share work with: one thread, or inside [`serially`]?
fn alone() -> bool {
    SERIAL.get() || rayon::current_num_threads() <= 1
}

/// Run `f` on a pool of its own with so many threads: its bits are those of any other number.
///
/// ```
/// use cotangent::{Tensor, device::cpu::threads};
/// let sum = |n| threads::with(n, || Tensor::linspace(0.0, 1.0, 100_000).sum().item().to_bits());
/// assert_eq!(sum(1)?, sum(3)?);
/// # Ok::<(), cotangent::Error>(())
/// ```
///
/// # Errors
/// When the system has no more threads.
pub fn with<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> crate::Result<R> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| {
        crate::Error::other(format!("{threads} threads cannot be started: {e}")).help("ask for fewer")
    })?;
    Ok(pool.install(f))
}

/// Run `f` without spreading what is inside it: every thread has a block of its own already.
pub(crate) fn serially<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            SERIAL.set(self.0);
        }
    }
    let _before = Before(SERIAL.replace(true));
    f()
}

/// A function behind a pointer: what the pool needs is compiled once and not for every kernel, and each kernel once,
/// where a `dyn Fn` has it a second time for whoever calls it by value.
trait Task: Sync {
    fn run(&self, i: usize);
}
impl<F: Fn(usize) + Sync> Task for F {
    fn run(&self, i: usize) {
        self(i)
    }
}

#[inline(never)]
fn each(tasks: usize, f: &dyn Task) {
    if tasks <= 1 || alone() {
        (0..tasks).for_each(|i| f.run(i))
    } else {
        // A thread that waits may run another's job: its context must not be there then.
        outside(|| (0..tasks).into_par_iter().with_max_len(1).for_each(|i| f.run(i)));
    }
}

/// `f(i, data[i·chunk .. (i + 1)·chunk])` for every chunk, possibly at the same time; the last may be shorter.
///
/// ```
/// use cotangent::device::cpu::threads::chunks_mut;
/// let mut y = [0; 5];
/// chunks_mut(&mut y, 2, |i, chunk| chunk.fill(i));
/// assert_eq!(y, [0, 0, 1, 1, 2]);
/// ```
pub fn chunks_mut<T: Send>(data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let (n, chunk, parts) = (data.len(), chunk.max(1), Parts::new(data));
    // SAFETY: no two tasks have the same chunk.
    each(n.div_ceil(chunk), &|i| f(i, unsafe { parts.slice(i * chunk..n.min((i + 1) * chunk)) }));
}

/// One slice that several tasks write at the same time, each its own elements.
///
/// ```
/// use cotangent::device::cpu::threads::{Parts, parallel};
/// let mut y = [0; 6];
/// let parts = Parts::new(&mut y);
/// // SAFETY: task i has elements 2i and 2i + 1 to itself.
/// parallel(3, |i| unsafe { parts.slice(2 * i..2 * i + 2) }.fill(i));
/// assert_eq!(y, [0, 0, 1, 1, 2, 2]);
/// ```
pub struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    data: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for `&mut [T]`, whose elements may be written from other threads when `T: Send`; that no two
// tasks have the same element is what the callers of `slice` and `at` promise.
unsafe impl<T: Send> Sync for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// The slice, to be shared out.
    pub fn new(data: &'a mut [T]) -> Self {
        Parts { start: data.as_mut_ptr(), len: data.len(), data: PhantomData }
    }

    /// `data[range]`.
    ///
    /// # Panics
    /// When the range does not lie inside the slice.
    ///
    /// # Safety
    /// While the result lives, nothing else may read or write these elements.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        // SAFETY: inside the slice by the check above, and the caller has it alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The address of `data[i]`, for kernels that write a rectangle of it. Writing through it needs what
    /// [`Parts::slice`] needs.
    ///
    /// # Panics
    /// When `i` is beyond the slice's end.
    pub fn at(&self, i: usize) -> *mut T {
        assert!(i <= self.len, "{i} of {} elements", self.len);
        self.start.wrapping_add(i)
    }
}

/// `items` dealt into `parts` ranges of nearly equal length: the range of part `i`.
///
/// ```
/// use cotangent::device::cpu::threads::share;
/// assert_eq!([share(7, 3, 0), share(7, 3, 1), share(7, 3, 2)], [0..2, 2..4, 4..7]);
/// ```
pub fn share(items: usize, parts: usize, i: usize) -> Range<usize> {
    items * i / parts..items * (i + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_once_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut y = vec![0usize; 1001];
                chunks_mut(&mut y, 10, |i, chunk| {
                    chunk.iter_mut().enumerate().for_each(|(j, y)| *y += 10 * i + j)
                });
                assert!(y.iter().enumerate().all(|(i, &v)| i == v));
                let parts = Parts::new(&mut y);
                // SAFETY: the ranges of `share` do not meet.
                parallel(7, |i| unsafe { parts.slice(share(1001, 7, i)) }.iter_mut().for_each(|y| *y += 1));
                assert!(y.iter().enumerate().all(|(i, &v)| i + 1 == v));
            });
        }
    }

    #[test]
    #[should_panic(expected = "of 3 elements")]
    fn a_part_beyond_the_end_is_refused() {
        // SAFETY: nothing else uses the elements.
        unsafe { Parts::new(&mut [0; 3]).slice(2..4) };
    }
}
