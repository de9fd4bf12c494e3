//! Is a sum of a rising and a falling function above a threshold everywhere on [0, 1]?

/// Cells looked at before the answer is "no": far more than any real case needs, and "no" never rolls anything back.
const MOST_CELLS: usize = 4096;
/// Cells narrower than this are not divided: shares are not told apart at 10⁻¹⁰.
const NARROWEST: f64 = 1e-10;

struct Cell {
    low: f64,
    high: f64,
    rising_at_low: f64,
    falling_at_high: f64,
}

/// Whether `rising(p) + falling(p) >= threshold` for every p in [0, 1], where `rising` never falls and `falling` never
/// rises. On a cell the sum is at least `rising(low) + falling(high)`: a bound, not a sample, so that "yes" is certain.
/// "No" means that a p below the threshold was found, or that none could be excluded.
pub(super) fn exceeds_everywhere(
    rising: impl Fn(f64) -> f64,
    falling: impl Fn(f64) -> f64,
    likely_lowest: f64,
    threshold: f64,
) -> bool {
    if rising(likely_lowest) + falling(likely_lowest) < threshold {
        return false;
    }
    let mut cells = vec![Cell { low: 0.0, high: 1.0, rising_at_low: rising(0.0), falling_at_high: falling(1.0) }];
    let mut looked_at = 0;
    while let Some(cell) = cells.pop() {
        if cell.rising_at_low + cell.falling_at_high >= threshold {
            continue;
        }
        looked_at += 1;
        if looked_at > MOST_CELLS || cell.high - cell.low < NARROWEST {
            return false;
        }
        let middle = f64::midpoint(cell.low, cell.high);
        let (rising_here, falling_here) = (rising(middle), falling(middle));
        if rising_here + falling_here < threshold {
            return false;
        }
        cells.push(Cell { low: middle, rising_at_low: rising_here, ..cell });
        cells.push(Cell {
            high: middle,
            falling_at_high: falling_here,
            low: cell.low,
            rising_at_low: cell.rising_at_low,
        });
    }
    true
}
