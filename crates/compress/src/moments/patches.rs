//! Unfolding (im2col) at sampled positions: what one application of a layer reads and writes.

use std::ops::Range;

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use sentei_onnx::linear::{ConvGeometry, Padding};

/// How a layer slides over its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A convolution: `N × C × spatial…`; one position for each output pixel.
    Window(ConvGeometry),
    /// A matrix product over the last axis: one position for each vector of a sample.
    Vector,
}

/// The layout of a tensor as a layer sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'a> {
    /// Values, row-major.
    pub values: &'a [f32],
    /// Axis lengths.
    pub shape: &'a [usize],
}

impl Reach {
    /// Positions of one sample when an input of `shape` holds `samples` samples.
    #[must_use]
    pub fn positions(&self, shape: &[usize], samples: usize) -> usize {
        match self {
            Self::Window(window) => {
                shape.get(2..).map_or(0, |spatial| output_lengths(window, spatial).iter().product())
            }
            Self::Vector => {
                let vectors: usize = shape.split_last().map_or(0, |(_, rest)| rest.iter().product());
                vectors / samples.max(1)
            }
        }
    }

    /// Positions of one sample in an output of `shape` that holds `samples` samples.
    #[must_use]
    pub fn output_positions(&self, shape: &[usize], samples: usize) -> usize {
        match self {
            Self::Window(_) => shape.get(2..).map_or(0, |spatial| spatial.iter().product()),
            Self::Vector => self.positions(shape, samples),
        }
    }

    /// Whether a tensor of `shape` is laid out as this layer reads it, with `units` channels.
    #[must_use]
    pub fn accepts(&self, shape: &[usize], units: usize) -> bool {
        match self {
            Self::Window(window) => shape.len() == window.kernel.len() + 2 && shape[1] == units,
            Self::Vector => shape.len() > 1 && shape.last() == Some(&units),
        }
    }

    /// Groups of channels that do not see one another.
    #[must_use]
    pub fn groups(&self) -> usize {
        match self {
            Self::Window(window) => window.group.max(1),
            Self::Vector => 1,
        }
    }

    /// Writes what the layer reads for `position` of `sample` in channel group `group`: channel by channel, and within a
    /// channel tap by tap.
    pub fn read(&self, input: View<'_>, at: Place, group: usize, into: &mut [f32]) {
        match self {
            Self::Vector => {
                let start = at.row * into.len();
                into.copy_from_slice(&input.values[start..start + into.len()]);
            }
            Self::Window(window) => read_window(window, input, at, group, into),
        }
    }

    /// Writes the values at `position` of `sample` for the channels `channels` of a tensor laid out like the output.
    pub fn write(&self, tensor: View<'_>, at: Place, channels: Range<usize>, into: &mut [f32]) {
        match self {
            Self::Vector => {
                let width = tensor.shape.last().copied().unwrap_or(0);
                let start = at.row * width + channels.start;
                into.copy_from_slice(&tensor.values[start..start + channels.len()]);
            }
            Self::Window(_) => {
                let spatial: usize = tensor.shape[2..].iter().product();
                for (value, channel) in into.iter_mut().zip(channels) {
                    *value = tensor.values[(at.sample * tensor.shape[1] + channel) * spatial + at.position];
                }
            }
        }
    }
}

/// One position of one sample of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the sample in the batch.
    pub sample: usize,
    /// Index of the position in the sample.
    pub position: usize,
    /// `sample × positions + position`.
    pub row: usize,
}

/// Zeros before and after each spatial axis of an input of these lengths.
fn padding(window: &ConvGeometry, spatial: &[usize]) -> Vec<(usize, usize)> {
    let same = |axis: usize, odd_first: bool| {
        let span = window.dilations[axis] * (window.kernel[axis] - 1) + 1;
        let outputs = spatial[axis].div_ceil(window.strides[axis]);
        let total = (outputs.saturating_sub(1) * window.strides[axis] + span).saturating_sub(spatial[axis]);
        let small = total / 2;
        if odd_first { (total - small, small) } else { (small, total - small) }
    };
    match &window.padding {
        Padding::Explicit { begin, end } => begin.iter().copied().zip(end.iter().copied()).collect(),
        Padding::SameUpper => (0..spatial.len()).map(|axis| same(axis, false)).collect(),
        Padding::SameLower => (0..spatial.len()).map(|axis| same(axis, true)).collect(),
    }
}

/// Spatial lengths of the output for spatial lengths of the input.
fn output_lengths(window: &ConvGeometry, spatial: &[usize]) -> Vec<usize> {
    let pads = padding(window, spatial);
    let length = |(axis, &length): (usize, &usize)| {
        let span = window.dilations[axis] * (window.kernel[axis] - 1) + 1;
        let room = (length + pads[axis].0 + pads[axis].1).checked_sub(span);
        room.map_or(0, |room| room / window.strides[axis] + 1)
    };
    spatial.iter().enumerate().map(length).collect()
}

fn read_window(window: &ConvGeometry, input: View<'_>, at: Place, group: usize, into: &mut [f32]) {
    let spatial = &input.shape[2..];
    let size: usize = spatial.iter().product();
    let taps: usize = window.kernel.iter().product();
    let channels = into.len() / taps.max(1);
    let origin = origin(window, spatial, at.position);
    let first = (at.sample * input.shape[1] + group * channels) * size;
    for tap in 0..taps {
        match offset(window, &origin, spatial, tap) {
            None => (0..channels).for_each(|channel| into[channel * taps + tap] = 0.0),
            Some(offset) => {
                for channel in 0..channels {
                    into[channel * taps + tap] = input.values[first + channel * size + offset];
                }
            }
        }
    }
}

/// Input coordinates of the first tap of an output position; negative inside the padding.
fn origin(window: &ConvGeometry, spatial: &[usize], position: usize) -> Vec<isize> {
    let (output, pads) = (output_lengths(window, spatial), padding(window, spatial));
    let mut rest = position;
    let mut origin = vec![0; output.len()];
    for axis in (0..output.len()).rev() {
        let coordinate = rest % output[axis];
        rest /= output[axis];
        origin[axis] = (coordinate * window.strides[axis]) as isize - pads[axis].0 as isize;
    }
    origin
}

/// Flat offset of a tap in one channel; `None` in the padding.
fn offset(window: &ConvGeometry, origin: &[isize], spatial: &[usize], tap: usize) -> Option<usize> {
    let mut rest = tap;
    let (mut offset, mut stride) = (0, 1);
    for axis in (0..spatial.len()).rev() {
        let step = (rest % window.kernel[axis] * window.dilations[axis]) as isize;
        rest /= window.kernel[axis];
        let coordinate = usize::try_from(origin[axis] + step).ok().filter(|&c| c < spatial[axis])?;
        offset += coordinate * stride;
        stride *= spatial[axis];
    }
    Some(offset)
}

/// The positions of sample number `sample` (in the whole data) that are read: all of them, or `wanted` different ones,
/// the same for the same seed, in ascending order.
#[must_use]
pub fn sampled_positions(positions: usize, wanted: usize, seed: u64, sample: usize) -> Vec<usize> {
    if wanted >= positions {
        return (0..positions).collect();
    }
    // A stream for each sample: the choice must not depend on how samples fall into batches.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(sample as u64);
    let mut chosen = index::sample(&mut random, positions, wanted).into_vec();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: &[usize], strides: &[usize], dilations: &[usize], pads: &[usize], group: usize) -> Reach {
        let vector = <[usize]>::to_vec;
        Reach::Window(ConvGeometry {
            kernel: vector(kernel),
            strides: vector(strides),
            dilations: vector(dilations),
            padding: Padding::Explicit { begin: vector(pads), end: vector(pads) },
            group,
        })
    }

    fn place(sample: usize, position: usize, positions: usize) -> Place {
        Place { sample, position, row: sample * positions + position }
    }

    #[test]
    fn a_corner_reads_zeros_outside_and_values_inside() {
        let values: Vec<f32> = (0..32).map(|v| v as f32).collect();
        let input = View { values: &values, shape: &[1, 2, 4, 4] };
        let mut row = vec![9.0; 18];
        window(&[3, 3], &[2, 2], &[1, 1], &[1, 1], 1).read(input, place(0, 0, 4), 0, &mut row);
        assert_eq!(row[..9], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 4.0, 5.0]);
        assert_eq!(row[9..], [0.0, 0.0, 0.0, 0.0, 16.0, 17.0, 0.0, 20.0, 21.0]);
        window(&[3, 3], &[2, 2], &[1, 1], &[1, 1], 1).read(input, place(0, 3, 4), 0, &mut row);
        assert_eq!(row[..9], [5.0, 6.0, 7.0, 9.0, 10.0, 11.0, 13.0, 14.0, 15.0]);
    }

    #[test]
    fn a_dilated_series_and_a_channel_group_read_their_own() {
        let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let input = View { values: &values, shape: &[2, 2, 6] };
        let mut row = vec![9.0; 3];
        window(&[3], &[1], &[2], &[2], 2).read(input, place(1, 1, 6), 1, &mut row);
        assert_eq!(row, [0.0, 19.0, 21.0]);
    }

    #[test]
    fn same_padding_is_what_keeps_the_length() {
        let mut geometry = ConvGeometry {
            kernel: vec![4],
            strides: vec![2],
            dilations: vec![1],
            padding: Padding::SameUpper,
            group: 1,
        };
        assert_eq!(output_lengths(&geometry, &[7]), [4]);
        assert_eq!(padding(&geometry, &[7]), [(1, 2)]);
        geometry.padding = Padding::SameLower;
        assert_eq!(padding(&geometry, &[7]), [(2, 1)]);
    }

    #[test]
    fn vectors_are_rows_and_outputs_are_read_by_channel() {
        let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let mut row = vec![0.0; 3];
        let tokens = View { values: &values, shape: &[2, 4, 3] };
        assert_eq!(Reach::Vector.positions(&[2, 4, 3], 2), 4);
        Reach::Vector.read(tokens, place(1, 2, 4), 0, &mut row);
        assert_eq!(row, [18.0, 19.0, 20.0]);
        let mut two = vec![0.0; 2];
        Reach::Vector.write(tokens, place(0, 1, 4), 1..3, &mut two);
        assert_eq!(two, [4.0, 5.0]);
        let conv = window(&[1, 1], &[1, 1], &[1, 1], &[0, 0], 1);
        conv.write(View { values: &values, shape: &[2, 3, 2, 2] }, place(1, 3, 4), 1..3, &mut two);
        assert_eq!(two, [19.0, 23.0]);
    }

    #[test]
    fn sampled_positions_are_distinct_and_belong_to_the_sample() {
        let first = sampled_positions(100, 10, 1, 0);
        assert_eq!(first.len(), 10);
        assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(first, sampled_positions(100, 10, 1, 0));
        assert_ne!(first, sampled_positions(100, 10, 1, 1));
        assert_eq!(sampled_positions(4, 10, 1, 0), [0, 1, 2, 3]);
    }
}
