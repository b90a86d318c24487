//! The screened head against the one that computes every product.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

struct Case {
    states: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// Numbers whose spread differs from row to row, as `peak` grows ever more.
fn random(random: &mut ChaCha8Rng, rows: usize, k: usize, peak: i32) -> Vec<f32> {
    let row = |_| {
        let spread = random.random_range(0.1f32..2.0).powi(peak);
        (0..k).map(|_| spread * random.random_range(-1.0f32..1.0).powi(3)).collect::<Vec<_>>()
    };
    (0..rows).flat_map(row).collect()
}

fn case(tokens: usize, terms: usize, k: usize, peak: i32, bias: f32, seed: u64) -> Case {
    let from = &mut ChaCha8Rng::seed_from_u64(seed);
    Case {
        states: random(from, tokens, k, peak),
        weights: random(from, terms, k, peak),
        bias: random(from, terms, 1, 1).into_iter().map(|x| x + bias).collect(),
    }
}

fn logits(screen: &Int8Filter, case: &Case) -> (Vec<f32>, Vec<u32>) {
    let states = screen.states(case.states.clone());
    let (mut values, mut tokens) = (vec![0.0; case.bias.len()], vec![9; case.bias.len()]);
    let best = Best { values: &mut values, tokens: &mut tokens };
    screen.largest(&states, 0, &case.weights, best, &mut Scratch::default());
    let logits = values.iter().zip(&case.bias).map(|(best, bias)| best + bias);
    (logits.collect(), tokens)
}

/// Bit for bit the logits of the unscreened head, and their tokens, where they are above 0, and none
/// elsewhere.
#[track_caller]
fn check(case: &Case, what: &str) {
    for floats in Isa::all(Kind::F32) {
        let all = Int8Filter::with(&case.weights, &case.bias, floats, None);
        let (expected, tokens) = logits(&all, case);
        for bytes in Isa::all(Kind::Int8) {
            let screen = Int8Filter::with(&case.weights, &case.bias, floats, Some(bytes));
            let (got, chosen) = logits(&screen, case);
            for (term, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let same = if *expected > 0.0 {
                    got == expected && chosen[term] == tokens[term]
                } else {
                    *got <= 0.0
                };
                let same = same || (got.is_nan() && expected.is_nan());
                assert!(same, "{what}, {floats:?} {bytes:?}, {term}: {got} not {expected}");
            }
        }
    }
}

#[test]
fn the_screen_changes_no_bit_of_a_weight() {
    for (seed, (tokens, terms, k)) in
        (0..).zip([(1, 16, 16), (1, 1, 3), (40, 200, 32), (513, 100, 64), (7, 131, 100)])
    {
        for peak in [0, 1, 6] {
            for bias in [-9.0, -0.5, 0.0, 2.0] {
                let what = format!("{tokens} tokens, {terms} terms, K {k}, peak {peak}, {bias}");
                check(&case(tokens, terms, k, peak, bias, seed), &what);
            }
        }
    }
}

#[test]
fn tokens_and_terms_that_are_equal_or_nothing_are_right_too() {
    let mut equal = case(9, 40, 32, 1, 0.0, 1);
    let (first, rest) = equal.states.split_at_mut(32);
    rest.chunks_exact_mut(32).for_each(|state| state.copy_from_slice(first));
    check(&equal, "equal tokens");
    equal.states[32..64].fill(0.0);
    equal.weights[64..128].fill(0.0);
    check(&equal, "rows of zeros");
    equal.states.iter_mut().for_each(|x| *x = x.signum());
    equal.weights.iter_mut().for_each(|x| *x = x.signum());
    check(&equal, "rows that bytes hold exactly");
    equal.states.iter_mut().for_each(|x| *x *= 1e-30);
    check(&equal, "states near nothing");
}

/// Products so near each other that only their rounding tells them apart.
#[test]
fn products_that_differ_in_the_last_bits_are_kept_apart() {
    let mut near = case(200, 64, 48, 0, 0.0, 3);
    let (first, rest) = near.states.split_at_mut(48);
    for (at, state) in (0..).zip(rest.chunks_exact_mut(48)) {
        for (to, (x, first)) in state.iter_mut().zip(&*first).enumerate() {
            let up = u32::from((at + to as u32).is_multiple_of(3));
            *x = f32::from_bits(first.to_bits() + up);
        }
    }
    check(&near, "neighbours");
}

#[test]
fn what_is_no_number_is_not_swallowed() {
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut broken = case(5, 40, 32, 1, 0.0, 1);
        broken.states[40] = bad;
        check(&broken, "states");
        let (logits, _) = logits(&Int8Filter::new(&broken.weights, &broken.bias), &broken);
        assert!(logits.iter().any(|logit| logit.is_nan() || *logit > 1e25), "{bad}");
        let mut broken = case(5, 40, 32, 1, 0.0, 1);
        broken.weights[40] = bad;
        check(&broken, "weights");
        let mut broken = case(5, 40, 32, 1, 0.0, 1);
        broken.bias[3] = bad;
        check(&broken, "bias");
    }
}

/// The screen is of use: where logits lie far apart, few products are computed.
#[test]
fn most_products_are_left_out() {
    let Some(bytes) = Isa::all(Kind::Int8).pop() else { return };
    let case = case(128, 16, 64, 0, -2.0, 5);
    let screen = Int8Filter::with(&case.weights, &case.bias, Isa::Portable, Some(bytes));
    let states = screen.states(case.states);
    let mut scratch = Scratch::default();
    let bytes = screen.bytes.as_ref().unwrap();
    let [threshold, ..] = bytes.thresholds(&states, 0, 1, &mut scratch);
    scratch.candidates.find(Isa::Portable, &scratch.upper, &threshold);
    assert!(scratch.candidates.count < 128 * 16 / 16, "{}", scratch.candidates.count);
}
