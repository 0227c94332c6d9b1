//! Memory for elements: always initialised; a few numbers in place, large blocks kept for reuse.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout as Block, alloc_zeroed, dealloc, handle_alloc_error},
    collections::HashMap,
    ptr::NonNull,
    sync::{LazyLock, Mutex},
};

use crate::tensor::Element;

/// Numbers that need no block of their own, in bytes.
const IN_PLACE: usize = 32;
/// Smaller blocks go straight to the allocator.
const POOLED: usize = 16 << 10;
/// Freed blocks kept in all. Fresh pages cost a fault each, which is more than most kernels spend on them.
const KEPT: usize = 48 << 20;
const ALIGN: usize = 64;

/// Initialised bytes.
pub(crate) enum Memory {
    /// In the handle itself: a scalar needs no allocation.
    Few([u64; IN_PLACE / 8]),
    /// A block of its own, aligned to 64 bytes.
    Many(Bytes),
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
    free: HashMap<usize, Vec<Bytes>>,
    kept: usize,
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
    /// At least `bytes` bytes of unspecified content.
    pub(crate) fn new(bytes: usize) -> Self {
        if bytes <= IN_PLACE { Memory::Few([0; IN_PLACE / 8]) } else { Self::block(bytes) }
    }

    /// At least `bytes` zero bytes, which no pool had before.
    pub(crate) fn zeroed(bytes: usize) -> Self {
        if bytes <= IN_PLACE { Memory::Few([0; IN_PLACE / 8]) } else { Memory::Many(Bytes::fresh(rounded(bytes))) }
    }

    /// At least `bytes` bytes of unspecified content, aligned to 64.
    pub(crate) fn block(bytes: usize) -> Self {
        let size = rounded(bytes);
        if size >= POOLED {
            let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(kept) = pool.free.get_mut(&size).and_then(Vec::pop) {
                pool.kept -= size;
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
        };
        // SAFETY: initialised, aligned to 8 or 64, and no longer than the words or the block.
        unsafe { std::slice::from_raw_parts(start.cast(), bytes / size_of::<T>()) }
    }

    /// All of it as elements, to be written.
    pub(crate) fn slice_mut<T: Element>(&mut self) -> &mut [T] {
        let (start, bytes): (*mut u8, usize) = match self {
            Memory::Few(words) => (words.as_mut_ptr().cast(), IN_PLACE),
            Memory::Many(block) => (block.start.as_ptr(), block.bytes),
        };
        // SAFETY: as above, and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), bytes / size_of::<T>()) }
    }
}

impl Bytes {
    fn fresh(bytes: usize) -> Self {
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout(bytes)) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout(bytes)) };
        Bytes { start, bytes }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let size = self.bytes;
        if size >= POOLED {
            let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
            if pool.kept + size <= KEPT {
                pool.kept += size;
                pool.free.entry(size).or_default().push(Bytes { start: self.start, bytes: size });
                return;
            }
        }
        // SAFETY: allocated with this very size and alignment, and nobody else owns it.
        unsafe { dealloc(self.start.as_ptr(), layout(size)) }
    }
}
