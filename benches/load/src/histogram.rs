//! Latencies in microseconds, counted in buckets of at most 3 % of their value.

/// Buckets to each power of two.
const STEPS: u64 = 32;

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub fn add(&mut self, us: u64) {
        let at = bucket(us);
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.max = self.max.max(us);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Milliseconds that this part (0 to 1) of all did not exceed.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_bound(at as u64).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }

    pub fn max_ms(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

/// Values below [`STEPS`] have a bucket each; above, every power of two has [`STEPS`].
fn bucket(us: u64) -> usize {
    let power = us.checked_ilog2().unwrap_or(0).saturating_sub(STEPS.ilog2());
    (u64::from(power) * STEPS + (us >> power)) as usize
}

/// The largest value in a bucket.
fn upper_bound(bucket: u64) -> u64 {
    if bucket < 2 * STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    (((bucket - power * STEPS) + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_its_bucket() {
        for us in (0..5_000).chain([1 << 20, (1 << 20) + 12_345, 3_600_000_000]) {
            let upper = upper_bound(bucket(us) as u64);
            assert!(upper >= us && upper - us <= us / 32 + 1, "{us}: {upper}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|us| histogram.add(us * 1_000));
        let near = |part: f64, ms: f64| {
            let got = histogram.quantile_ms(part);
            assert!((got - ms).abs() <= ms / 30.0, "{part}: {got}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        near(1.0, 1_000.0);
        assert_eq!(Histogram::default().quantile_ms(0.99), 0.0);
    }
}
