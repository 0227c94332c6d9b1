//! Memory for elements: always initialised; a few numbers in place, large blocks kept for reuse.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout as Block, alloc_zeroed, dealloc, handle_alloc_error},
    collections::BTreeMap,
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::{LazyLock, Mutex, MutexGuard},
};

use crate::{error::Error, tensor::Element};

/// Numbers that need no block of their own, in bytes.
const IN_PLACE: usize = 32;
/// Smaller blocks go straight to the allocator.
const POOLED: usize = 16 << 10;
/// Freed blocks kept in all. Fresh pages cost a fault each, which is more than most kernels spend on them.
const KEPT: usize = 256 << 20;
/// How much larger than the most that was ever in use the kept blocks may make the process.
fn slack(most: usize) -> usize {
    (4 << 20).max(most / 32).min(16 << 20)
}
const ALIGN: usize = 64;

/// Initialised bytes.
pub(crate) enum Memory {
    /// In the handle itself: a scalar needs no allocation.
    Few([u64; IN_PLACE / 8]),
    /// A block of its own, aligned to 64 bytes.
    Many(Bytes),
    /// Somebody else's, for the time of a kernel.
    Lent(ManuallyDrop<Bytes>),
}

/// A block.
pub(crate) struct Bytes {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block is plain bytes, owned; it is written through `&mut` and read through `&` alone.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<Bytes>>,
    kept: usize,
    /// Bytes handed out now, and at most.
    used: usize,
    most: usize,
}

impl Pool {
    /// Account for a block, from what was kept if one fits; else make room, so that what is kept never costs
    /// more than [`slack`]. The blocks to be freed come back: that takes no lock.
    fn take(&mut self, size: usize) -> (Option<Bytes>, Vec<Bytes>) {
        self.used += size;
        self.most = self.most.max(self.used);
        if let Some(blocks) = self.free.get_mut(&size)
            && let Some(block) = blocks.pop()
        {
            self.kept -= size;
            return (Some(block), Vec::new());
        }
        (None, self.make_room())
    }

    fn make_room(&mut self) -> Vec<Bytes> {
        let mut out = Vec::new();
        while self.used + self.kept > self.most + slack(self.most) {
            let Some(block) = self.largest() else { break };
            self.kept -= block.bytes;
            out.push(block);
        }
        out
    }

    fn largest(&mut self) -> Option<Bytes> {
        loop {
            let mut entry = self.free.last_entry()?;
            match entry.get_mut().pop() {
                Some(block) => return Some(block),
                None => drop(entry.remove()),
            }
        }
    }
}

/// Give kept blocks back to the system (as PyTorch's `empty_cache`). Nothing in use is touched.
pub fn empty_cache() {
    let mut pool = pool();
    let free = std::mem::take(&mut pool.free);
    (pool.kept, pool.most) = (0, pool.used);
    drop(pool);
    free.into_values().flatten().for_each(|block| block.release());
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(|e| e.into_inner())
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

fn layout(bytes: usize) -> Block {
    Block::from_size_align(bytes, ALIGN).expect("shapes are checked before memory is asked for")
}

/// The size a request is served with: exact for small blocks, whole pages above.
fn rounded(bytes: usize) -> usize {
    if bytes < POOLED { bytes.max(8) } else { bytes.next_multiple_of(4096) }
}

impl Memory {
    /// The bytes at `start`.
    ///
    /// # Safety
    /// While this lives they are initialised, aligned for the elements they are read as, and written by nobody
    /// else; nor read by others, where this is written through.
    pub(crate) unsafe fn lent(start: *mut u8, bytes: usize) -> Self {
        let start = NonNull::new(start).unwrap_or(NonNull::dangling());
        Memory::Lent(ManuallyDrop::new(Bytes { start, bytes }))
    }

    /// Where its bytes begin, for a planner that shares them out.
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.slice_mut::<u8>().as_mut_ptr()
    }

    /// Where the bytes of a lent block begin, for a kernel whose result may lie where an operand does: no reference
    /// to them is made.
    pub(crate) fn lent_start(&self) -> *mut u8 {
        match self {
            Memory::Lent(block) => block.start.as_ptr(),
            _ => unreachable!("a step lends what its kernels work on"),
        }
    }

    /// At least `bytes` bytes of unspecified content.
    pub(crate) fn new(bytes: usize) -> Self {
        if bytes <= IN_PLACE { Memory::Few([0; IN_PLACE / 8]) } else { Self::block(bytes) }
    }

    /// At least `bytes` zero bytes, which no pool had before.
    pub(crate) fn zeroed(bytes: usize) -> Self {
        if bytes <= IN_PLACE {
            Memory::Few([0; IN_PLACE / 8])
        } else {
            Memory::Many(Self::accounted(rounded(bytes)))
        }
    }

    /// A fresh block, with room made for it.
    fn accounted(size: usize) -> Bytes {
        if size >= POOLED {
            let mut pool = pool();
            pool.used += size;
            pool.most = pool.most.max(pool.used);
            let out = pool.make_room();
            drop(pool);
            out.into_iter().for_each(Bytes::release);
        }
        Bytes::fresh(size)
    }

    /// At least `bytes` bytes of unspecified content, aligned to 64.
    pub(crate) fn block(bytes: usize) -> Self {
        let size = rounded(bytes);
        if size >= POOLED {
            let (kept, out) = pool().take(size);
            out.into_iter().for_each(Bytes::release);
            if let Some(kept) = kept {
                return Memory::Many(kept);
            }
        }
        Memory::Many(Bytes::fresh(size))
    }

    /// All of it as elements. `bool` is sound because memory for truth values is made by `zeroed` and only
    /// ever written as `bool`.
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        let (start, bytes): (*const u8, usize) = match self {
            Memory::Few(words) => (words.as_ptr().cast(), IN_PLACE),
            Memory::Many(block) => (block.start.as_ptr(), block.bytes),
            Memory::Lent(block) => (block.start.as_ptr(), block.bytes),
        };
        // SAFETY: initialised, aligned to 8 or 64, and no longer than the words or the block.
        unsafe { std::slice::from_raw_parts(start.cast(), bytes / size_of::<T>()) }
    }

    /// All of it as elements, to be written.
    pub(crate) fn slice_mut<T: Element>(&mut self) -> &mut [T] {
        let (start, bytes): (*mut u8, usize) = match self {
            Memory::Few(words) => (words.as_mut_ptr().cast(), IN_PLACE),
            Memory::Many(block) => (block.start.as_ptr(), block.bytes),
            Memory::Lent(block) => (block.start.as_ptr(), block.bytes),
        };
        // SAFETY: as above, and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), bytes / size_of::<T>()) }
    }
}

impl Bytes {
    /// From the system. A large block that it refuses is an error like any other: what is in use stays sound.
    fn fresh(bytes: usize) -> Self {
        Self::asked(bytes).unwrap_or_else(|| {
            if bytes < POOLED {
                handle_alloc_error(layout(bytes))
            }
            empty_cache();
            Self::asked(bytes).unwrap_or_else(|| {
                let mut pool = pool();
                pool.used -= bytes;
                pool.most = pool.used;
                drop(pool);
                Error::no_room(bytes).raise()
            })
        })
    }

    fn asked(bytes: usize) -> Option<Self> {
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout(bytes)) };
        NonNull::new(start).map(|start| Bytes { start, bytes })
    }

    /// Back to the system.
    fn release(self) {
        let block = ManuallyDrop::new(self);
        // SAFETY: allocated with this very size and alignment, and nobody else owns it.
        unsafe { dealloc(block.start.as_ptr(), layout(block.bytes)) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let size = self.bytes;
        let block = Bytes { start: self.start, bytes: size };
        if size >= POOLED {
            let mut pool = pool();
            pool.used -= size;
            if pool.kept + size <= KEPT {
                pool.kept += size;
                pool.free.entry(size).or_default().push(block);
                return;
            }
        }
        block.release()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_the_system_refuses_is_an_error_and_takes_nothing() {
        let used = |bytes: usize| pool().used >= bytes;
        let refused = crate::attempt(|| Memory::new(1 << 62));
        let text = refused.err().expect("no machine has so much").to_string();
        assert!(text.contains("no room for 4611686018427387904 bytes"), "{text}");
        assert!(!used(1 << 62), "what was refused is not in use");
    }
}
