//! A memory allocator for runs that last microseconds.
//!
//! An instance lives for one run, so memory is handed out from the front, what is freed
//! is kept in lists by size for the next of its size, and nothing is ever given back.
//! The last block grows and shrinks where it is, which is what a growing string or
//! vector usually is. Owns all of the heap; never used natively but by its own tests.
#![allow(unsafe_code, reason = "an allocator deals in raw memory")]

use std::alloc::Layout;

/// Lists of free blocks: two sizes for each power of two, up to 4 GiB.
const CLASSES: usize = 58;
/// Every block's alignment; few types need more.
const ALIGN: usize = 8;

/// The heap's state. Addresses are plain numbers; 0 is none.
struct Heap {
    /// The first address never handed out, or handed back at the end.
    next: usize,
    /// The end of what may be handed out.
    end: usize,
    /// The first free block of each class; each holds the address of the following one.
    free: [usize; CLASSES],
}

/// The class of blocks for a size: 16, 24, 32, 48, 64, 96, …
fn class(size: usize) -> usize {
    if size <= 16 {
        return 0;
    }
    let power = (size - 1).ilog2() as usize;
    let half = ((size - 1) >> (power - 1)) & 1;
    1 + (power - 4) * 2 + half
}

/// The size of a class's blocks.
fn block(class: usize) -> usize {
    if class == 0 {
        return 16;
    }
    let power = 4 + (class - 1) / 2;
    let half = (class - 1) % 2;
    (1 << power) + ((half + 1) << (power - 1))
}

impl Heap {
    #[cfg(target_arch = "wasm32")]
    const fn new() -> Self {
        Heap { next: 0, end: 0, free: [0; CLASSES] }
    }

    /// An address for a layout, or 0. `grow` makes room for up to so many bytes more and
    /// answers the new end.
    ///
    /// # Safety
    ///
    /// From `next` to `end`, and to every end that `grow` answers, memory must be valid and
    /// nobody else's.
    unsafe fn allocate(
        &mut self,
        layout: Layout,
        grow: impl FnOnce(usize) -> Option<usize>,
    ) -> usize {
        let class = class(layout.size());
        if class >= CLASSES {
            return 0;
        }
        let reused = self.free[class];
        if reused != 0 && layout.align() <= ALIGN {
            // SAFETY: a listed block is ours, and at its start is the next one's address.
            self.free[class] = unsafe { *(reused as *const usize) };
            return reused;
        }
        let align = layout.align().max(ALIGN);
        let Some(start) = self.next.checked_next_multiple_of(align) else { return 0 };
        if self.reach(start, class, grow) { start } else { 0 }
    }

    /// Takes everything up to the end of a block of this class at `start`.
    fn reach(
        &mut self,
        start: usize,
        class: usize,
        grow: impl FnOnce(usize) -> Option<usize>,
    ) -> bool {
        let Some(stop) = start.checked_add(block(class)) else { return false };
        if stop > self.end {
            match grow(stop - self.end) {
                Some(end) if end >= stop => self.end = end,
                _ => return false,
            }
        }
        self.next = stop;
        true
    }

    fn is_last(&self, address: usize, class: usize) -> bool {
        address + block(class) == self.next
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// It must be one that `allocate` or `resize` answered for this size.
    unsafe fn free(&mut self, address: usize, size: usize) {
        let class = class(size);
        if self.is_last(address, class) {
            self.next = address;
            return;
        }
        // SAFETY: the block is at least 16 bytes, aligned, and no longer in use.
        unsafe { *(address as *mut usize) = self.free[class] };
        self.free[class] = address;
    }

    /// Makes a block larger or smaller where it is, if it can be.
    fn resize(
        &mut self,
        address: usize,
        old: usize,
        new: usize,
        grow: impl FnOnce(usize) -> Option<usize>,
    ) -> bool {
        let (old, new) = (class(old), class(new));
        if new >= CLASSES {
            return false;
        }
        if self.is_last(address, old) {
            return self.reach(address, new, grow);
        }
        // A smaller block may stay: what is left over is lost, for microseconds.
        new <= old
    }
}

#[cfg(target_arch = "wasm32")]
mod global {
    use super::Heap;
    use std::alloc::{GlobalAlloc, Layout};
    use std::arch::wasm32::{memory_grow, memory_size};
    use std::cell::UnsafeCell;

    const PAGE: usize = 65536;
    /// Pages asked for at once, so that small runs ask seldom.
    const STEP: usize = 4;

    unsafe extern "C" {
        /// Where the linker says that data and stack end.
        static __heap_base: u8;
    }

    struct Allocator(UnsafeCell<Heap>);

    // SAFETY: a plugin has one thread: the interface knows no other.
    unsafe impl Sync for Allocator {}

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator(UnsafeCell::new(Heap::new()));

    impl Allocator {
        /// # Safety
        ///
        /// The answer must be gone before the next call.
        #[allow(clippy::mut_from_ref, reason = "that is what the cell is for")]
        unsafe fn heap(&self) -> &mut Heap {
            // SAFETY: one thread, and no method below calls another while it has this.
            let heap = unsafe { &mut *self.0.get() };
            if heap.next == 0 {
                heap.next = (&raw const __heap_base) as usize;
                heap.end = memory_size(0) * PAGE;
            }
            heap
        }
    }

    fn grow(bytes: usize) -> Option<usize> {
        let pages = bytes.div_ceil(PAGE);
        // More than is needed if there is more; no more than is needed near the limit.
        for pages in [pages.max(STEP), pages] {
            if memory_grow(0, pages) != usize::MAX {
                return memory_size(0).checked_mul(PAGE);
            }
        }
        None
    }

    // SAFETY: blocks are as large and as aligned as asked for, disjoint, and stay where
    // they are; memory comes from `memory.grow`, which nobody else calls.
    unsafe impl GlobalAlloc for Allocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: see `heap` and `grow`.
            unsafe { self.heap().allocate(layout, grow) as *mut u8 }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: the caller hands back what `alloc` answered, with its layout.
            unsafe { self.heap().free(pointer as usize, layout.size()) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: as above; the layout is valid, being the old one's alignment and a
            // size the caller vouches for.
            unsafe {
                if self.heap().resize(pointer as usize, layout.size(), size, grow) {
                    return pointer;
                }
                let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !new.is_null() {
                    std::ptr::copy_nonoverlapping(pointer, new, layout.size().min(size));
                    self.dealloc(pointer, layout);
                }
                new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGN, CLASSES, Heap, block, class};
    use std::alloc::Layout;

    #[test]
    fn a_block_holds_its_class_and_wastes_at_most_half() {
        for size in (0..5000).chain([1 << 20, (1 << 20) + 1, 3 << 20, 100 << 20]) {
            let class = class(size);
            assert!(class < CLASSES);
            assert!(block(class) >= size && block(class).is_multiple_of(ALIGN), "{size}");
            assert!(size <= 16 || block(class) <= size + size / 2 + 1, "{size}");
            assert!(class == 0 || block(class - 1) < size, "{size}");
        }
    }

    /// Random work against a model: blocks never overlap, and keep what was written.
    #[test]
    fn blocks_are_disjoint_and_keep_their_contents() {
        let mut memory = vec![0_u64; 1 << 17];
        let start = memory.as_mut_ptr() as usize;
        let limit = start + memory.len() * 8;
        let mut heap = Heap { next: start, end: start, free: [0; CLASSES] };
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut live: Vec<(usize, usize, u8)> = Vec::new();
        for step in 0..20_000_usize {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let size = 1 + (random >> 8) as usize % 700;
            let align = 1 << ((random >> 32) % 6);
            let end = heap.end;
            let grow = |bytes: usize| (end + bytes + 512 <= limit).then_some(end + bytes + 512);
            if random.is_multiple_of(3) && !live.is_empty() {
                let (address, size, mark) = live.swap_remove(random as usize % live.len());
                check(address, size, mark);
                // SAFETY: it is one of the live blocks, with its size.
                unsafe { heap.free(address, size) };
                continue;
            }
            let pick = random as usize % (live.len() + 1);
            if random.is_multiple_of(5) && pick < live.len() {
                let (address, old, mark) = live[pick];
                if heap.resize(address, old, size, grow) {
                    check(address, old.min(size), mark);
                    fill(address, size, mark);
                    live[pick].1 = size;
                }
                continue;
            }
            let Ok(layout) = Layout::from_size_align(size, align) else { continue };
            // SAFETY: from `start` to `limit` the memory is this test's.
            let address = unsafe { heap.allocate(layout, grow) };
            if address != 0 {
                assert_eq!(address % align, 0);
                let mark = step as u8;
                fill(address, size, mark);
                live.push((address, size, mark));
            }
        }
        assert!(live.len() > 100);
        for (address, size, mark) in live {
            check(address, size, mark);
        }
    }

    fn fill(address: usize, size: usize, mark: u8) {
        // SAFETY: a live block of this size.
        unsafe { std::ptr::write_bytes(address as *mut u8, mark, size) };
    }

    fn check(address: usize, size: usize, mark: u8) {
        // SAFETY: a live block of this size, filled.
        let block = unsafe { std::slice::from_raw_parts(address as *const u8, size) };
        assert!(block.iter().all(|byte| *byte == mark));
    }
}
