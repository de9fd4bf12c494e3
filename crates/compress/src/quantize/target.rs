//! What the processor that will serve the model can do.

/// The part of a processor's abilities that decides how weights are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetCpu {
    /// Multiplies unsigned by signed bytes into 32 bits: x86-64 with VNNI or AMX, and 64-bit ARM (whose kernels widen).
    Exact,
    /// x86-64 without them adds two products in 16 bits, which overflows unless weights keep to 7 bits.
    Saturating,
}

impl TargetCpu {
    /// The processor this runs on.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected;
            let exact = is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
            if exact { Self::Exact } else { Self::Saturating }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Exact
    }

    /// The largest magnitude of a weight's code.
    #[must_use]
    pub fn weight_limit(self) -> i8 {
        match self {
            Self::Exact => 127,
            Self::Saturating => 63,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_products_of_reduced_weights_fit_sixteen_bits() {
        let worst = 2 * 255 * i32::from(TargetCpu::Saturating.weight_limit());
        assert!(worst <= i32::from(i16::MAX));
        assert!(2 * 255 * i32::from(TargetCpu::Exact.weight_limit()) > i32::from(i16::MAX));
    }
}
