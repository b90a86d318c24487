//! Document ids of one block as bytes: the seam at which another coding enters.
//!
//! A block holds 1 to [`BLOCK`] ascending ids. Coded are the gaps: each id less the lowest it could
//! have been (the one before + 1, or `base` for the first), all in the same number of bits, the
//! first in the lowest bits of the first byte. The decoder takes any bytes: it gives ids that
//! strictly ascend from `base`, or nothing.

/// Postings in a full block; only the last block of a list may hold fewer.
pub(super) const BLOCK: usize = 128;

/// Appends the gaps of `docs`, which ascend from `base` on; returns the bits a gap.
pub(super) fn encode(base: u32, docs: &[u32], bytes: &mut Vec<u8>) -> u8 {
    let gaps = |base: u32| {
        docs.iter().scan(base, |lowest, &doc| {
            let gap = doc - *lowest;
            *lowest = doc.saturating_add(1);
            Some(gap)
        })
    };
    let width = gaps(base).map(|gap| 32 - gap.leading_zeros()).max().unwrap_or(0);
    let (mut held, mut bits) = (0u64, 0u32);
    for gap in gaps(base) {
        held |= u64::from(gap) << bits;
        bits += width;
        while bits >= 8 {
            bytes.push((held & 0xff) as u8);
            held >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        bytes.push((held & 0xff) as u8);
    }
    width as u8
}

/// Bytes that the gaps of `count` ids take at `width` bits each.
pub(super) fn encoded_len(count: usize, width: u8) -> usize {
    (count * usize::from(width)).div_ceil(8)
}

/// Reads as many ids as `docs` holds, at most [`BLOCK`], from the first [`encoded_len`] bytes.
///
/// None if the bytes are too few, the width is above 32, or an id does not fit into 32 bits.
pub(super) fn decode(bytes: &[u8], width: u8, base: u32, docs: &mut [u32]) -> Option<()> {
    if width > 32 || docs.len() > BLOCK {
        return None;
    }
    let packed = bytes.get(..encoded_len(docs.len(), width))?;
    // copied, so that eight bytes can be read wherever a gap starts
    let mut padded = [0u8; BLOCK * 4 + 8];
    padded[..packed.len()].copy_from_slice(packed);
    let mask = (1u64 << width) - 1;
    let mut lowest = u64::from(base);
    for (position, doc) in docs.iter_mut().enumerate() {
        let bit = position * usize::from(width);
        let word = padded[bit / 8..bit / 8 + 8].try_into().expect("eight bytes");
        let id = lowest + ((u64::from_le_bytes(word) >> (bit % 8)) & mask);
        *doc = id as u32; // cut ids are refused below: ids ascend, so the last is the largest
        lowest = id + 1;
    }
    (lowest <= 1 << 32).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(base: u32, docs: &[u32], length: usize) {
        let mut bytes = Vec::new();
        let width = encode(base, docs, &mut bytes);
        assert_eq!(bytes.len(), length);
        assert_eq!(encoded_len(docs.len(), width), length);
        let mut read = vec![0; docs.len()];
        decode(&bytes, width, base, &mut read).unwrap();
        assert_eq!(read, docs);
    }

    #[test]
    fn runs_of_neighbours_take_nothing_and_the_widest_gap_fits() {
        check(7, &[7, 8, 9], 0);
        check(0, &[1, 2, 4], 1);
        check(0, &[u32::MAX], 4);
        check(0, &[0, u32::MAX], 8);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            base in 0u32..1000,
            gaps in prop::collection::vec(0u32..100_000, 1..=BLOCK),
        ) {
            let mut lowest = base;
            let docs: Vec<u32> = gaps.iter().map(|gap| {
                let doc = lowest + gap;
                lowest = doc + 1;
                doc
            }).collect();
            let mut bytes = Vec::new();
            let width = encode(base, &docs, &mut bytes);
            let mut read = vec![0; docs.len()];
            prop_assert!(decode(&bytes, width, base, &mut read).is_some());
            prop_assert_eq!(read, docs);
        }

        #[test]
        fn any_bytes_give_ascending_ids_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            width in any::<u8>(),
            base in any::<u32>(),
            count in 0usize..=BLOCK,
        ) {
            let mut docs = vec![0; count];
            if decode(&bytes, width, base, &mut docs).is_some() {
                prop_assert!(docs.first().is_none_or(|&first| first >= base));
                prop_assert!(docs.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}
