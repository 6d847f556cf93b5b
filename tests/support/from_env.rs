//! Numbers that a person sets for a run: its seed, its length.

/// The number in this environment variable, if it is set.
///
/// # Panics
/// It is no number.
pub fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} must be a number, not {text:?}: {error}")))
}
