//! Blocks of memory, aligned to 64 bytes and always initialised; large ones are kept for reuse.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout as Block, alloc_zeroed, dealloc, handle_alloc_error},
    collections::HashMap,
    ptr::NonNull,
    sync::{LazyLock, Mutex},
};

use crate::tensor::Element;

/// Smaller blocks go straight to the allocator.
const POOLED: usize = 16 << 10;
/// Freed blocks kept in all. Fresh pages cost a fault each, which is more than most kernels spend on them.
const KEPT: usize = 48 << 20;
const ALIGN: usize = 64;

/// A block of initialised bytes.
pub(crate) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block is plain bytes, owned; it is written through `&mut` and read through `&` alone.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

#[derive(Default)]
struct Pool {
    free: HashMap<usize, Vec<Memory>>,
    kept: usize,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

fn block(bytes: usize) -> Block {
    Block::from_size_align(bytes, ALIGN).expect("shapes are checked before memory is asked for")
}

/// The size a request is served with: exact for small blocks, whole pages above.
fn rounded(bytes: usize) -> usize {
    if bytes < POOLED { bytes.max(8) } else { bytes.next_multiple_of(4096) }
}

impl Memory {
    /// At least `bytes` bytes of unspecified content.
    pub(crate) fn new(bytes: usize) -> Self {
        let size = rounded(bytes);
        if size >= POOLED {
            let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(mut memory) = pool.free.get_mut(&size).and_then(Vec::pop) {
                pool.kept -= size;
                memory.bytes = size;
                return memory;
            }
        }
        Self::zeroed(bytes)
    }

    /// At least `bytes` zero bytes, fresh from the system.
    pub(crate) fn zeroed(bytes: usize) -> Self {
        let size = rounded(bytes);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(block(size)) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(block(size)) };
        Memory { start, bytes: size }
    }

    /// All of it as elements. `bool` is sound because blocks for truth values are made by `zeroed` and only
    /// ever written as `bool`.
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        // SAFETY: initialised, aligned to 64, and no longer than the block.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }

    /// All of it as elements, to be written.
    pub(crate) fn slice_mut<T: Element>(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let size = self.bytes;
        if size >= POOLED {
            let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
            if pool.kept + size <= KEPT {
                pool.kept += size;
                pool.free.entry(size).or_default().push(Memory { start: self.start, bytes: size });
                return;
            }
        }
        // SAFETY: allocated with this very size and alignment, and nobody else owns it.
        unsafe { dealloc(self.start.as_ptr(), block(size)) }
    }
}
