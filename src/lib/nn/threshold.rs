//! The differentiable hard threshold: what is trained is what is indexed. An extension of l0,
//! not in the paper: `docs/method.md`, "The hard threshold".

use candle_core::Tensor;
use serde::Deserialize;

use crate::error::Result;

/// What shares one θ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// All weights; θ `[]`.
    #[default]
    All,
    /// All weights of one term; θ `[V]`.
    Term,
    /// All weights; θ `[]` is a share of the document's largest weight, a learned `max_ratio`. The
    /// largest weight counts as a constant.
    Largest,
}

/// K, whose integral is 1: the slope of the smoothed step H((w − θ)/ε).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// 1 on (−½, ½): JumpReLU (arXiv 2407.14435).
    #[default]
    Rectangle,
    /// σ(u)(1 − σ(u)): the sigmoid form of hybrid thresholding (arXiv 2306.11293).
    Sigmoid,
    /// exp(−u²)/√π: its erf form.
    Erf,
    /// The step passed for the identity on w > 0, of whatever width: dy/dw = 1 and dy/dθ = −θ there.
    StraightThrough,
}

/// `y = w · 1[w > θ]`, with exact zeros.
///
/// Backward: `dy/dw = 1[w > θ]`; dy/dθ = −(θ/ε) K((w − θ)/ε), summed over what shares a θ: the exact
/// derivative of the mean of y when w is blurred by ε times noise of density K.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HardThreshold {
    /// What shares one θ.
    pub share: Share,
    /// K.
    pub kernel: Kernel,
    /// ε, above 0.
    pub width: f64,
}

impl HardThreshold {
    /// y of weights `[N, V]`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] for a θ of another shape than [`Share`] says.
    pub fn apply(&self, weights: &Tensor, theta: &Tensor) -> Result<Tensor> {
        let level = self.level(weights, theta)?;
        let step = self.step(weights, &level)?;
        let mut kept = (weights * &step)?;
        if self.kernel == Kernel::StraightThrough {
            let below = (weights.gt(0.0)?.to_dtype(weights.dtype())? - &step)?;
            kept = (kept + (below * (weights - weights.detach())?)?)?;
        }
        let slope = self.slope(weights, &level)?.broadcast_mul(&level.detach())?;
        Ok((kept - slope.broadcast_mul(&(&level - level.detach())?)?)?)
    }

    /// `[N]`: how many weights of each row are above θ. d/dθ = −(1/ε) K((w − θ)/ε); no gradient
    /// for w.
    ///
    /// # Errors
    /// As [`HardThreshold::apply`].
    pub fn count(&self, weights: &Tensor, theta: &Tensor) -> Result<Tensor> {
        let level = self.level(weights, theta)?;
        let slope = self.slope(weights, &level)?;
        let step = self.step(weights, &level)?;
        Ok((step - slope.broadcast_mul(&(&level - level.detach())?)?)?.sum(1)?)
    }

    /// mean over rows of (count / target − 1)².
    ///
    /// # Errors
    /// As [`HardThreshold::apply`].
    pub fn target(&self, weights: &Tensor, theta: &Tensor, target: f64) -> Result<Tensor> {
        Ok(((self.count(weights, theta)? / target)? - 1.0)?.sqr()?.mean_all()?)
    }

    /// θ in a shape that broadcasts to `[N, V]`.
    fn level(&self, weights: &Tensor, theta: &Tensor) -> Result<Tensor> {
        Ok(match self.share {
            Share::All => theta.reshape((1, 1))?,
            Share::Term => theta.reshape((1, weights.dim(1)?))?,
            Share::Largest => {
                theta.reshape((1, 1))?.broadcast_mul(&weights.detach().max_keepdim(1)?)?
            }
        })
    }

    /// 1[w > θ], a constant.
    fn step(&self, weights: &Tensor, level: &Tensor) -> Result<Tensor> {
        Ok(weights.detach().broadcast_gt(&level.detach())?.to_dtype(weights.dtype())?)
    }

    /// (1/ε) K((w − θ)/ε), a constant.
    fn slope(&self, weights: &Tensor, level: &Tensor) -> Result<Tensor> {
        let dtype = weights.dtype();
        let weights = weights.detach();
        let u = (weights.broadcast_sub(&level.detach())? / self.width)?;
        let kernel = match self.kernel {
            Kernel::Rectangle => u.abs()?.lt(0.5)?.to_dtype(dtype)?,
            Kernel::Sigmoid => {
                // σ(u)(1 − σ(u)) = e/(1 + e)² with e = exp(−|u|)
                let e = u.abs()?.neg()?.exp()?;
                (&e / (&e + 1.0)?.sqr()?)?
            }
            Kernel::Erf => (u.sqr()?.neg()?.exp()? / std::f64::consts::PI.sqrt())?,
            Kernel::StraightThrough => return Ok(weights.gt(0.0)?.to_dtype(dtype)?),
        };
        Ok((kernel / self.width)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const ALL: [Kernel; 3] = [Kernel::Rectangle, Kernel::Sigmoid, Kernel::Erf];

    /// H, whose slope is K.
    fn smooth_step(kernel: Kernel, u: f64) -> f64 {
        match kernel {
            Kernel::Rectangle => (u + 0.5).clamp(0.0, 1.0),
            Kernel::Sigmoid => 1.0 / (1.0 + (-u).exp()),
            Kernel::Erf => 0.5 * (1.0 + candle_core::cpu::erf::erf_f64(u)),
            // as if of density 1 everywhere
            Kernel::StraightThrough => u,
        }
    }

    /// The mean of t · 1[t > θ] for t = w + ε n, n of density K: ∫ over t > θ of t K((t − w)/ε)/ε.
    fn blurred(kernel: Kernel, w: f64, theta: f64, width: f64) -> f64 {
        let (steps, top) = (40_000, w.max(theta) + 40.0 * width);
        let step = (top - theta) / f64::from(steps);
        let density = |t: f64| {
            let around = |t: f64| smooth_step(kernel, (t - w) / width);
            around(t + step / 2.0) - around(t - step / 2.0)
        };
        (0..steps).map(|i| theta + (f64::from(i) + 0.5) * step).map(|t| t * density(t)).sum()
    }

    fn gradient(threshold: HardThreshold, w: f64, theta: f64) -> (f64, f64) {
        let weights = Tensor::new(&[[w]], &Device::Cpu).unwrap();
        let theta = Var::new(theta, &Device::Cpu).unwrap();
        let slope = |value: Tensor| {
            let gradients = value.sum_all().unwrap().backward().unwrap();
            gradients.get(&theta).unwrap().to_scalar::<f64>().unwrap()
        };
        let y = slope(threshold.apply(&weights, &theta).unwrap());
        (y, slope(threshold.count(&weights, &theta).unwrap()))
    }

    /// Finite differences of functions given to about 1e-7.
    const DIFFERENCE: f64 = 1e-3;

    #[test]
    fn gradients_are_those_of_the_blurred_functions() {
        let (theta, width, h) = (0.4, 0.2, 1e-3);
        for kernel in ALL {
            let threshold = HardThreshold { share: Share::All, kernel, width };
            for w in [0.25, 0.35, 0.4, 0.47, 0.6] {
                let (y, count) = gradient(threshold, w, theta);
                let blurred = |theta: f64| blurred(kernel, w, theta, width);
                let expected = (blurred(theta + h) - blurred(theta - h)) / (2.0 * h);
                assert!((y - expected).abs() <= DIFFERENCE, "{kernel:?} {w}: {y} not {expected}");
                let step = |theta: f64| smooth_step(kernel, (w - theta) / width);
                let expected = (step(theta + h) - step(theta - h)) / (2.0 * h);
                assert!((count - expected).abs() <= DIFFERENCE, "{kernel:?} {w}: {count}");
            }
        }
    }

    #[test]
    fn gradients_follow_the_stated_kernels() {
        for kernel in ALL {
            let threshold = HardThreshold { share: Share::All, kernel, width: 0.2 };
            for w in [0.0f64, 0.31, 0.4, 0.55] {
                let u = (w - 0.4) / 0.2;
                let k = match kernel {
                    Kernel::Rectangle => f64::from(u8::from(u.abs() < 0.5)),
                    Kernel::Sigmoid => (-u).exp() / (1.0 + (-u).exp()).powi(2),
                    _ => (-u * u).exp() / std::f64::consts::PI.sqrt(),
                };
                let (y, count) = gradient(threshold, w, 0.4);
                assert!((y + 0.4 / 0.2 * k).abs() < 1e-9 && (count + k / 0.2).abs() < 1e-9);
            }
        }
    }

    /// Straight through there is no width: the smoothed step is w − θ itself, the smoothed y its
    /// integral ∫ t dt over t > θ, both for w above 0 only; and y passes the gradient to all such w.
    #[test]
    fn straight_through_the_step_is_passed_for_the_identity() {
        let kernel = Kernel::StraightThrough;
        let (theta, h) = (0.4, 1e-3);
        for width in [0.1, 1.0] {
            let through = HardThreshold { share: Share::All, kernel, width };
            for w in [0.3, 0.7] {
                let (y, count) = gradient(through, w, theta);
                let integral = |theta: f64| -theta * theta / 2.0;
                let expected = (integral(theta + h) - integral(theta - h)) / (2.0 * h);
                assert!((y - expected).abs() <= DIFFERENCE, "{w}: {y} not {expected}");
                let step = |theta: f64| smooth_step(kernel, w - theta);
                let expected = (step(theta + h) - step(theta - h)) / (2.0 * h);
                assert!((count - expected).abs() <= DIFFERENCE, "{w}: {count}");
            }
            assert_eq!(gradient(through, 0.0, theta).0, 0.0);
        }
        let weights = Var::new(&[[0.3, 0.7, 0.0]], &Device::Cpu).unwrap();
        let theta = Tensor::new(0.4, &Device::Cpu).unwrap();
        let slopes = |kernel| {
            let threshold = HardThreshold { share: Share::All, kernel, width: 0.2 };
            let y = threshold.apply(&weights, &theta).unwrap().sum_all().unwrap();
            y.backward().unwrap().get(&weights).unwrap().to_vec2::<f64>().unwrap().remove(0)
        };
        assert_eq!(slopes(kernel), [1.0, 1.0, 0.0]);
        for kernel in ALL {
            assert_eq!(slopes(kernel), [0.0, 1.0, 0.0]);
        }
    }

    #[test]
    fn zeros_are_exact_and_a_share_of_the_largest_is_a_max_ratio() {
        let weights = Tensor::new(&[[0.1f32, 1.0, 0.0], [0.1, 0.2, 0.09]], &Device::Cpu).unwrap();
        let theta = Var::new(0.5f32, &Device::Cpu).unwrap();
        for kernel in [Kernel::Rectangle, Kernel::StraightThrough] {
            let threshold = HardThreshold { share: Share::Largest, kernel, width: 0.1 };
            let y = threshold.apply(&weights, &theta).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(y, [[0.0, 1.0, 0.0], [0.0, 0.2, 0.0]]);
            let counts = threshold.count(&weights, &theta).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(counts, [1.0, 1.0]);
            let loss = threshold.target(&weights, &theta, 2.0).unwrap();
            assert_eq!(loss.to_scalar::<f32>().unwrap(), 0.25);
        }
    }
}
