//! Which rows go where. Every choice is fixed by the seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The values that occur, in order.
pub(crate) fn distinct(values: &[String]) -> BTreeSet<&str> {
    values.iter().map(String::as_str).collect()
}

/// Keeps at most `limit` rows, drawn at random, in their old order.
pub(crate) fn draw(rows: &mut Vec<usize>, limit: usize, seed: u64) {
    if rows.len() > limit {
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        rows.truncate(limit);
        rows.sort_unstable();
    }
}

/// Two halves, each with half of every stratum (to within one row); rows of equal `content` stay together.
///
/// `stratum` and `content` have one entry for each row; the halves hold row numbers, ascending.
pub(crate) fn halves<S: Ord + Clone>(stratum: &[S], content: &[u64], seed: u64) -> [Vec<usize>; 2] {
    let mut strata: BTreeMap<S, Vec<usize>> = BTreeMap::new();
    for (row, stratum) in stratum.iter().enumerate() {
        strata.entry(stratum.clone()).or_default().push(row);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut side_of: HashMap<u64, usize> = HashMap::new();
    let mut halves = [Vec::new(), Vec::new()];
    // Carried from one stratum to the next, so that odd strata do not all favour the first half.
    let mut next = 0;
    for rows in strata.values_mut() {
        rows.shuffle(&mut random);
        for &row in rows.iter() {
            let side = *side_of.entry(content[row]).or_insert(next);
            halves[side].push(row);
            next = 1 - side;
        }
    }
    halves.each_mut().into_iter().for_each(|half| half.sort_unstable());
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_half_and_every_stratum_in_both() {
        let stratum: Vec<usize> = (0..101).map(|row| row % 7).collect();
        let content: Vec<u64> = (0..101).collect();
        let [first, second] = halves(&stratum, &content, 3);
        assert_eq!(first.len().abs_diff(second.len()), 1);
        let mut all = [first.clone(), second.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..101).collect::<Vec<_>>());
        for wanted in 0..7 {
            let count = |half: &[usize]| half.iter().filter(|row| stratum[**row] == wanted).count();
            assert!(count(&first).abs_diff(count(&second)) <= 1, "stratum {wanted}");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let (stratum, content) = (vec![0; 40], (0..40).collect::<Vec<u64>>());
        assert_eq!(halves(&stratum, &content, 1), halves(&stratum, &content, 1));
        assert_ne!(halves(&stratum, &content, 1), halves(&stratum, &content, 2));
        let drawn = |seed| {
            let mut rows = (0..40).collect();
            draw(&mut rows, 5, seed);
            rows
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn copies_of_a_row_stay_in_one_half() {
        let content: Vec<u64> = (0..60).map(|row| row / 3).collect();
        let [first, second] = halves(&[0; 60], &content, 0);
        let contents = |half: &[usize]| half.iter().map(|row| content[*row]).collect::<BTreeSet<_>>();
        assert!(contents(&first).is_disjoint(&contents(&second)));
        assert_eq!(first.len() + second.len(), 60);
    }
}
