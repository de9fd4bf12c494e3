//! From servers' cumulative counters to counts of the judged period, through restarts and missed looks.

use sentei_api::status::{AnalysisMemory, Mark, Role, SeenCounter, Tally};

use crate::{
    hypothesis::{Counter, Hypothesis},
    observation::{Observation, Outcomes, RoleObservation, Scrape},
};

/// Instances that are gone are forgotten beyond this many.
const MOST_INSTANCES: usize = 256;
/// Of the marks whose age lies between one power of this and the next, one is kept.
const MARK_SPACING: u64 = 4;

/// Counts one look's counters into the tallies: those of the plan's metrics, and the requests of both roles.
pub(crate) fn count(memory: &mut AnalysisMemory, hypotheses: &[Hypothesis], seen: &Observation) {
    count_one(memory, Counter::Requests, None, Role::Baseline, seen);
    count_one(memory, Counter::Requests, None, Role::Candidate, seen);
    for hypothesis in hypotheses.iter().filter(|hypothesis| hypothesis.counter != Counter::Query) {
        let slice = hypothesis.slice.as_deref();
        count_one(memory, hypothesis.counter, slice, Role::Candidate, seen);
        if !matches!(hypothesis.counter, Counter::Pairs | Counter::Agreement) {
            count_one(memory, hypothesis.counter, slice, Role::Baseline, seen);
        }
    }
}

/// Remembers the counts as they stand at this look. One mark is kept for each fourfold of age, the oldest there, so that
/// a day of looks leaves a dozen.
pub(crate) fn mark(memory: &mut AnalysisMemory, look: u64) {
    for tally in &mut memory.tallies {
        tally.marks.push(Mark { look, counts: tally.counts.clone() });
        let mut last = None;
        tally.marks.retain(|mark| {
            let age = look.saturating_sub(mark.look);
            let fold = age.checked_ilog(MARK_SPACING).map_or(0, |fold| fold + 1);
            last.replace(fold) != Some(fold)
        });
    }
}

/// The tally of one counter, when anything was ever seen of it.
pub(crate) fn find<'a>(
    memory: &'a AnalysisMemory,
    counter: Counter,
    slice: Option<&str>,
    role: Role,
) -> Option<&'a Tally> {
    memory.tallies.iter().find(|tally| is(tally, counter, slice, role))
}

/// Whether a scrape of this look carries the counter.
pub(crate) fn is_scraped(counter: Counter, slice: Option<&str>, role: &RoleObservation) -> bool {
    role.scrapes.iter().any(|scrape| read(counter, slice, scrape).is_some())
}

/// Live requests of one role in the judged period.
pub(crate) fn requests(memory: &AnalysisMemory, role: Role) -> u64 {
    find(memory, Counter::Requests, None, role).map_or(0, |tally| tally.counts.iter().sum())
}

fn is(tally: &Tally, counter: Counter, slice: Option<&str>, role: Role) -> bool {
    tally.counter == counter.as_str() && tally.slice.as_deref() == slice && tally.role == role
}

fn count_one(memory: &mut AnalysisMemory, counter: Counter, slice: Option<&str>, role: Role, seen: &Observation) {
    let scrapes = &seen.role(role).scrapes;
    for scrape in scrapes {
        let Some(raw) = read(counter, slice, scrape) else { continue };
        let found = memory.tallies.iter().position(|tally| is(tally, counter, slice, role));
        let index = found.unwrap_or_else(|| {
            memory.tallies.push(Tally {
                counter: counter.as_str().to_owned(),
                slice: slice.map(str::to_owned),
                role,
                counts: vec![0; raw.len()],
                seen: Vec::new(),
                marks: Vec::new(),
            });
            memory.tallies.len() - 1
        });
        let tally = &mut memory.tallies[index];
        add(tally, scrape, raw);
        if tally.seen.len() > MOST_INSTANCES {
            tally.seen.retain(|known| scrapes.iter().any(|scrape| scrape.instance == known.instance));
        }
    }
}

/// What an instance counted before it was first seen belongs to an earlier period. After that every outcome counts once:
/// in the same life the increase, in a later life all of it. A counter that shrank within a life counts as unchanged.
fn add(tally: &mut Tally, scrape: &Scrape, raw: Vec<u64>) {
    if raw.len() != tally.counts.len() {
        return;
    }
    match tally.seen.iter_mut().find(|known| known.instance == scrape.instance) {
        None => tally.seen.push(SeenCounter { instance: scrape.instance.clone(), epoch: scrape.epoch, counts: raw }),
        Some(known) if scrape.epoch < known.epoch || raw.len() != known.counts.len() => {}
        Some(known) => {
            if scrape.epoch > known.epoch {
                known.epoch = scrape.epoch;
                known.counts.fill(0);
            }
            for ((count, before), now) in tally.counts.iter_mut().zip(&mut known.counts).zip(raw) {
                *count += now.saturating_sub(*before);
                *before = now.max(*before);
            }
        }
    }
}

/// One scrape's counter as counts by kind; none when the scrape does not carry it.
fn read(counter: Counter, slice: Option<&str>, scrape: &Scrape) -> Option<Vec<u64>> {
    let outcomes = match slice {
        None => &scrape.counters.all,
        Some(name) => scrape.counters.slices.get(name)?,
    };
    match counter {
        Counter::Requests => {
            let (bad, good) = requests_by_outcome(outcomes);
            Some(vec![bad, good])
        }
        Counter::Latency if outcomes.latency.bounds.is_empty() => None,
        Counter::Latency => Some(outcomes.latency.counts.clone()),
        Counter::Feedback => Some(vec![outcomes.feedback.incorrect, outcomes.feedback.correct]),
        Counter::Pairs => {
            let pairs = outcomes.pairs;
            Some(vec![pairs.both_correct, pairs.baseline_only, pairs.candidate_only, pairs.both_wrong])
        }
        Counter::Agreement => Some(vec![outcomes.agreement.disagree, outcomes.agreement.agree]),
        Counter::Query => None,
    }
}

/// Bad: no answer, or a 5xx. A 4xx is the client's mistake and counts as answered.
fn requests_by_outcome(outcomes: &Outcomes) -> (u64, u64) {
    let failed: u64 = outcomes.requests.range(500..600).map(|(_, count)| count).sum();
    let all: u64 = outcomes.requests.values().sum();
    (failed + outcomes.unanswered, all - failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Counters, Feedback};

    fn scrape(epoch: u64, incorrect: u64) -> Observation {
        let all = Outcomes { feedback: Feedback { correct: 10 * incorrect, incorrect }, ..Outcomes::default() };
        let scrape = Scrape { instance: "a".to_owned(), epoch, counters: Counters { all, ..Counters::default() } };
        Observation {
            candidate: RoleObservation { scrapes: vec![scrape], ..RoleObservation::default() },
            ..Observation::default()
        }
    }

    fn counts_after(looks: &[(u64, u64)]) -> Vec<u64> {
        let mut memory = AnalysisMemory::default();
        for &(epoch, incorrect) in looks {
            count_one(&mut memory, Counter::Feedback, None, Role::Candidate, &scrape(epoch, incorrect));
        }
        find(&memory, Counter::Feedback, None, Role::Candidate).unwrap().counts.clone()
    }

    #[test]
    fn what_was_counted_before_the_first_look_is_left_out() {
        assert_eq!(counts_after(&[(1, 7)]), [0, 0]);
        assert_eq!(counts_after(&[(1, 7), (1, 9)]), [2, 20]);
    }

    #[test]
    fn a_restart_loses_nothing_and_counts_nothing_twice() {
        assert_eq!(counts_after(&[(1, 0), (1, 5), (2, 0), (2, 3)]), [8, 80]);
        assert_eq!(counts_after(&[(1, 0), (1, 5), (2, 4)]), [9, 90]);
    }

    #[test]
    fn a_stale_or_repeated_look_changes_nothing() {
        assert_eq!(counts_after(&[(1, 0), (1, 5), (1, 5), (1, 3), (1, 5)]), [5, 50]);
        assert_eq!(counts_after(&[(1, 0), (1, 5), (2, 3), (1, 9), (2, 3)]), [8, 80]);
    }

    #[test]
    fn a_day_of_looks_leaves_a_dozen_marks_and_always_a_fresh_one() {
        let mut memory = AnalysisMemory::default();
        count_one(&mut memory, Counter::Feedback, None, Role::Candidate, &scrape(1, 0));
        for look in 1..=86_400 {
            mark(&mut memory, look);
            let marks = &memory.tallies[0].marks;
            assert!(marks.len() <= 12, "{}", marks.len());
            if look > 4 {
                assert!(marks.iter().any(|mark| (1..=4).contains(&(look - mark.look))), "look {look}");
            }
        }
    }
}
