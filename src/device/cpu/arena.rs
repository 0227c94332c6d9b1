//! Working memory that a kernel is given as bytes, handed out as slices.
#![allow(unsafe_code)]

const LINE: usize = 64;

/// Types of which every bit pattern is a value.
///
/// # Safety
/// No padding, no invalid bit pattern, alignment at most 64.
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: numbers have no padding and no invalid bit pattern.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for isize {}
// SAFETY: as above.
unsafe impl Plain for usize {}
// SAFETY: as above.
unsafe impl Plain for u8 {}

/// The bytes that [`Scratch::take`] uses for `n` elements: whole lines of 64.
pub(crate) const fn room<T>(n: usize) -> usize {
    (n * size_of::<T>()).next_multiple_of(LINE)
}

/// What is left of a kernel's working memory.
pub(crate) struct Scratch<'a>(&'a mut [u8]);

impl<'a> Scratch<'a> {
    /// All of it; it starts at a multiple of 64.
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Scratch(bytes)
    }

    /// `n` elements of unspecified content, aligned to 64.
    ///
    /// # Panics
    /// When the kernel asks for more than it declared.
    pub(crate) fn take<T: Plain>(&mut self, n: usize) -> &'a mut [T] {
        let (bytes, rest) = std::mem::take(&mut self.0)
            .split_at_mut_checked(room::<T>(n))
            .expect("a kernel asks for the working memory that it declared");
        self.0 = rest;
        // SAFETY: `Plain` types are valid for any bytes.
        let (before, elements, _) = unsafe { bytes.align_to_mut::<T>() };
        assert!(before.is_empty(), "working memory starts at a multiple of 64");
        &mut elements[..n]
    }
}

/// Run `f` with working memory of so many bytes.
#[cfg(test)]
pub(crate) fn with_scratch<R>(bytes: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut memory = vec![0xa5u8; bytes + LINE];
    let skip = memory.as_ptr().align_offset(LINE);
    f(&mut memory[skip..skip + bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_aligned_and_apart() {
        with_scratch(room::<f32>(3) + room::<f64>(9), |bytes| {
            let mut scratch = Scratch::new(bytes);
            let a = scratch.take::<f32>(3);
            a.fill(1.0);
            let b = scratch.take::<f64>(9);
            b.fill(2.0);
            assert_eq!((a.as_ptr().addr() % 64, b.as_ptr().addr() % 64), (0, 0));
            assert_eq!((&*a, b.iter().sum::<f64>()), (&[1.0; 3][..], 18.0));
        });
    }
}
