//! The newest frames of a stream in memory, so that consumers that keep up do not read from disk.

use std::collections::VecDeque;

use super::batch::BatchBuilder;
use super::frame::Frame;

/// The approximate memory of a frame besides its bytes.
const FRAME_OVERHEAD_BYTES: usize = 128;

/// Contiguous frames, oldest first.
#[derive(Debug)]
pub struct Tail {
    frames: VecDeque<Frame>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub fn new(bytes_max: usize) -> Tail {
        Tail { frames: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub fn push(&mut self, frame: Frame) {
        if self.frames.back().is_some_and(|last| last.header.end_offset() != frame.header.base_offset) {
            self.frames.clear();
            self.bytes = 0;
        }
        self.bytes += cost(&frame);
        self.frames.push_back(frame);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= cost(&oldest);
        }
    }

    pub fn holds(&self, offset: u64) -> bool {
        self.frames.front().is_some_and(|first| first.header.base_offset <= offset)
            && self.frames.back().is_some_and(|last| offset < last.header.end_offset())
    }

    /// The frame that contains an offset.
    pub fn frame(&self, offset: u64) -> Option<&Frame> {
        let after = self.frames.partition_point(|frame| frame.header.base_offset <= offset);
        self.frames.get(after.checked_sub(1)?).filter(|frame| frame.contains(offset))
    }

    /// Fills a batch whose next offset is in memory.
    pub(super) fn read(&self, out: &mut BatchBuilder) {
        let after = self.frames.partition_point(|frame| frame.header.base_offset <= out.next_offset());
        for frame in self.frames.range(after.saturating_sub(1)..) {
            if out.is_full() || !frame.contains(out.next_offset()) {
                break;
            }
            out.take_from(frame);
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(frame: &Frame) -> usize {
    frame.memory_bytes + FRAME_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::batch::RecordBatch;
    use super::*;

    fn frame(base_offset: u64, records: usize) -> Frame {
        let mut batch = RecordBatch::with_capacity(records * 104);
        for _ in 0..records {
            batch.push(&[0; 100]).unwrap();
        }
        let (header, _) = batch.seal(base_offset, 0, 1);
        batch.take_frame(header)
    }

    #[test]
    fn the_oldest_frames_are_evicted_first_and_the_bound_holds() {
        let mut tail = Tail::new(10_000);
        for i in 0..100 {
            tail.push(frame(i * 10, 10));
            assert!(tail.bytes() <= 10_000);
        }
        assert!(!tail.holds(0) && tail.holds(999) && !tail.holds(1000));
        let mut out = BatchBuilder::new(985, 100, 1 << 20);
        tail.read(&mut out);
        let out = out.finish();
        assert_eq!((out.len(), out.next_offset()), (15, 1000));
        assert_eq!(tail.frame(985).unwrap().header.base_offset, 980);
    }

    #[test]
    fn a_frame_larger_than_the_bound_is_not_kept() {
        let mut tail = Tail::new(100);
        tail.push(frame(0, 10));
        assert_eq!((tail.bytes(), tail.holds(0)), (0, false));
    }
}
