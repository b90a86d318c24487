//! Rows fitted to short texts: the bag of a text's words should be near the encoder's vector of the text.
//!
//! Least squares with a ridge around the rows at the start, by conjugate gradients. Source:
//! `docs/method.md`, "A decoder without training".

use rayon::prelude::*;

/// Words of a text by the numbers of their rows, and their query weights.
pub(super) type Bag = Vec<(u32, f32)>;

/// Steps of conjugate gradients: the rest is far below the effect of other texts.
const STEPS: usize = 15;
/// Rows whose sums are added up together: the same for any number of threads.
const PART: usize = 1024;
/// A bag or a vector shorter than this has no direction.
const SHORTEST: f64 = 1e-6;

/// R + X, with X the minimum of ‖T − A(R + X)‖² + ridge ‖X‖².
///
/// `rows` `[words, H]` is R. T are the vectors of the texts, `[texts, H]`, at length 1 and less their mean. A text's row
/// of A has its words' query weights, scaled so that A R has the length of T.
pub(super) fn rows(
    rows: Vec<Vec<f32>>,
    bags: &[Bag],
    vectors: &[Vec<f32>],
    ridge: f32,
) -> Vec<Vec<f32>> {
    let targets = super::centred(vectors.to_vec());
    let bags = scaled(bags, &rows, &targets);
    let texts = transposed(&bags, rows.len());
    let width = rows.first().map_or(0, Vec::len);
    let residual: Vec<Vec<f32>> = (&bags, &targets)
        .into_par_iter()
        .map(|(bag, target)| {
            let found = sum_of(bag, &rows, width);
            target.iter().zip(found).map(|(a, b)| a - b).collect()
        })
        .collect();
    let mut left = times(&texts, &residual, width);
    let (mut moved, mut way) = (vec![vec![0.0f32; width]; rows.len()], left.clone());
    let mut squares = dots(&left, &left, width);
    for _ in 0..STEPS {
        let mut product = times(&texts, &times(&bags, &way, width), width);
        let ridged = |(row, way): (&mut Vec<f32>, &Vec<f32>)| {
            row.iter_mut().zip(way).for_each(|(x, way)| *x += ridge * way);
        };
        product.par_iter_mut().zip(&way).for_each(ridged);
        let along = dots(&way, &product, width);
        let step: Vec<f32> = ratio(&squares, &along);
        add(&mut moved, &way, |column, _, way| step[column] * way);
        add(&mut left, &product, |column, _, product| -step[column] * product);
        let now = dots(&left, &left, width);
        let turn: Vec<f32> = ratio(&now, &squares);
        // way = left + turn · way
        add(&mut way, &left, |column, way, left| left + turn[column] * way - way);
        squares = now;
    }
    add(&mut moved, &rows, |_, _, row| row);
    moved
}

/// Weights by which a bag's sum is as long as its text's vector; a bag without a direction becomes empty.
fn scaled(bags: &[Bag], rows: &[Vec<f32>], targets: &[Vec<f32>]) -> Vec<Bag> {
    let width = rows.first().map_or(0, Vec::len);
    let one = |(bag, target): (&Bag, &Vec<f32>)| {
        let own = length(&sum_of(bag, rows, width));
        if own < SHORTEST {
            return Bag::new();
        }
        let scale = (length(target) / own) as f32;
        bag.iter().map(|&(row, weight)| (row, weight * scale)).collect()
    };
    bags.par_iter().zip(targets).map(one).collect()
}

/// For each word, the texts that have it.
fn transposed(bags: &[Bag], words: usize) -> Vec<Bag> {
    let mut texts = vec![Bag::new(); words];
    for (text, bag) in (0..).zip(bags) {
        bag.iter().for_each(|&(row, weight)| texts[row as usize].push((text, weight)));
    }
    texts
}

fn sum_of(bag: &Bag, rows: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for &(row, weight) in bag {
        sum.iter_mut().zip(&rows[row as usize]).for_each(|(sum, x)| *sum += weight * x);
    }
    sum
}

fn times(bags: &[Bag], rows: &[Vec<f32>], width: usize) -> Vec<Vec<f32>> {
    bags.par_iter().map(|bag| sum_of(bag, rows, width)).collect()
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// The product of each column with that of the other.
fn dots(left: &[Vec<f32>], right: &[Vec<f32>], width: usize) -> Vec<f64> {
    let part = |(left, right): (&[Vec<f32>], &[Vec<f32>])| {
        let mut sums = vec![0.0f64; width];
        for (left, right) in left.iter().zip(right) {
            let products = left.iter().zip(right).map(|(&a, &b)| f64::from(a) * f64::from(b));
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
        sums
    };
    let parts: Vec<Vec<f64>> =
        left.par_chunks(PART).zip(right.par_chunks(PART)).map(part).collect();
    let mut sums = vec![0.0; width];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, own)| *sum += own);
    }
    sums
}

fn ratio(above: &[f64], below: &[f64]) -> Vec<f32> {
    let one = |(&a, &b): (&f64, &f64)| if b > 0.0 { (a / b) as f32 } else { 0.0 };
    above.iter().zip(below).map(one).collect()
}

/// Adds `change(column, own, other)` to every number.
fn add(own: &mut [Vec<f32>], other: &[Vec<f32>], change: impl Fn(usize, f32, f32) -> f32 + Sync) {
    own.par_iter_mut().zip(other).for_each(|(own, other)| {
        for (column, (own, &other)) in own.iter_mut().zip(other).enumerate() {
            *own += change(column, *own, other);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the formula says, by Gaussian elimination in f64.
    fn by_elimination(
        rows: &[Vec<f32>],
        bags: &[Bag],
        targets: &[Vec<f32>],
        ridge: f64,
    ) -> Vec<Vec<f64>> {
        let (words, width) = (rows.len(), rows[0].len());
        let mut system = vec![vec![0.0f64; words + width]; words];
        for (word, row) in system.iter_mut().enumerate() {
            row[word] = ridge;
        }
        for (bag, target) in bags.iter().zip(targets) {
            let found = sum_of(bag, rows, width);
            for &(word, weight) in bag {
                let row = &mut system[word as usize];
                bag.iter()
                    .for_each(|&(other, more)| row[other as usize] += f64::from(weight * more));
                for column in 0..width {
                    row[words + column] +=
                        f64::from(weight) * f64::from(target[column] - found[column]);
                }
            }
        }
        for pivot in 0..words {
            let row = system[pivot].iter().map(|x| x / system[pivot][pivot]).collect::<Vec<_>>();
            for (at, other) in system.iter_mut().enumerate() {
                let factor = other[pivot];
                let take = |(x, y): (&mut f64, &f64)| *x -= factor * y;
                if at != pivot {
                    other.iter_mut().zip(&row).for_each(take);
                }
            }
            system[pivot] = row;
        }
        let moved = system.iter().zip(rows);
        moved
            .map(|(row, own)| {
                own.iter().zip(&row[words..]).map(|(&a, b)| f64::from(a) + b).collect()
            })
            .collect()
    }

    #[test]
    fn conjugate_gradients_find_the_least_squares() {
        let number = |seed: usize| ((seed * 2_654_435_761 % 1_000) as f32) / 500.0 - 1.0;
        let vector = |seed: usize| (0..4).map(|at| number(seed * 4 + at)).collect::<Vec<f32>>();
        let start: Vec<Vec<f32>> = (0..5).map(vector).collect();
        let vectors: Vec<Vec<f32>> = (10..30).map(vector).collect();
        let bag =
            |text: usize| -> Bag { vec![(text as u32 % 4, 1.0 + text as f32 / 9.0), (4, 2.0)] };
        let mut bags: Vec<Bag> = (0..20).map(bag).collect();
        bags[7].clear();
        for ridge in [0.5, 4.0] {
            let found = rows(start.clone(), &bags, &vectors, ridge);
            let targets = crate::train::tools::from_dense::centred(vectors.clone());
            let scaled = scaled(&bags, &start, &targets);
            let expected = by_elimination(&start, &scaled, &targets, f64::from(ridge));
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} and {expected}");
            }
        }
        // no text, no move
        assert_eq!(rows(start.clone(), &[], &[], 1.0), start);
    }
}
