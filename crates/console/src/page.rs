//! The page around the sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{frontier, provenance, rollout, slices, stages, verdict, view::View, words};

const STYLE: &str = include_str!("style.css");

/// The page may load nothing at all: a name that slipped through escaping could still not reach the network.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole document.
pub fn page(view: &View<'_>) -> Markup {
    let headline = verdict::headline(view);
    // Whoever opens the report of a rollback asks "why?" first.
    let broken = view.is_rolled_back();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_SECURITY_POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (view.input.name) ": " (headline.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (patterns())
                main {
                    (verdict::section(view))
                    @if broken { (rollout::section(view)) }
                    (frontier::section(view))
                    (slices::section(view))
                    (stages::section(view))
                    (stages::left_alone(view))
                    @if !broken { (rollout::section(view)) }
                    (provenance::section(view))
                    (words::glossary())
                }
            }
        }
    }
}

/// Fillings the charts share.
fn patterns() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs {
                pattern #stripes width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    line.stripe x1="0" x2="0" y1="0" y2="4" {}
                }
            }
        }
    }
}
