//! Loops over pairs of numbers of one row.

use pulp::Arch;

use super::gelu_of;

/// gelu(a) · b for every row of `both`, `[T, 2I]`, into `out`, `[T, I]`; a begins at column `from`, 0 or I.
pub(crate) fn gated(both: &[f32], from: usize, out: &mut [f32], width: usize) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let rows = out;
            for (both, row) in both.chunks_exact(2 * width).zip(rows.chunks_exact_mut(width)) {
                let (active, other) = (&both[from..][..width], &both[width - from..][..width]);
                for ((y, &a), b) in row.iter_mut().zip(active).zip(other) {
                    *y = gelu_of(a) * b;
                }
            }
        },
    );
}

/// Turns pairs of numbers in the first `columns` of every row: number i of a head with number i + `pairs`,
/// by the cosines and sines that the same row of `table` has, `[T, 2 · pairs]`.
pub(crate) fn rotate(x: &mut [f32], stride: usize, columns: usize, table: &[f32], pairs: usize) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let rows = x;
            for (row, angles) in rows.chunks_exact_mut(stride).zip(table.chunks_exact(2 * pairs)) {
                let (cosines, sines) = angles.split_at(pairs);
                for head in row[..columns].chunks_exact_mut(2 * pairs) {
                    let (first, second) = head.split_at_mut(pairs);
                    let numbers = first.iter_mut().zip(second).zip(cosines).zip(sines);
                    for (((first, second), cosine), sine) in numbers {
                        (*first, *second) =
                            (*first * cosine - *second * sine, *second * cosine + *first * sine);
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_gated_and_pairs_are_turned() {
        let both = [0.0, 2.0, 5.0, 7.0];
        let mut out = [1.0; 2];
        gated(&both, 0, &mut out, 2);
        assert_eq!(out, [0.0, gelu_of(2.0) * 7.0]);
        gated(&both, 2, &mut out, 2);
        assert_eq!(out, [0.0, gelu_of(7.0) * 2.0]);
        // two heads of one pair, the third column is none of theirs; a quarter turn
        let mut x = [1.0, 2.0, 3.0, 4.0, 9.0];
        rotate(&mut x, 5, 4, &[0.0, 1.0], 1);
        assert_eq!(x, [-2.0, 1.0, -4.0, 3.0, 9.0]);
    }
}
