//! Random choices that can be repeated: SplitMix64, from a seed that failures print.

/// A generator of repeatable random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from `REKINDLE_TEST_SEED` (1 if unset) and a name, so that tests do not share their choices.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let seed = number_from_env("REKINDLE_TEST_SEED", 1);
        Self(name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The next number, any of 2^64.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit.max(1)
    }
}

/// A number that the environment may override.
#[must_use]
pub fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
