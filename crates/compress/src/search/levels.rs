//! The widths worth trying. Hardware works in blocks: one channel less than a block can cost more than it saves.

/// What the widths of a group must be multiples of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// A group that convolutions write or read: their kernels work on 4 channels at least, and on 16 at best.
    Channels,
    /// The same when time is what counts: only full blocks of 16 save any (measured: a 3×3 convolution of 61 channels
    /// takes 1.64 times as long as one of 64).
    Blocks,
    /// A group of matrix products: time is linear in the width.
    Features,
    /// A group of few large units (heads): each counts.
    Single,
}

impl Grain {
    /// The next multiple below `width`.
    fn step_below(self, width: usize) -> usize {
        match self {
            Self::Channels if width <= 32 => 4,
            Self::Channels if width <= 64 => 8,
            Self::Features if width <= 128 => 8,
            Self::Channels | Self::Blocks | Self::Features => 16,
            Self::Single => 1,
        }
    }
}

/// The widths below `width` worth trying, widest first; never empty groups.
#[must_use]
pub fn levels(width: usize, grain: Grain) -> Vec<usize> {
    let mut found = Vec::new();
    let mut next = width;
    while next > 1 {
        let step = grain.step_below(next);
        next = (next - 1) / step * step;
        if next == 0 {
            break;
        }
        found.push(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_in_fours_then_eights_then_sixteens() {
        assert_eq!(levels(96, Grain::Channels), [80, 64, 56, 48, 40, 32, 28, 24, 20, 16, 12, 8, 4]);
        assert_eq!(levels(61, Grain::Channels)[0], 56);
        assert!(levels(4, Grain::Channels).is_empty());
        assert!(levels(256, Grain::Channels).iter().all(|width| width % 4 == 0));
    }

    #[test]
    fn time_asks_for_whole_blocks_and_heads_go_one_by_one() {
        assert_eq!(levels(64, Grain::Blocks), [48, 32, 16]);
        assert!(levels(16, Grain::Blocks).is_empty());
        assert_eq!(levels(4, Grain::Single), [3, 2, 1]);
        assert_eq!(levels(40, Grain::Features), [32, 24, 16, 8]);
        assert!(levels(0, Grain::Single).is_empty());
    }
}
