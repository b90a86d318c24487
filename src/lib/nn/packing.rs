//! Which rows of a packed matrix belong to which document: texts of any length without padding.

use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::error::Result;

/// Documents of given lengths, row after row: `[rows, …]` with `rows` the sum of the lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    lengths: Vec<usize>,
    first: usize,
}

impl Packing {
    /// Documents of `lengths`, the first of which is number `first` of its batch: a batch that is
    /// cut into parts drops the same numbers out as the whole.
    pub fn new(lengths: Vec<usize>, first: usize) -> Packing {
        Packing { lengths, first }
    }

    /// Rows of each document.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// All rows.
    pub fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// The longest document.
    pub fn widest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Each document's number in its batch, and its rows.
    pub fn documents(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut from = 0;
        self.lengths.iter().enumerate().map(move |(at, &length)| {
            from += length;
            (self.first + at, from - length..from)
        })
    }

    /// The place of each row in its document.
    pub fn places(&self) -> Vec<u32> {
        self.lengths.iter().flat_map(|&length| 0..length as u32).collect()
    }

    /// Ranges of documents that have `rows` rows or a little more together.
    pub(super) fn groups(&self, rows: usize) -> Vec<Range<usize>> {
        let (mut groups, mut from, mut sum) = (Vec::new(), 0, 0);
        for (at, length) in self.lengths.iter().enumerate() {
            sum += length;
            if sum >= rows || at + 1 == self.lengths.len() {
                groups.push(from..at + 1);
                (from, sum) = (at + 1, 0);
            }
        }
        groups
    }

    /// Each document's number in its batch, and its part of packed rows of `width` numbers.
    pub(super) fn split_mut<'a>(
        &self,
        mut numbers: &'a mut [f32],
        width: usize,
    ) -> Vec<(usize, &'a mut [f32])> {
        let part = |(document, rows): (usize, Range<usize>)| {
            let (part, behind) = std::mem::take(&mut numbers).split_at_mut(rows.len() * width);
            numbers = behind;
            (document, part)
        };
        self.documents().map(part).collect()
    }

    /// Where each cell of a padded `[B, T]` is found in the packed rows; padding points at row 0.
    pub(super) fn padded(&self, device: &Device) -> Result<Tensor> {
        let width = self.widest();
        let mut cells = vec![0u32; self.lengths.len() * width];
        for (cells, (_, rows)) in cells.chunks_exact_mut(width.max(1)).zip(self.documents()) {
            cells.iter_mut().zip(rows).for_each(|(cell, row)| *cell = row as u32);
        }
        Ok(Tensor::new(cells, device)?)
    }

    /// Where each packed row is found in a padded `[B · T]`.
    pub(super) fn packed(&self, device: &Device) -> Result<Tensor> {
        let width = self.widest();
        let cells = self.lengths.iter().enumerate();
        let cells: Vec<u32> = cells
            .flat_map(|(at, &length)| (at * width..at * width + length).map(|cell| cell as u32))
            .collect();
        Ok(Tensor::new(cells, device)?)
    }

    /// `[B, T]`: 0 on tokens, −∞ on padding.
    pub(super) fn padding(&self, device: &Device) -> Result<Tensor> {
        let width = self.widest();
        let cells = self.lengths.iter().flat_map(|&length| {
            (0..width).map(move |at| if at < length { 0.0 } else { f32::NEG_INFINITY })
        });
        Ok(Tensor::from_iter(cells, device)?.reshape((self.lengths.len(), width))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_cells_find_each_other() {
        let packing = Packing::new(vec![2, 3], 4);
        assert_eq!((packing.rows(), packing.widest()), (5, 3));
        assert_eq!(packing.documents().collect::<Vec<_>>(), [(4, 0..2), (5, 2..5)]);
        assert_eq!(packing.groups(3).len(), 1);
        assert_eq!(packing.groups(2), [0..1, 1..2]);
        let mut numbers = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(packing.split_mut(&mut numbers, 1)[1], (5, &mut [3.0, 4.0, 5.0][..]));
        let cells: Vec<u32> = packing.padded(&Device::Cpu).unwrap().to_vec1().unwrap();
        assert_eq!(cells, [0, 1, 0, 2, 3, 4]);
        let rows: Vec<u32> = packing.packed(&Device::Cpu).unwrap().to_vec1().unwrap();
        assert_eq!(rows, [0, 1, 3, 4, 5]);
        let padding: Vec<Vec<f32>> = packing.padding(&Device::Cpu).unwrap().to_vec2().unwrap();
        assert_eq!(padding[0], [0.0, 0.0, f32::NEG_INFINITY]);
    }
}
