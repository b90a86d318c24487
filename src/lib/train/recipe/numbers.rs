//! Which numbers of a recipe make sense.

/// Refuses what is not finite or below 0.
pub(super) fn at_least_zero(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(format!("expected {name} of 0 or more, found {value}"))
}

/// Refuses what is not finite or not above 0.
pub(super) fn above_zero(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(format!("expected {name} above 0, found {value}"))
}
