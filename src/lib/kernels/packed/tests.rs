//! Every kernel that this processor has against the plain sum over k.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// T, N, K: whole blocks, one less and one more of each, and the smallest.
const SHAPES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [2, 16, 4],
    [3, 17, 5],
    [4, 15, 31],
    [7, 33, 64],
    [8, 48, 32],
    [9, 49, 33],
    [16, 64, 128],
    [17, 80, 100],
    [31, 47, 66],
    [33, 95, 130],
    [70, 130, 384],
];

/// Sums of f32 in another order, or not rounded between product and sum; numbers are at most 1.
fn tolerance(k: usize) -> f64 {
    k as f64 * 2f64.powi(-23)
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// x Wᵀ in f64.
fn plain(x: &[f32], w: &[f32], k: usize) -> Vec<f64> {
    let dot =
        |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
    x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| dot(x, w))).collect()
}

struct Stored<T> {
    out: Vec<Option<T>>,
    columns: usize,
}

impl<T: Copy> Sink<T> for Stored<T> {
    fn put(&mut self, row: usize, panel: usize, sums: &[T; WIDTH]) {
        for (at, sum) in (panel * WIDTH..self.columns).zip(sums) {
            let before = self.out[row * self.columns + at].replace(*sum);
            assert!(before.is_none(), "a sum that is put twice: row {row}, column {at}");
        }
    }
}

impl<T: Copy> Stored<T> {
    fn new([rows, columns, _]: [usize; 3]) -> Stored<T> {
        Stored { out: vec![None; rows * columns], columns }
    }

    fn all(self) -> Vec<T> {
        self.out.into_iter().map(|sum| sum.expect("every sum is put")).collect()
    }
}

/// Says what this processor cannot run.
fn kernels(kind: Kind) -> Vec<Isa> {
    let all = Isa::all(kind);
    #[cfg(target_arch = "x86_64")]
    if kind != Kind::F32 && !all.contains(&Isa::Amx) {
        eprintln!("skipped: no AMX");
    }
    eprintln!("{kind:?}: {all:?}");
    all
}

#[track_caller]
fn check_near(got: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(got) - expected).abs();
        assert!(off <= tolerance, "{what}, {at}: {got} not {expected}");
    }
}

#[test]
fn products_of_f32_are_the_plain_sums() {
    for isa in kernels(Kind::F32) {
        for (seed, shape @ [t, n, k]) in (0..).zip(SHAPES) {
            let (x, w) = (random(t * k, seed), random(n * k, seed + 100));
            let panels = Panels::of_weights(Kind::F32, &w, k);
            let mut got = Stored::new(shape);
            floats(isa, Rows::of_floats(&x, k, t), &panels, 0..panels.count(), &mut got);
            let what = format!("{isa:?} {shape:?}");
            check_near(&got.all(), &plain(&x, &w, k), tolerance(k), &what);
        }
    }
}

#[test]
fn products_of_bf16_are_the_plain_sums_of_rounded_numbers() {
    let round = |x: &[f32]| -> Vec<f32> {
        x.iter().map(|&x| f32::from_bits(bf16::rounded(x) << 16)).collect()
    };
    for isa in kernels(Kind::Bf16) {
        for (seed, shape @ [t, n, k]) in (0..).zip(SHAPES) {
            let (x, w) = (random(t * k, seed), random(n * k, seed + 100));
            let panels = Panels::of_weights(Kind::Bf16, &w, k);
            let mut words = Words::default();
            words.round(&random(3 * k, 5), k); // what stood there before does not matter
            words.round(&x, k);
            let mut got = Stored::new(shape);
            floats(isa, words.rows(), &panels, 0..panels.count(), &mut got);
            let what = format!("{isa:?} {shape:?}");
            check_near(&got.all(), &plain(&round(&x), &round(&w), k), tolerance(k), &what);
        }
    }
}

#[test]
fn products_of_bytes_are_exact() {
    for isa in kernels(Kind::Int8) {
        for (seed, shape @ [t, n, k]) in (0..).zip(SHAPES) {
            let bytes = |count, seed| random(count, seed).into_iter().map(|x| (x * 128.0) as i8);
            let mut x: Vec<u8> =
                bytes(t * k, seed).map(|byte| byte.cast_unsigned() ^ 0x80).collect();
            let mut w: Vec<i8> = bytes(n * k, seed + 100).collect();
            // sums of four that leave 16 bits
            x[..k].fill(255);
            w[..k].fill(127);
            let panels = Panels::of_bytes(&w, k);
            let mut words = Words::bytes(t, k);
            x.chunks(k).enumerate().for_each(|(row, bytes)| words.set_bytes(row, bytes));
            let mut got = Stored::new(shape);
            integers(isa, words.rows(), &panels, 0..panels.count(), &mut got);
            let dot = |x: &[u8], w: &[i8]| -> i32 {
                x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
            };
            let expected = x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| dot(x, w)));
            assert_eq!(got.all(), expected.collect::<Vec<_>>(), "{isa:?} {shape:?}");
        }
    }
}

#[test]
fn a_row_is_the_same_bits_alone_and_among_others() {
    let [t, n, k] = [37, 83, 96];
    let (x, w) = (random(t * k, 1), random(n * k, 2));
    for kind in [Kind::F32, Kind::Bf16] {
        let panels = Panels::of_weights(kind, &w, k);
        for isa in kernels(kind) {
            let product = |x: &[f32], range: std::ops::Range<usize>| {
                let rows = x.len() / k;
                let mut words = Words::default();
                words.round(x, k);
                let from =
                    if kind == Kind::F32 { Rows::of_floats(x, k, rows) } else { words.rows() };
                let mut got = Stored::new([rows, n, k]);
                floats(isa, from, &panels, range, &mut got);
                got.out
            };
            let whole = product(&x, 0..panels.count());
            for (row, x) in x.chunks(k).enumerate() {
                assert_eq!(product(x, 0..panels.count()), whole[row * n..][..n], "{isa:?} {row}");
            }
            let part = product(&x, 2..3);
            assert_eq!(part[32..48], whole[32..48], "{isa:?}");
            assert_eq!(part.iter().flatten().count(), t * WIDTH, "only the panels of the range");
        }
    }
}

/// Portable loops round products before they add them; all others do not, and add in the same order.
#[test]
fn processors_that_add_products_unrounded_agree_bit_for_bit() {
    let [t, n, k] = [21, 50, 67];
    let (x, w) = (random(t * k, 1), random(n * k, 2));
    let panels = Panels::of_weights(Kind::F32, &w, k);
    let fused = kernels(Kind::F32).into_iter().filter(|&isa| isa != Isa::Portable);
    let products: Vec<_> = fused
        .map(|isa| {
            let mut got = Stored::new([t, n, k]);
            floats(isa, Rows::of_floats(&x, k, t), &panels, 0..panels.count(), &mut got);
            let mut best = Found::new(WIDTH);
            largest(isa, &x, &w[..WIDTH * k], k, &mut best.lent());
            (got.all(), best.values)
        })
        .collect();
    for pair in products.windows(2) {
        assert_eq!(pair[0], pair[1]);
    }
}

#[test]
fn a_layer_adds_its_bias_and_finishes() {
    let [t, n, k] = [11, 21, 40];
    let (x, w, b, before) = (random(t * k, 1), random(n * k, 2), random(n, 3), random(t * n, 4));
    let sums = plain(&x, &w, k);
    for kind in [Kind::F32, Kind::Bf16] {
        let layer = PackedLinear::new(kind, &w, k, b.clone());
        for finish in [Finish::Overwrite, Finish::Gelu, Finish::Add] {
            let mut got = before.clone();
            layer.apply(&x, &mut got, finish);
            let expected = sums.iter().enumerate().map(|(at, sum)| {
                let y = sum + f64::from(b[at % n]);
                match finish {
                    Finish::Overwrite => y,
                    Finish::Gelu => f64::from(crate::kernels::slices::gelu_of(y as f32)),
                    Finish::Add => y + f64::from(before[at]),
                }
            });
            let tolerance = if kind == Kind::F32 { 1e-5 } else { 0.05 };
            check_near(
                &got,
                &expected.collect::<Vec<_>>(),
                tolerance,
                &format!("{kind:?} {finish:?}"),
            );
        }
    }
}

/// Room for the largest products of some terms.
#[derive(Debug, PartialEq)]
struct Found {
    values: Vec<f32>,
    tokens: Vec<u32>,
}

impl Found {
    fn new(terms: usize) -> Found {
        Found { values: vec![0.0; terms], tokens: vec![9; terms] }
    }

    fn lent(&mut self) -> Best<'_> {
        Best { values: &mut self.values, tokens: &mut self.tokens }
    }
}

#[test]
fn the_largest_dot_product_is_the_same_bits_however_it_is_found() {
    for (t, n, k) in [(1, 1, 16), (5, 16, 40), (13, 7, 100), (2, 3, 5)] {
        let (h, w) = (random(t * k, 1), random(n * k, 2));
        let sums = plain(&h, &w, k);
        for isa in kernels(Kind::F32) {
            let mut best = Found::new(n);
            largest(isa, &h, &w, k, &mut best.lent());
            let mut candidates = Candidates::default();
            let everything = vec![[1.0; WIDTH]; t];
            candidates.find(isa, &everything, &[1.0; WIDTH]);
            assert_eq!(candidates.count, t * WIDTH);
            let mut same = Found::new(n);
            candidates.largest(isa, &h, &w, k, &mut same.lent());
            assert_eq!(best, same, "{isa:?}");
            for (term, &token) in best.tokens.iter().enumerate() {
                let sum = sums[token as usize * n + term];
                assert!((0..t).all(|other| sums[other * n + term] <= sum + 1e-4), "{isa:?}");
            }
            let expected = (0..n).map(|term| {
                (0..t).map(|token| sums[token * n + term]).fold(f64::NEG_INFINITY, f64::max)
            });
            check_near(
                &best.values,
                &expected.collect::<Vec<_>>(),
                tolerance(k),
                &format!("{isa:?}"),
            );
        }
    }
}

#[test]
fn a_product_that_is_no_number_is_the_largest() {
    for isa in kernels(Kind::F32) {
        for at in 0..5 {
            let mut h = [1.0; 5]; // K = 1
            h[at] = f32::NAN;
            let mut best = Found::new(2);
            largest(isa, &h, &[1.0, 2.0], 1, &mut best.lent());
            assert!(best.values.iter().all(|best| best.is_nan()), "{isa:?} {best:?}");
        }
    }
}

#[test]
fn candidates_are_the_tokens_that_reach_a_threshold() {
    let mut upper = vec![[0.0; WIDTH]; 3];
    (upper[1][2], upper[2][2], upper[2][15], upper[0][4]) = (1.0, 3.0, 1.0, f32::NAN);
    let [h, w] = [[1.0, 5.0, 2.0], [1.0; 3]]; // K = 1
    for isa in kernels(Kind::F32) {
        let mut candidates = Candidates::default();
        candidates.find(isa, &upper, &[1.0; WIDTH]);
        assert_eq!(candidates.count, 3);
        let mut best = Found::new(3);
        candidates.largest(isa, &h, &w, 1, &mut best.lent());
        assert_eq!(best.values, [f32::NEG_INFINITY, f32::NEG_INFINITY, 5.0]);
        assert_eq!(best.tokens[2], 1);
    }
}
