//! f32 rounded to 16 bits: the upper half of its bits, to nearest, of two equally near the even one.

/// The bits of a number's upper half, rounded. Not a number stays none.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let even = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if x.is_nan() { (bits >> 16) | 0x40 } else { even }
}

/// Two numbers as a word, the first in the lower half.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> u32 {
    rounded(first) | (rounded(second) << 16)
}

/// The two numbers of a word.
#[inline(always)]
pub(super) fn widened(word: u32) -> [f32; 2] {
    [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_even() {
        for (x, expected) in [
            (1.0, 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80), // half way: to the even one
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (-0.0, 0x8000),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
        ] {
            assert_eq!(rounded(x), expected, "{x}");
        }
        let [first, second] = widened(pair(f32::from_bits(0x7f80_0001), -2.0));
        assert!(first.is_nan() && second == -2.0);
    }
}
