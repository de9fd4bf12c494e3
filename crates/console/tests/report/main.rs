//! The report from synthetic but realistic stories, read as a browser reads it.
#![expect(clippy::expect_used, reason = "fixtures that do not build should fail loudly")]

mod fixture;

use std::{cell::RefCell, fmt::Write as _};

use fixture::Story;
use html5ever::{parse_document, tendril::TendrilSink};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use sentei_api::evidence::Estimate;

fn stories() -> Vec<(&'static str, Story)> {
    vec![
        ("promoted", fixture::promoted()),
        ("rolled-back", fixture::rolled_back()),
        ("awaiting-approval", fixture::awaiting_approval()),
        ("nothing-yet", fixture::nothing_yet()),
    ]
}

fn parsed(html: &str) -> RcDom {
    parse_document(RcDom::default(), html5ever::ParseOpts::default()).one(html)
}

/// Every element of the document, in order.
fn elements(node: &Handle, found: &mut Vec<Handle>) {
    if matches!(node.data, NodeData::Element { .. }) {
        found.push(node.clone());
    }
    node.children.borrow().iter().for_each(|child| elements(child, found));
}

fn all_elements(html: &str) -> Vec<Handle> {
    let mut found = Vec::new();
    elements(&parsed(html).document, &mut found);
    found
}

fn name(element: &Handle) -> String {
    match &element.data {
        NodeData::Element { name, .. } => name.local.to_string(),
        _ => String::new(),
    }
}

fn attribute(element: &Handle, wanted: &str) -> Option<String> {
    let NodeData::Element { attrs, .. } = &element.data else { return None };
    attrs.borrow().iter().find(|attr| &*attr.name.local == wanted).map(|attr| attr.value.to_string())
}

/// What a person reads, outside the style sheet.
fn text(html: &str) -> String {
    fn collect(node: &Handle, into: &RefCell<String>) {
        if let NodeData::Text { contents } = &node.data {
            into.borrow_mut().push_str(&contents.borrow());
        }
        if name(node) != "style" {
            node.children.borrow().iter().for_each(|child| collect(child, into));
        }
    }
    let into = RefCell::new(String::new());
    collect(&parsed(html).document, &into);
    into.into_inner().replace('\u{a0}', " ")
}

#[test]
fn every_report_is_well_formed() {
    for (story, report) in stories().into_iter().map(|(name, story)| (name, story.report())) {
        // Kept to be looked at in a browser.
        std::fs::write(format!("{}/{story}.html", env!("CARGO_TARGET_TMPDIR")), &report).expect("a writable folder");
        let errors = parsed(&report).errors.take();
        assert!(errors.is_empty(), "{story}: {errors:?}");
    }
}

#[test]
fn a_report_loads_nothing_and_runs_nothing() {
    for (_, story) in stories() {
        for element in all_elements(&story.report()) {
            assert!(!["script", "link", "img", "iframe", "object", "base"].contains(&name(&element).as_str()));
            for loading in ["src", "srcset", "style", "onload"] {
                assert_eq!(attribute(&element, loading), None, "{}", name(&element));
            }
            let href = attribute(&element, "href");
            assert!(href.as_deref().is_none_or(|href| href.starts_with('#')), "{href:?}");
        }
        let report = story.report();
        assert!(report.contains("default-src 'none'") && !report.contains("@import") && !report.contains("url(http"));
    }
}

#[test]
fn ids_are_unique_and_what_refers_to_them_finds_them() {
    for (story, it) in stories() {
        let all = all_elements(&it.report());
        let mut ids: Vec<String> = all.iter().filter_map(|element| attribute(element, "id")).collect();
        let references = all.iter().flat_map(|element| {
            [attribute(element, "aria-labelledby"), attribute(element, "href").map(|href| href[1..].to_owned())]
        });
        for reference in references.flatten() {
            assert!(ids.contains(&reference), "{story}: nothing is called {reference}");
        }
        let before = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), before, "{story}");
    }
}

#[test]
fn every_picture_is_described_or_hidden_and_every_table_has_headings() {
    for (_, story) in stories() {
        for element in all_elements(&story.report()) {
            if name(&element) == "svg" {
                let described = attribute(&element, "role").as_deref() == Some("img")
                    && attribute(&element, "aria-label").is_some_and(|label| !label.is_empty());
                assert!(described || attribute(&element, "aria-hidden").is_some());
            }
            if name(&element) == "th" {
                assert!(attribute(&element, "scope").is_some());
            }
            if name(&element) == "abbr" {
                assert!(attribute(&element, "title").is_some(), "a word without a meaning");
            }
        }
    }
}

#[test]
fn a_technical_word_is_explained_where_it_first_appears_and_only_there() {
    for (story, it) in stories() {
        let titles: Vec<String> = all_elements(&it.report())
            .iter()
            .filter(|it| name(it) == "abbr")
            .filter_map(|it| attribute(it, "title"))
            .collect();
        let mut once = titles.clone();
        once.sort();
        once.dedup();
        assert_eq!(titles.len(), once.len(), "{story}: {titles:?}");
    }
}

#[test]
fn the_promoted_report_says_what_was_gained_and_what_it_cost() {
    let read = text(&fixture::promoted().report());
    for said in [
        "meter-reader is now 10.6x smaller and 1.8x faster",
        "Accuracy 97.5 % → 96.9 %: a difference of −0.6 points",
        "Worst slice: seven-segment, 96.2 % → 94.8 %.",
        "Undone because accuracy on slice seven-segment fell by 3.4 points (limit 1.5 points, n = 250).",
        "3 parts",
        "The manifest asks for size 10x and latency 1.5x.",
        "reconstructible from units",
    ] {
        assert!(read.contains(said), "`{said}` is missing");
    }
}

#[test]
fn the_rolled_back_report_opens_with_the_breach_and_its_numbers() {
    let report = fixture::rolled_back().report();
    let read = text(&report);
    for said in [
        "Rolled back after 0.4 s: accuracy on slice seven-segment fell to 22.2 % (limit 95.0 %)",
        "7 bad answers among 9, at 25 % of live requests.",
        "In all, 8 bad answers reached clients within 0.4 s.",
        "2.8 to 60.0 %",
        "Judged period",
    ] {
        assert!(read.contains(said), "`{said}` is missing");
    }
    assert!(report.find("id=\"rollout\"") < report.find("id=\"candidates\""), "whoever opens it asks why first");
}

#[test]
fn a_waiting_report_asks_and_proposes() {
    let read = text(&fixture::awaiting_approval().report());
    assert!(read.contains("Waiting for approval") && read.contains("meter-reader can be 10.6x smaller"));
    assert!(read.contains("Nothing has been exposed to live requests yet."));
}

#[test]
fn a_report_about_nothing_says_so() {
    let read = text(&fixture::nothing_yet().report());
    for said in ["meter-reader is waiting to be compressed", "not measured", "No candidate yet."] {
        assert!(read.contains(said), "`{said}` is missing");
    }
}

#[test]
fn names_cannot_break_out_of_the_page() {
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut story = fixture::rolled_back();
    let evidence = story.evidence.as_mut().expect("evidence");
    evidence.source.uri = evil.to_owned();
    evidence.version = evil.to_owned();
    evidence.slices[0] = evil.to_owned();
    for measurement in evidence.candidates.iter_mut().flat_map(|it| &mut it.measurements) {
        measurement.slice = measurement.slice.take().map(|_| evil.to_owned());
    }
    evidence.candidates.iter_mut().for_each(|it| it.summary = evil.to_owned());
    evidence.left_alone.iter_mut().for_each(|it| (it.name, it.reason) = (evil.to_owned(), evil.to_owned()));
    for stage in &mut evidence.stages {
        stage.title = evil.to_owned();
        stage.cuts.iter_mut().for_each(|it| it.group = evil.to_owned());
        if let sentei_api::evidence::Outcome::Reverted { reasons } = &mut stage.outcome {
            *reasons = vec![evil.to_owned()];
        }
    }
    story.status.decisions.iter_mut().for_each(|it| (it.reason, it.message) = (evil.to_owned(), evil.to_owned()));
    story.status.last_breach.iter_mut().for_each(|it| (it.metric, it.slice) = (evil.to_owned(), Some(evil.to_owned())));
    for result in story.timeline.iter_mut().flat_map(|look| &mut look.metrics) {
        (result.metric, result.slice) = (evil.to_owned(), Some(evil.to_owned()));
    }
    for role in story.live.iter_mut().flat_map(|live| [&mut live.baseline, &mut live.candidate]) {
        role.accuracy.iter_mut().for_each(|it| it.slice = Some(evil.to_owned()));
    }
    let report = story.report_named(evil);
    assert!(!report.contains("<script") && !report.contains("<img"));
    assert!(parsed(&report).errors.take().is_empty());
    assert!(text(&report).contains(evil), "it is shown as it is written");
}

#[test]
fn no_number_ever_reads_nan_or_infinity() {
    let mut story = fixture::promoted();
    let gone = Estimate { value: f64::NAN, low: f64::NEG_INFINITY, high: f64::INFINITY, samples: 0 };
    let evidence = story.evidence.as_mut().expect("evidence");
    evidence.source.cost = sentei_api::evidence::Cost::default();
    for measurement in evidence.candidates.iter_mut().flat_map(|it| &mut it.measurements) {
        (measurement.candidate, measurement.difference) = (gone, gone);
    }
    evidence.stages.iter_mut().for_each(|it| (it.divergence, it.seconds) = (f64::NAN, f64::NAN));
    for result in story.timeline.iter_mut().flat_map(|look| &mut look.metrics) {
        (result.candidate, result.limit) = (Some(gone), Some(f64::NAN));
    }
    for (_, report) in stories().into_iter().map(|(name, it)| (name, it.report())).chain([("gone", story.report())]) {
        let shapes = all_elements(&report);
        let drawn =
            shapes.iter().flat_map(|it| ["d", "x", "y", "cx", "cy", "width", "height"].map(|at| attribute(it, at)));
        for written in drawn.flatten().chain([text(&report)]) {
            assert!(!written.contains("NaN") && !written.contains("inf "), "{written}");
        }
    }
}

#[test]
fn a_day_of_looks_makes_no_giant_page() {
    let mut story = fixture::promoted();
    let day: Vec<_> = story.timeline.iter().cycle().take(20_000).cloned().collect();
    let start = day[0].time;
    story.timeline = day;
    for (index, look) in story.timeline.iter_mut().enumerate() {
        look.time = start + jiff::SignedDuration::from_secs(index as i64);
        look.phase = sentei_api::Phase::Watching;
        look.weight_desired = 100;
        look.metrics.iter_mut().for_each(|it| it.verdict = sentei_api::status::Verdict::Pass);
    }
    let size = story.report().len();
    assert!(size < 1_500_000, "{size} bytes");
}

#[test]
fn every_phase_has_its_own_words() {
    use sentei_api::Phase::*;
    let mut story = fixture::promoted();
    (story.status.weights.candidate, story.status.shadow_percent) = (25, 20);
    let mut said = String::new();
    for phase in [
        Pending,
        Compressing,
        Evaluating,
        AwaitingApproval,
        Shadowing,
        Progressing,
        Paused,
        Promoting,
        Watching,
        Succeeded,
        RollingBack,
        RolledBack,
        Failed,
    ] {
        story.status.phase = phase;
        let report = story.report();
        let heading = report.split("<h1>").nth(1).and_then(|rest| rest.split("</h1>").next()).expect("a headline");
        let _ = writeln!(said, "{phase}: {}", text(heading));
    }
    insta::assert_snapshot!(said, @r"
    Pending: meter-reader is waiting to be compressed
    Compressing: meter-reader is being compressed
    Evaluating: meter-reader is being compressed
    AwaitingApproval: meter-reader can be 10.6x smaller and 1.8x faster
    Shadowing: meter-reader is being tried on copies of 20 % of live requests
    Progressing: meter-reader is being tried on 25 % of live requests
    Paused: meter-reader is holding at 25 % of live requests
    Promoting: meter-reader is taking over all live requests
    Watching: meter-reader is now 10.6x smaller and 1.8x faster
    Succeeded: meter-reader is now 10.6x smaller and 1.8x faster
    RollingBack: meter-reader is being rolled back
    RolledBack: meter-reader was rolled back
    Failed: meter-reader was left as it is
    ");
}

#[test]
fn the_headline_of_each_story() {
    let headlines: Vec<String> = stories()
        .into_iter()
        .map(|(story, it)| {
            let report = it.report();
            let heading = report.split("<h1>").nth(1).and_then(|rest| rest.split("</h1>").next()).expect("a headline");
            format!("{story}: {}", text(heading))
        })
        .collect();
    insta::assert_snapshot!(headlines.join("\n"), @r"
    promoted: meter-reader is now 10.6x smaller and 1.8x faster
    rolled-back: Rolled back after 0.4 s: accuracy on slice seven-segment fell to 22.2 % (limit 95.0 %)
    awaiting-approval: meter-reader can be 10.6x smaller and 2.0x faster
    nothing-yet: meter-reader is waiting to be compressed
    ");
}
