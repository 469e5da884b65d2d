//! Counts of whole numbers in classes, so that percentiles of any amount of them take little memory.
//!
//! Every power of two has `STEPS` classes, and numbers below `STEPS` have one each; so a percentile is known to within
//! one part in `STEPS`.

/// `STEPS` is a power of two.
#[derive(Debug, Clone, Default)]
pub struct Histogram<const STEPS: u64> {
    classes: Vec<u64>,
    count: u64,
    max: u64,
}

impl<const STEPS: u64> Histogram<STEPS> {
    /// Counts `number` so many times.
    pub fn add(&mut self, number: u64, times: u64) {
        if times == 0 {
            return;
        }
        let at = class(number, STEPS);
        if self.classes.len() <= at {
            self.classes.resize(at + 1, 0);
        }
        self.classes[at] += times;
        self.count += times;
        self.max = self.max.max(number);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The greatest of all; 0 when there are none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// What this part (0 to 1) of all did not exceed; 0 when there are none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut below = 0;
        let found = self.classes.iter().position(|count| {
            below += count;
            below >= wanted && below > 0
        });
        found.map_or(self.max, |at| last_of(at as u64, STEPS).min(self.max))
    }
}

fn class(number: u64, steps: u64) -> usize {
    let power = number.checked_ilog2().unwrap_or(0).saturating_sub(steps.ilog2());
    (u64::from(power) * steps + (number >> power)) as usize
}

/// The greatest number of a class.
fn last_of(class: u64, steps: u64) -> u64 {
    if class < 2 * steps {
        return class;
    }
    let power = class / steps - 1;
    let first = (class - power * steps) << power;
    first + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_the_class_that_ends_behind_it() {
        let edges = (0..64).flat_map(|power| [1_u64 << power, (1 << power) + 1, u64::MAX >> power]);
        for number in edges.chain(0..5_000).chain([999_999, (1 << 20) + 12_345, 3_600_000_000]) {
            for steps in [4, 32] {
                let last = last_of(class(number, steps) as u64, steps);
                assert!(last >= number && last - number <= number / steps, "{number} {steps}: {last}");
            }
        }
        assert!(class(u64::MAX, 4) < 256, "two kilobytes");
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::<32>::default();
        assert_eq!((histogram.quantile(0.99), histogram.max(), histogram.count()), (0, 0, 0));
        (1..=1_000).for_each(|number| histogram.add(number * 1_000, 2));
        histogram.add(u64::MAX, 0);
        for (part, expect) in [(0.5, 500_000_f64), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = histogram.quantile(part) as f64;
            assert!((found - expect).abs() <= expect / 30.0, "{part}: {found}");
        }
        assert_eq!((histogram.max(), histogram.count()), (1_000_000, 2_000));
    }
}
