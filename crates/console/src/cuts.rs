//! Inside a stage: what went from each group, and what stands in for it.

use maud::{Markup, html};
use sentei_api::evidence::{GroupCut, RemovedUnit, StageRecord};

use crate::{
    format,
    stages::{group_term, unit_terms},
    svg::px,
};

/// Removed units shown for each group, costliest first; a wide net removes thousands.
const UNITS_SHOWN: usize = 8;
const BAR: f64 = 220.0;

/// Units a stage removed.
pub fn removed(stage: &StageRecord) -> usize {
    stage.cuts.iter().map(|cut| cut.before.saturating_sub(cut.after) as usize).sum()
}

/// The cuts of a stage, folded away.
pub fn details(stage: &StageRecord, slices: &[String], first: bool) -> Markup {
    let changed: Vec<&GroupCut> = stage.cuts.iter().filter(|cut| cut.after < cut.before).collect();
    html! {
        @if !changed.is_empty() {
            details.cuts {
                summary {
                    "What was cut: " (format::plural(removed(stage), "unit", "units")) " in "
                    (format::plural(changed.len(), "group", "groups"))
                }
                p.small {
                    "Every " (group_term(first)) " as a bar: dark is kept, striped went in this stage, empty went before. "
                    "Units are numbered as in the original model."
                }
                @for (index, cut) in changed.into_iter().enumerate() { (group(cut, slices, first && index == 0)) }
            }
        }
    }
}

fn group(cut: &GroupCut, slices: &[String], first: bool) -> Markup {
    let mut units: Vec<&RemovedUnit> = cut.removed.iter().collect();
    units.sort_by(|one, other| other.loss.total_cmp(&one.loss));
    let folded = units.len().saturating_sub(UNITS_SHOWN);
    units.truncate(UNITS_SHOWN);
    let (unit, loss, reconstructed) = unit_terms(first);
    html! {
        .group {
            .grouphead {
                code { (cut.group) }
                (bar(cut))
                span.number { (cut.before) " → " (cut.after) " of " (cut.original) " units" }
            }
            @if let Some(hardest) = units.first() { p.small { (sentence(hardest, slices)) } }
            @if !units.is_empty() {
                .scroll tabindex="0" role="region" aria-label=(format!("Units removed from {}", cut.group)) {
                    table.figures.tight {
                        thead { tr {
                            th scope="col" { (unit) }
                            th scope="col" { (loss) }
                            th scope="col" { (reconstructed) }
                            @for slice in slices { th scope="col" { "on " (slice) } }
                            th.text scope="col" { "Stand-ins" }
                        } }
                        tbody { @for unit in &units { (unit_row(unit, slices)) } }
                    }
                }
            }
            @if folded > 0 {
                p.small { (format::plural(folded, "more unit", "more units")) ", each with a smaller loss; " code { "evidence.json" } " lists them all." }
            }
        }
    }
}

fn unit_row(unit: &RemovedUnit, slices: &[String]) -> Markup {
    let share = |index: usize| {
        unit.reconstructed.get(index).map_or_else(|| format::MISSING.to_owned(), |it| format::percent(*it))
    };
    let named: Vec<String> = unit.substitutes.iter().map(u32::to_string).collect();
    html! {
        tr {
            th scope="row" { (unit.unit) }
            td { (format::percent(unit.loss)) }
            td { (share(0)) }
            @for index in 1..=slices.len() { td { (share(index)) } }
            td.text { @if named.is_empty() { "none" } @else { (named.join(", ")) } }
        }
    }
}

/// `Unit 17, the costliest here, is 98.7 % reconstructible from units 3 and 40; on slice night 91.0 %.`
fn sentence(unit: &RemovedUnit, slices: &[String]) -> String {
    let Some(whole) = unit.reconstructed.first() else { return format!("Unit {} was removed.", unit.unit) };
    let named: Vec<String> = unit.substitutes.iter().map(u32::to_string).collect();
    let from = match named.len() {
        0 => String::new(),
        1 => format!(" from unit {}", format::listed(&named)),
        _ => format!(" from units {}", format::listed(&named)),
    };
    let per_slice = slices.iter().zip(unit.reconstructed.iter().skip(1)).filter(|(_, share)| share.is_finite());
    let weakest = per_slice.min_by(|(_, one), (_, other)| one.total_cmp(other));
    let weakest = weakest.map(|(slice, share)| format!("; on slice {slice} {}", format::percent(*share)));
    format!(
        "Unit {}, the costliest here, is {} reconstructible{from}{}.",
        unit.unit,
        format::percent(*whole),
        weakest.unwrap_or_default()
    )
}

/// Kept, removed now, removed before: as shares of the original width.
fn bar(cut: &GroupCut) -> Markup {
    let whole = f64::from(cut.original.max(1));
    let share = |units: u32| BAR * (f64::from(units) / whole).min(1.0);
    let (kept, before) = (share(cut.after), share(cut.before));
    html! {
        svg.units viewBox=(format!("0 0 {BAR} 12")) width=(BAR) height="12" role="img"
            aria-label=(format!("{} of {} units kept, {} before this stage", cut.after, cut.original, cut.before)) {
            rect.track x="0.5" y="0.5" width=(px(BAR - 1.0)) height="11" {}
            rect.cut x=(px(kept)) y="1" width=(px((before - kept).max(0.0))) height="10" fill="url(#stripes)" {}
            rect.kept x="0" y="0" width=(px(kept)) height="12" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_unit_is_explained_in_a_sentence_with_its_weakest_slice() {
        let unit =
            RemovedUnit { unit: 17, loss: 0.004, reconstructed: vec![0.987, 0.991, 0.91], substitutes: vec![3, 40] };
        let slices = ["day".to_owned(), "night".to_owned()];
        assert_eq!(
            sentence(&unit, &slices).replace('\u{a0}', " "),
            "Unit 17, the costliest here, is 98.7 % reconstructible from units 3 and 40; on slice night 91.0 %."
        );
    }

    #[test]
    fn the_bar_of_a_group_shows_kept_removed_and_gone_before() {
        let cut = GroupCut {
            group: "stage2/conv1".to_owned(),
            before: 24,
            after: 16,
            original: 32,
            predicted_divergence: 0.0,
            removed: Vec::new(),
        };
        insta::assert_snapshot!(bar(&cut).into_string().replace("><", ">\n<"), @r##"
        <svg class="units" viewBox="0 0 220 12" width="220" height="12" role="img" aria-label="16 of 32 units kept, 24 before this stage">
        <rect class="track" x="0.5" y="0.5" width="219.0" height="11">
        </rect>
        <rect class="cut" x="110.0" y="1" width="55.0" height="10" fill="url(#stripes)">
        </rect>
        <rect class="kept" x="0" y="0" width="110.0" height="12">
        </rect>
        </svg>
        "##);
    }

    #[test]
    fn a_unit_without_figures_is_still_named() {
        let unit = RemovedUnit { unit: 2, loss: f64::NAN, reconstructed: Vec::new(), substitutes: Vec::new() };
        assert_eq!(sentence(&unit, &[]), "Unit 2 was removed.");
    }
}
