//! Work spread over the threads of the current rayon pool, cut by shape alone.
//!
//! Nothing here asks how many threads there are except to deal tasks to those there are, so what a task computes, and
//! the order in which it adds, never depends on their number. Splitting is worth its price above about 20 µs of work;
//! callers decide that, by shape.
//!
//! A step is many short stretches of tasks, and a thread that sleeps between two of them costs more to wake than it
//! then saves. So the threads that help one caller stand ready a while after each stretch: see `Crew`.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    hint,
    marker::PhantomData,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicPtr, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

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

/// How many can share work here: one inside [`serially`]. For choices that no bit depends on.
pub(crate) fn hands() -> usize {
    if SERIAL.get() { 1 } else { rayon::current_num_threads() }
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
    let threads = hands();
    if tasks <= 1 || threads == 1 {
        (0..tasks).for_each(|i| f.run(i))
    } else {
        let crew = CREW.with_borrow_mut(|crew| match crew {
            Some(crew) if crew.members.len() == threads => crew.clone(),
            _ => crew.insert(Crew::new(threads)).clone(),
        });
        crew.run(tasks, f);
    }
}

/// How long a member stands ready after a stretch before it goes back to the pool.
const READY: Duration = Duration::from_micros(200);

thread_local!(static CREW: RefCell<Option<Arc<Crew>>> = const { RefCell::new(None) });

/// The caller (member 0) and those of the pool who help it, one stretch of tasks after another.
///
/// Each member has a share of a stretch, the same place in every stretch so that its cache knows it, and takes from
/// the others' when its own is done. A member that the pool has no thread for is not waited for.
struct Crew {
    members: Box<[Member]>,
    /// The stretch: `*const &dyn Task`, its tasks, and the members that they are dealt to. Stored before any of its
    /// tasks can be taken; read by whoever has taken one, which keeps the stretch from ending.
    work: AtomicPtr<()>,
    tasks: AtomicUsize,
    dealt: AtomicUsize,
    /// Tasks of this stretch that are over.
    done: AtomicUsize,
    /// Stretches so far.
    stretch: AtomicUsize,
    /// The first task that unwound, and with what: the same on any number of threads.
    unwound: Mutex<Option<(usize, Box<dyn Any + Send>)>>,
}

/// On a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Member {
    /// Tasks of its share that nobody has taken.
    left: AtomicUsize,
    /// It stands ready, or the pool was asked for it.
    here: AtomicBool,
}

impl Crew {
    fn new(threads: usize) -> Arc<Self> {
        Arc::new(Crew {
            members: (0..threads).map(|_| Member::default()).collect(),
            work: AtomicPtr::default(),
            tasks: AtomicUsize::default(),
            dealt: AtomicUsize::default(),
            done: AtomicUsize::default(),
            stretch: AtomicUsize::default(),
            unwound: Mutex::default(),
        })
    }

    /// All the tasks of `f`; returns when they are over.
    fn run(self: &Arc<Self>, tasks: usize, f: &dyn Task) {
        let dealt = tasks.min(self.members.len());
        self.work.store((&raw const f).cast_mut().cast(), Relaxed);
        self.tasks.store(tasks, Relaxed);
        self.dealt.store(dealt, Relaxed);
        self.done.store(0, Relaxed);
        let members = || self.members[..dealt].iter().enumerate();
        members().for_each(|(k, member)| member.left.store(share(tasks, dealt, k).len(), Release));
        self.stretch.fetch_add(1, Release);
        for (k, member) in members().skip(1) {
            if !member.here.swap(true, AcqRel) {
                let crew = self.clone();
                rayon::spawn(move || outside(|| crew.stand(k)));
            }
        }
        self.help(0);
        wait(|| self.done.load(Acquire) == tasks, None);
        let unwound = self.unwound.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some((_, payload)) = unwound {
            resume_unwind(payload)
        }
    }

    /// What member `k` does until there is nothing to do for a while.
    fn stand(&self, k: usize) {
        // The stretch that it was called for is this one or over.
        let mut seen = self.stretch.load(Acquire).wrapping_sub(1);
        while wait(|| self.stretch.load(Acquire) != seen, Some(READY)) {
            seen = self.stretch.load(Acquire);
            self.help(k);
        }
        self.members[k].here.store(false, Release);
    }

    /// Run tasks until all are taken: member `k`'s share first.
    fn help(&self, k: usize) {
        serially(|| {
            for owner in (0..self.members.len()).map(|i| (k + i) % self.members.len()) {
                let left = &self.members[owner].left;
                while let Ok(left) = left.fetch_update(Acquire, Relaxed, |left| left.checked_sub(1)) {
                    let (tasks, dealt) = (self.tasks.load(Relaxed), self.dealt.load(Relaxed));
                    let work: *const &dyn Task = self.work.load(Relaxed).cast_const().cast();
                    // SAFETY: the task taken is not over, so `run` of its stretch has not returned, and what it
                    // stored before the count that was taken from is still there.
                    let work = unsafe { *work };
                    let i = share(tasks, dealt, owner).end - left;
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work.run(i))) {
                        let mut unwound = self.unwound.lock().unwrap_or_else(|e| e.into_inner());
                        if unwound.as_ref().is_none_or(|(first, _)| i < *first) {
                            *unwound = Some((i, payload));
                        }
                    }
                    self.done.fetch_add(1, Release);
                }
            }
        });
    }
}

/// Until `ready()`, or for so long; was it? First without leaving the processor to others, then leaving it to them.
fn wait(ready: impl Fn() -> bool, long: Option<Duration>) -> bool {
    let mut began = None;
    for i in 0usize.. {
        if ready() {
            return true;
        }
        if i < 64 || !i.is_multiple_of(64) {
            hint::spin_loop();
            continue;
        }
        let waited = began.get_or_insert_with(Instant::now).elapsed();
        if long.is_some_and(|long| waited > long) {
            return false;
        }
        if waited > READY / 4 {
            thread::yield_now();
        }
    }
    unreachable!("the count has no end")
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
    fn a_task_that_unwinds_does_so_where_it_was_asked_for_when_all_are_over() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            for _ in 0..100 {
                let over = AtomicUsize::new(0);
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    parallel(20, |i| {
                        over.fetch_add(1, Relaxed);
                        if i == 13 {
                            resume_unwind(Box::new("the thirteenth"))
                        }
                    })
                }));
                assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"the thirteenth"));
                assert_eq!(over.into_inner(), 20);
            }
        });
    }

    #[test]
    fn callers_on_every_thread_of_a_pool_and_tasks_inside_tasks() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let sum = AtomicUsize::new(0);
        pool.scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|_| {
                    for stretch in 0..200 {
                        parallel(stretch % 7, |i| {
                            parallel(3, |j| {
                                sum.fetch_add(i * j, Relaxed);
                            })
                        });
                    }
                });
            }
        });
        // Σ_j j = 3, and Σ over stretches of Σ_{i < s mod 7} i: 28 full rounds of 0+0+1+3+6+10+15, then 0 to 3.
        assert_eq!(sum.into_inner(), 8 * 3 * (28 * 35 + 1 + 3));
    }

    #[test]
    #[should_panic(expected = "of 3 elements")]
    fn a_part_beyond_the_end_is_refused() {
        // SAFETY: nothing else uses the elements.
        unsafe { Parts::new(&mut [0; 3]).slice(2..4) };
    }
}
