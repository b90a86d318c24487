//! Functions of one number, written so that loops over them are compiled to vectors.

/// Adding and subtracting this rounds a small number to a whole one.
pub(super) const ROUND: f32 = 12_582_912.0;

/// eˣ for x ≤ 88, 2 ulp: 2ⁿ · Taylor series of the rest, |rest| ≤ ln 2 / 2. Below −87 it is 0.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts, the first with few bits, so that n times it is exact
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // the last bits of the shifted number are those of n
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
    if x < -87.0 { 0.0 } else { p * power }
}

/// erf(x) within 4e-7: a rational function of x on [−4, 4], ±1 beyond (Eigen's coefficients).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let p = -2.726_142_3e-10;
    let p = p * s + 2.770_681_4e-8;
    let p = p * s + -2.101_024_1e-6;
    let p = p * s + -5.692_506_4e-5;
    let p = p * s + -7.349_906_3e-4;
    let p = p * s + -2.954_6e-3;
    let p = p * s + -1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * s + -2.133_740_6e-4;
    let q = q * s + -1.682_827e-3;
    let q = q * s + -7.373_329e-3;
    let q = q * s + -1.426_474e-2;
    // from here on 1 is the nearest f32: a rest of 1e-7 would come back as gelu(-100) = -1e-5
    if x.abs() >= 3.92 { 1.0f32.copysign(x) } else { x * p / q }
}

/// gelu(x) = x/2 · (1 + erf(x/√2))
#[inline(always)]
pub(crate) fn gelu_of(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erf_series(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exp_and_erf_are_near_the_truth() {
        for step in -8700..=880 {
            let x = step as f32 / 100.0;
            let (got, truth) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - truth).abs() <= 3e-7 * truth, "exp({x}) = {got}, not {truth}");
        }
        assert_eq!(exp(-1000.0), 0.0);
        for far in [4.0, 30.0, 1e6, f32::INFINITY] {
            assert_eq!((erf(far), erf(-far)), (1.0, -1.0));
        }
        assert_eq!((gelu_of(-100.0), gelu_of(100.0)), (0.0, 100.0));
        for step in -500..=500 {
            let x = step as f32 / 100.0;
            let (got, truth) = (f64::from(erf(x)), erf_series(f64::from(x)));
            assert!((got - truth).abs() <= 4e-7, "erf({x}) = {got}, not {truth}");
        }
    }
}
