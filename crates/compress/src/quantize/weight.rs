//! Weights as signed 8-bit codes, symmetric about zero, with one step per output channel.

/// Where the channels are in a weight's values: value `(outer, channel, inner)` stands at
/// `(outer * channels + channel) * inner_len + inner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// Number of channels, the length of the channels' axis.
    pub count: usize,
    /// Product of the lengths after that axis.
    pub inner: usize,
}

/// Codes of a weight, in the order of its values, and the step of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeight {
    /// `value = step of its channel * code`, code in `-limit ..= limit`.
    pub codes: Vec<i8>,
    /// Positive, one per channel.
    pub steps: Vec<f32>,
}

impl Channels {
    /// The channels along `axis` of a weight of `shape`; `None` when it has no such axis.
    #[must_use]
    pub fn along(shape: &[usize], axis: usize) -> Option<Self> {
        Some(Self { count: *shape.get(axis)?, inner: shape.get(axis + 1..)?.iter().product() })
    }

    /// The channel of the value at `index`.
    #[must_use]
    pub fn of(self, index: usize) -> usize {
        index / self.inner.max(1) % self.count.max(1)
    }
}

impl QuantizedWeight {
    /// Rounds `values` to the nearest code, with a channel's largest magnitude at `limit` (127, or 63 where sums of two
    /// products must fit 16 bits). Each step is at least its entry in `floors`, so that whatever is expressed in steps,
    /// such as a bias, fits its own integer.
    #[must_use]
    pub fn nearest(values: &[f32], channels: Channels, limit: i8, floors: &[f32]) -> Self {
        let mut steps = vec![0.0_f32; channels.count];
        for (index, value) in values.iter().enumerate() {
            let step = &mut steps[channels.of(index)];
            *step = step.max(value.abs());
        }
        for (channel, step) in steps.iter_mut().enumerate() {
            let floor = floors.get(channel).copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
            *step = (*step / f32::from(limit)).max(floor);
        }
        let bound = f32::from(limit);
        let code = |(index, value): (usize, &f32)| {
            (value / steps[channels.of(index)]).round_ties_even().clamp(-bound, bound) as i8
        };
        Self { codes: values.iter().enumerate().map(code).collect(), steps }
    }

    /// What the codes stand for.
    #[must_use]
    pub fn values(&self, channels: Channels) -> Vec<f32> {
        self.codes.iter().enumerate().map(|(index, &code)| f32::from(code) * self.steps[channels.of(index)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_channel_of_zeros_has_codes_of_zero_and_a_positive_step() {
        let channels = Channels::along(&[2, 2], 0).expect("an axis");
        let weight = QuantizedWeight::nearest(&[0.0, -0.0, 127.0, 1.0], channels, 127, &[]);
        assert_eq!(weight.codes, [0, 0, 127, 1]);
        assert!(weight.steps[0] > 0.0);
    }

    #[test]
    fn channels_on_the_last_axis_have_steps_of_their_own() {
        let channels = Channels::along(&[2, 2], 1).expect("an axis");
        let weight = QuantizedWeight::nearest(&[1.27, 254.0, -0.64, 2.0], channels, 127, &[]);
        assert_eq!(weight.codes, [127, 127, -64, 1]);
        assert_eq!(Channels::along(&[2, 2], 2), None);
    }

    #[test]
    fn a_step_is_not_below_its_floor() {
        let channels = Channels::along(&[1, 1], 0).expect("an axis");
        assert_eq!(
            QuantizedWeight::nearest(&[1.0], channels, 127, &[0.5]),
            QuantizedWeight { codes: vec![2], steps: vec![0.5] }
        );
    }

    proptest! {
        #[test]
        fn no_value_moves_by_more_than_half_a_step(
            (shape, axis, values) in (1_usize..4, 1_usize..5, 1_usize..4, 0_usize..3).prop_flat_map(|(a, b, c, axis)| {
                (Just([a, b, c]), Just(axis), proptest::collection::vec(-1e3_f32..1e3, a * b * c))
            }),
            limit in prop_oneof![Just(127_i8), Just(63)],
            magnitude in -40_i32..20,
        ) {
            let values: Vec<f32> = values.iter().map(|value| value * 2_f32.powi(magnitude)).collect();
            let channels = Channels::along(&shape, axis).expect("an axis");
            let weight = QuantizedWeight::nearest(&values, channels, limit, &[]);
            prop_assert!(weight.codes.iter().all(|code| (-limit..=limit).contains(code)));
            for (index, (value, back)) in values.iter().zip(weight.values(channels)).enumerate() {
                let step = weight.steps[channels.of(index)];
                prop_assert!((value - back).abs() <= step * 0.500_01, "{value} became {back}, a step is {step}");
            }
        }
    }
}
